package event

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

// The plain form is how the bus and the log have an event whose text needs no escapes:
// these members in this order, no spaces; those of its data sorted. Nearly all events
// are in it, and it takes a quarter of the time that any JSON does: most of what a
// replay costs. What is not in it is left to the JSON decoder, which a fuzz test
// compares it with.

// parsePlain decodes an event in the plain form; ok is false for any other. The
// event's Data is a part of raw.
func parsePlain(raw []byte) (e Event, ok bool) {
	s := plain{rest: raw, ok: true}
	s.literal(`{"specversion":"1.0","id":`)
	e.SpecVersion = "1.0"
	e.ID = s.text()
	s.literal(`,"source":`)
	e.Source = s.name()
	s.literal(`,"type":`)
	e.Type = Type(s.name())
	s.literal(`,"subject":`)
	e.Subject = s.text()
	s.literal(`,"time":`)
	e.Time = s.time()
	s.literal(`,"datacontenttype":`)
	e.DataContentType = s.name()
	if s.option(`,"sequence":"`) {
		e.Sequence = s.sequence()
	}
	if s.option(`,"traceparent":`) {
		e.TraceParent = s.text()
	}
	if s.option(`,"traceid":`) {
		s.quoted() // of a version that had sidecars encode its events; it says the same
	}
	s.literal(`,"data":`)
	data := s.rest
	if e.Type == PostCreated {
		e.Post = s.post()
	} else {
		e.Comment = s.comment()
	}
	if !s.ok || string(s.rest) != "}" {
		return Event{}, false
	}
	e.Data = data[: len(data)-1 : len(data)-1]
	return e, true
}

// plain reads the plain form; once something is not in it, ok is false and all that
// is read is empty.
type plain struct {
	rest []byte
	ok   bool
}

func (s *plain) post() *Post {
	p := new(Post)
	s.literal(`{"body":`)
	p.Body = s.text()
	s.literal(`,"createdAt":`)
	p.CreatedAt = s.time()
	s.literal(`,"id":`)
	p.ID = s.text()
	s.literal(`,"revision":`)
	p.Revision = s.number()
	s.literal(`,"title":`)
	p.Title = s.text()
	s.literal(`}`)
	return p
}

func (s *plain) comment() *Comment {
	c := new(Comment)
	s.literal(`{`)
	if s.option(`"author":`) {
		c.Author = s.text()
		s.literal(`,`)
	}
	s.literal(`"content":`)
	c.Content = s.text()
	s.literal(`,"createdAt":`)
	c.CreatedAt = s.time()
	s.literal(`,"id":`)
	c.ID = s.text()
	s.literal(`,"postId":`)
	c.PostID = s.text()
	if s.option(`,"reason":`) {
		c.Reason = s.text()
	}
	s.literal(`,"revision":`)
	c.Revision = s.number()
	s.literal(`,"status":`)
	c.Status = Status(s.name())
	s.literal(`}`)
	return c
}

// number is one without sign or leading zeros.
func (s *plain) number() int {
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

func (s *plain) literal(text string) { s.ok = s.option(text) && s.ok }

// option takes the text if it comes next, and says whether it did.
func (s *plain) option(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// simple are the characters that a string has as they are, and that end none.
var simple = func() (is [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// quoted is a string without escapes.
func (s *plain) quoted() []byte {
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

func (s *plain) text() string { return string(s.quoted()) }

// names are the strings that all events share.
var names = []string{
	string(CommentCreated), string(CommentModerated), string(CommentUpdated), string(PostCreated),
	string(Approved), string(Pending), string(Rejected), "/comments", "/posts", "/moderation", "application/json",
}

// name is a text that most likely is one of the names; those take no memory.
func (s *plain) name() string {
	text := s.quoted()
	for _, name := range names {
		if string(text) == name {
			return name
		}
	}
	return string(text)
}

// time is one in UTC, to the second at least. (UnmarshalText by itself is more
// lenient than RFC 3339: it takes an hour of one digit, and a comma.)
func (s *plain) time() (at time.Time) {
	text := s.quoted()
	s.ok = s.ok && len(text) >= len("2006-01-02T15:04:05Z") && text[13] == ':' && (text[19] == '.' || text[19] == 'Z') &&
		text[len(text)-1] == 'Z' && at.UnmarshalText(text) == nil
	return at
}

func (s *plain) sequence() Sequence {
	const digits = 20
	if len(s.rest) <= digits || s.rest[digits] != '"' {
		s.ok = false
		return 0
	}
	n, err := strconv.ParseUint(string(s.rest[:digits]), 10, 64)
	s.rest = s.rest[digits+1:]
	s.ok = s.ok && err == nil
	return Sequence(n)
}

// plainLines splits a batch with an event a line, as the event log serves it; ok is
// false for any other. (JSON has no raw line feed inside a value.)
func plainLines(raw []byte) (lines [][]byte, ok bool) {
	rest, opened := bytes.CutPrefix(raw, []byte("[\n"))
	rest, closed := bytes.CutSuffix(rest, []byte("\n]\n"))
	if !opened || !closed {
		return nil, false
	}
	lines = make([][]byte, 0, bytes.Count(rest, []byte{'\n'})+1)
	for end := bytes.IndexByte(rest, '\n'); end >= 0; end = bytes.IndexByte(rest, '\n') {
		line, comma := bytes.CutSuffix(rest[:end], []byte{','})
		if !comma {
			return nil, false
		}
		lines, rest = append(lines, line), rest[end+1:]
	}
	return append(lines, rest), true
}
