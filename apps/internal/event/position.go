package event

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Position is a place in a log. The number alone does not say which log it is, or whether
// the log has lost its end and grown again. So a reader compares its whole position
// before it continues from there.
type Position struct {
	// Sequence is the number of the last event before the place, 0 at the log's start.
	Sequence uint64
	// Log is the log's id, a UUIDv7, or empty if it is not known.
	Log string
	// Event is the id of the event with the number. It is empty at the start of a log, or
	// if it is not known.
	Event string
}

// String is the position's one text form, in printable ASCII: the number, or
// number/log/event if more is known. The event's id is percent-encoded.
func (p Position) String() string {
	number := strconv.FormatUint(p.Sequence, 10)
	if p.Log == "" && p.Event == "" {
		return number
	}
	return number + "/" + p.Log + "/" + url.PathEscape(p.Event)
}

// ParsePosition reads the text form of a position. A number alone is a position, too.
func ParsePosition(text string) (Position, error) {
	number, more, isWhole := strings.Cut(text, "/")
	var p Position
	var err error
	if p.Sequence, err = strconv.ParseUint(number, 10, 64); err != nil {
		return Position{}, fmt.Errorf("%.40q is not the number of an event", number)
	}
	if !isWhole {
		return p, nil
	}
	log, escaped, ok := strings.Cut(more, "/")
	if !ok {
		return Position{}, errors.New("a position is a number, or a number, a log's id and an event's")
	}
	if log != "" {
		if err := validID("log", log); err != nil {
			return Position{}, err
		}
	}
	p.Log = log
	if p.Event, err = url.PathUnescape(escaped); err != nil || len(p.Event) > maxIDLength || p.Event != "" && p.Sequence == 0 {
		return Position{}, fmt.Errorf("%.40q is not the id of event %d", escaped, p.Sequence)
	}
	return p, nil
}

// Fits reports whether both can be the same position. It ignores what one of them does
// not know.
func (p Position) Fits(other Position) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return p.Sequence == other.Sequence && same(p.Log, other.Log) && same(p.Event, other.Event)
}
