package eventlog

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/postbus/postbus/apps/internal/event"
)

// The headers of an answer that say where the log ends: SequenceHeader has the number of
// its last event, PositionHeader the position as text.
const (
	SequenceHeader = "Postbus-Sequence"
	PositionHeader = "Postbus-Position"
)

// Position is a place in a log. Its number alone does not say which log it is of, nor
// whether that log has lost its end and grown again since. So a reader that goes on from
// a position has it compared first.
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
	if _, isID := event.IDTime(log); log != "" && !isID {
		return Position{}, fmt.Errorf("%.40q is not the id of a log", log)
	}
	p.Log = log
	if p.Event, err = url.PathUnescape(escaped); err != nil || len(p.Event) > event.MaxIDLength || p.Event != "" && p.Sequence == 0 {
		return Position{}, fmt.Errorf("%.40q is not the id of event %d", escaped, p.Sequence)
	}
	return p, nil
}

// SetHeaders says in the headers of an answer that this is where the log ends.
func (p Position) SetHeaders(h http.Header) {
	h.Set(SequenceHeader, strconv.FormatUint(p.Sequence, 10))
	h.Set(PositionHeader, p.String())
}

// FromHeaders reads where the log ends from the headers of an answer. The version before
// logs had ids (3b4f435), which may run beside this one, gives the number alone.
func FromHeaders(h http.Header) (Position, error) {
	text := h.Get(PositionHeader)
	if text == "" {
		text = h.Get(SequenceHeader)
	}
	end, err := ParsePosition(text)
	if err != nil {
		return Position{}, fmt.Errorf("the answer does not say where the log ends: %w", err)
	}
	return end, nil
}

// Fits says whether both can be the same position: what one of them does not know is
// not compared.
func (p Position) Fits(other Position) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return p.Sequence == other.Sequence && same(p.Log, other.Log) && same(p.Event, other.Event)
}
