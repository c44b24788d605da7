package event

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The canonical form is that of every event of a known type, on the bus and in the log,
// whose text needs no escapes. It has these members in this order, the members of its
// entity sorted by name, and no spaces. Nearly all events are in it. Reading it takes a
// quarter of the time of a JSON decoder, and decoding is most of the cost of a replay. Any
// other form is left to the JSON decoder; a fuzz test compares the two.

// parseCanonical decodes an event in the canonical form. ok is false for any other form.
// The event's Data may be a part of raw.
func parseCanonical(raw []byte) (e Event, ok bool) {
	s := canonical{rest: raw, ok: true}
	s.literal(`{"specversion":"1.0","id":`)
	e.SpecVersion = "1.0"
	e.ID = s.text()
	s.literal(`,"source":`)
	e.Source = s.text()
	s.literal(`,"type":`)
	e.Type = Type(s.text())
	s.literal(`,"subject":`)
	e.Subject = s.text()
	s.literal(`,"time":`)
	e.Time = s.time()
	s.literal(`,"datacontenttype":`)
	e.DataContentType = s.text()
	if s.option(`,"sequence":`) {
		e.Sequence = s.sequence()
	}
	if s.option(`,"traceparent":`) {
		e.TraceParent = s.text()
	}
	if s.option(`,"traceid":`) {
		s.quoted() // an older version had sidecars encode its events; this member adds nothing
	}
	s.literal(`,"data":`)
	data := s.rest
	members := membersByType[e.Type]
	if members == nil { // its type is not known, or PolicyChanged: that is rare, and its rules are nested
		return Event{}, false
	}
	s.object(members, reflect.ValueOf(e.entity()).Elem())
	if !s.ok || string(s.rest) != "}" {
		return Event{}, false
	}
	e.Data = data[: len(data)-1 : len(data)-1]
	return e, true
}

// member is a field of an entity as a member of the canonical form.
type member struct {
	field    int    // its index in the struct
	name     string // quoted, with the colon
	next     string // name after a comma, for all members but the first
	optional bool
}

// The tables are made from the structs. A new field of an entity needs no line here.
var (
	commentMembers = membersOf(reflect.TypeFor[Comment]())
	membersByType  = map[Type][]member{
		PostCreated:           membersOf(reflect.TypeFor[Post]()),
		CommentCreated:        commentMembers,
		CommentModerated:      commentMembers,
		CommentUpdated:        commentMembers,
		PostCommentingChanged: membersOf(reflect.TypeFor[Commenting]()),
		PersonBlocked:         membersOf(reflect.TypeFor[Blocking]()),
	}
)

// membersOf returns the fields of a struct as members, sorted by name.
func membersOf(t reflect.Type) []member {
	members := make([]member, t.NumField())
	for i := range members {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		members[i] = member{i, `"` + name + `":`, `,"` + name + `":`, options == "omitempty" || options == "omitzero"}
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return members
}

// canonical reads the canonical form. After the first deviation ok is false and
// everything that it reads is empty.
type canonical struct {
	rest []byte
	ok   bool
}

// object reads an object into the fields of a struct. It panics for a field of another type
// than those here; every test of parsing would.
func (s *canonical) object(members []member, into reflect.Value) {
	s.literal("{")
	first := true
	for i := range members {
		m := &members[i]
		name := m.next
		if first {
			name = m.name
		}
		if !s.option(name) {
			s.ok = s.ok && m.optional
			continue
		}
		first = false
		switch field := into.Field(m.field); field.Kind() {
		case reflect.String:
			field.SetString(s.text())
		case reflect.Int:
			field.SetInt(int64(s.number()))
		case reflect.Bool:
			field.SetBool(s.boolean())
		default:
			*field.Addr().Interface().(*time.Time) = s.time()
		}
	}
	s.literal("}")
}

// number reads a number without sign or leading zeros.
func (s *canonical) number() int {
	end := 0
	for end < len(s.rest) && '0' <= s.rest[end] && s.rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(string(s.rest[:end]))
	if err != nil || strconv.Itoa(n) != string(s.rest[:end]) {
		s.ok = false
		return 0
	}
	s.rest = s.rest[end:]
	return n
}

func (s *canonical) literal(text string) { s.ok = s.option(text) && s.ok }

// option skips the text if it comes next, and reports whether it did.
func (s *canonical) option(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// simple are the ASCII characters that stand for themselves in a string.
var simple = func() (is [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// quoted reads a string without escapes.
func (s *canonical) quoted() []byte {
	if !s.ok || len(s.rest) == 0 || s.rest[0] != '"' {
		s.ok = false
		return nil
	}
	end, ascii := 1, true
	for ; end < len(s.rest) && s.rest[end] != '"'; end++ {
		switch c := s.rest[end]; {
		case simple[c]:
		case c >= utf8.RuneSelf:
			ascii = false
		default:
			s.ok = false
			return nil
		}
	}
	if end == len(s.rest) || !ascii && !utf8.Valid(s.rest[1:end]) {
		s.ok = false
		return nil
	}
	text := s.rest[1:end]
	s.rest = s.rest[end+1:]
	return text
}

// shared are strings that many events have in common. Reading them allocates nothing.
var shared = func() map[string]string {
	all := map[string]string{}
	for _, s := range []string{
		string(CommentCreated), string(CommentModerated), string(CommentUpdated), string(PostCreated),
		string(PostCommentingChanged), string(PersonBlocked), string(Open), string(Closed),
		string(Approved), string(Pending), string(Rejected), string(Held), "/comments", "/posts", "/moderation", "application/json",
	} {
		all[s] = s
	}
	return all
}()

func (s *canonical) text() string {
	text := s.quoted()
	if known, ok := shared[string(text)]; ok {
		return known
	}
	return string(text)
}

func (s *canonical) boolean() bool {
	if s.option("true") {
		return true
	}
	s.literal("false")
	return false
}

// time reads a time in UTC, with seconds at least. (UnmarshalText alone is more lenient
// than RFC 3339: it accepts an hour of one digit, and a comma.)
func (s *canonical) time() (at time.Time) {
	text := s.quoted()
	s.ok = s.ok && len(text) >= len("2006-01-02T15:04:05Z") && text[13] == ':' && (text[19] == '.' || text[19] == 'Z') &&
		text[len(text)-1] == 'Z' && at.UnmarshalText(text) == nil
	return at
}

func (s *canonical) sequence() Sequence {
	const digits = 20
	text := s.quoted()
	n, err := strconv.ParseUint(string(text), 10, 64)
	s.ok = s.ok && len(text) == digits && err == nil
	return Sequence(n)
}

// canonicalLines splits a batch with one event a line, as the event log serves it. ok is
// false for any other form. (JSON has no raw line feed inside a value.)
func canonicalLines(raw []byte) (lines [][]byte, ok bool) {
	rest, opened := bytes.CutPrefix(raw, []byte("[\n"))
	rest, closed := bytes.CutSuffix(rest, []byte("\n]\n"))
	ok = opened && closed
	lines = bytes.Split(rest, []byte("\n"))
	for i := 0; i < len(lines)-1 && ok; i++ {
		lines[i], ok = bytes.CutSuffix(lines[i], []byte(","))
	}
	return lines, ok
}
