package event

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func canonicalLine(t testing.TB, typ Type, change func(*Comment)) []byte {
	t.Helper()
	now := time.Now().UTC()
	c := Comment{ID: NewID(), PostID: NewID(), Content: "sixty characters, più o meno", Status: Pending, CreatedAt: now, Revision: 1}
	if change != nil {
		change(&c)
	}
	e, err := OfComment(typ, "comments", c, now, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	if typ == PostCreated {
		e, err = OfPost(typ, "posts", Post{ID: NewID(), Title: "a title", CreatedAt: now, Revision: 1}, now, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Sequence = 17
	raw, err := Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Events of the bus and the log take the fast path. No other test of this module would
// fail if they did not, but deliveries would cost more and a replay would be slow.
func TestTheBusAndTheLogHaveTheCanonicalForm(t *testing.T) {
	for name, raw := range map[string][]byte{
		"a post":             canonicalLine(t, PostCreated, nil),
		"a comment":          canonicalLine(t, CommentCreated, nil),
		"a person's comment": canonicalLine(t, CommentCreated, func(c *Comment) { c.Author, c.AuthorID = "Ann", strings.Repeat("a1", 32) }),
		"what HTML escapes":  canonicalLine(t, CommentCreated, func(c *Comment) { c.Content = "a < b & c > d\u2028" }),
		"one of a log from when sidecars encoded events": bytes.Replace(canonicalLine(t, CommentCreated, nil), []byte(`,"data":`), []byte(`,"traceid":"00-a-b-00","data":`), 1),
		"a rejected comment":                             canonicalLine(t, CommentUpdated, func(c *Comment) { c.Status, c.Reason, c.Author, c.Revision = Rejected, "“orange”", "me", 2 }),
	} {
		for _, raw := range [][]byte{raw, bytes.Replace(raw, []byte(`"sequence":"00000000000000000017",`), nil, 1)} {
			e, ok := parseCanonical(raw)
			if !ok {
				t.Errorf("%s is not in the canonical form: %s", name, raw)
				continue
			}
			if want, err := parseJSON(raw); err != nil || !alike(e, want) {
				t.Errorf("%s: got\n%+v, want\n%+v (error %v)", name, e, want, err)
			}
		}
	}
	for _, e := range decisions(t) {
		raw, err := Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		// The policy is left to the JSON decoder.
		if got, ok := parseCanonical(raw); ok != (e.Type != PolicyChanged) || ok && !alike(got, e) {
			t.Errorf("%s: ok is %v, and it is %+v", e.Type, ok, got)
		}
	}
	if _, ok := parseCanonical(canonicalLine(t, CommentCreated, func(c *Comment) { c.Content = "two\nlines" })); ok {
		t.Error("an escape was taken for the canonical form")
	}
}

// A field that is added to an entity takes the fast path too, set or not. The test sets
// all fields but one, and then that one alone.
func TestEveryFieldIsInTheCanonicalForm(t *testing.T) {
	check := func(name string, e Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseCanonical(raw)
		if !ok {
			t.Errorf("%s: the event falls back to the JSON decoder: %s", name, raw)
			return
		}
		if want, err := parseJSON(raw); err != nil || !alike(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v (error %v)", name, got, want, err)
		}
	}
	for i := range reflect.TypeFor[Post]().NumField() {
		var without, with Post
		for j := range reflect.TypeFor[Post]().NumField() {
			if j != i {
				changeField(t, reflect.ValueOf(&without).Elem().Field(j))
			}
		}
		changeField(t, reflect.ValueOf(&with).Elem().Field(i))
		name := reflect.TypeFor[Post]().Field(i).Name
		e, err := OfPost(PostCreated, "posts", without, noon, "")
		check("a post without "+name, e, err)
		e, err = OfPost(PostCreated, "posts", with, noon, "")
		check("a post with "+name, e, err)
	}
	for i := range reflect.TypeFor[Comment]().NumField() {
		var without, with Comment
		for j := range reflect.TypeFor[Comment]().NumField() {
			if j != i {
				changeField(t, reflect.ValueOf(&without).Elem().Field(j))
			}
		}
		changeField(t, reflect.ValueOf(&with).Elem().Field(i))
		name := reflect.TypeFor[Comment]().Field(i).Name
		e, err := OfComment(CommentUpdated, "comments", without, noon, "")
		check("a comment without "+name, e, err)
		e, err = OfComment(CommentUpdated, "comments", with, noon, "")
		check("a comment with "+name, e, err)
	}
}

// An entity may have every kind of field, required or optional, as the first member or a
// later one.
func TestTheTableReadsEveryKindOfField(t *testing.T) {
	type entity struct {
		Text   string    `json:"text"`
		Zero   string    `json:"zero,omitzero"`
		Empty  string    `json:"empty,omitempty"`
		Number int       `json:"number"`
		Flag   bool      `json:"flag"`
		First  bool      `json:"a,omitzero"`
		At     time.Time `json:"at"`
		Until  time.Time `json:"until,omitzero"`
	}
	members := membersOf(reflect.TypeFor[entity]())
	for _, want := range []entity{
		{Text: "a", Number: 1, Flag: true, At: noon},
		{Text: "a", Zero: "b", Empty: "c", Number: 10, First: true, At: noon, Until: noon},
	} {
		raw, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := (*jsontext.Value)(&raw).Format(jsontext.ReorderRawObjects(true)); err != nil {
			t.Fatal(err)
		}
		var got entity
		s := canonical{rest: raw, ok: true}
		s.object(members, reflect.ValueOf(&got).Elem())
		if !s.ok || len(s.rest) > 0 || got != want {
			t.Errorf("%s is read as %+v, ok %v, and %q is left", raw, got, s.ok, s.rest)
		}
	}
	for _, raw := range []string{`{}`, `{"at":"2024-11-27T12:00:00Z","flag":1,"number":1,"text":"a"}`, `{"number":1,"at":"2024-11-27T12:00:00Z","flag":true,"text":"a"}`} {
		var got entity
		s := canonical{rest: []byte(raw), ok: true}
		if s.object(members, reflect.ValueOf(&got).Elem()); s.ok {
			t.Errorf("%s is read as %+v", raw, got)
		}
	}
}

func TestABatchIsTakenHoweverItIsSpaced(t *testing.T) {
	a, b := canonicalLine(t, CommentCreated, nil), canonicalLine(t, CommentCreated, func(c *Comment) { c.Content = `"quoted"` })
	spread := strings.ReplaceAll(string(a), `,"source"`, ",\n\"source\"")
	for name, batch := range map[string]string{
		"as the log has it":    fmt.Sprintf("[\n%s,\n%s\n]\n", a, b),
		"on one line":          fmt.Sprintf("[%s,%s]", a, b),
		"over more lines":      fmt.Sprintf("[\n%s,\n%s\n]\n", spread, b),
		"with spaces and more": fmt.Sprintf("[\n %s ,\n\n%s\n]\n", a, b),
	} {
		if events, err := ParseBatch([]byte(batch)); err != nil || len(events) != 2 || events[1].Comment.Content != `"quoted"` {
			t.Errorf("%s: %d events, %v", name, len(events), err)
		}
	}
	for name, batch := range map[string]string{
		"cut off":             fmt.Sprintf("[\n%s,\n", a),
		"without a comma":     fmt.Sprintf("[\n%s\n%s\n]\n", a, b),
		"with a broken event": fmt.Sprintf("[\n%s,\n%s\n]\n", a, b[:len(b)-1]),
		"with one too many":   fmt.Sprintf("[\n%s,\n\n]\n", a),
	} {
		if events, err := ParseBatch([]byte(batch)); err == nil {
			t.Errorf("%s: taken as %d events", name, len(events))
		}
	}
}

// alike compares the results of two ways to decode the same bytes.
func alike(a, b Event) bool {
	for _, e := range []*Event{&a, &b} {
		if !e.Time.IsZero() { // two zones without a name are the same at the same offset
			e.Time = e.Time.Round(0).In(time.FixedZone("", offset(e.Time)))
		}
		if e.Post != nil {
			p := *e.Post
			p.CreatedAt = p.CreatedAt.In(time.FixedZone("", offset(p.CreatedAt)))
			e.Post = &p
		}
		if e.Comment != nil {
			c := *e.Comment
			c.CreatedAt = c.CreatedAt.In(time.FixedZone("", offset(c.CreatedAt)))
			e.Comment = &c
		}
		if e.Commenting != nil {
			c := *e.Commenting
			c.DecidedAt = c.DecidedAt.In(time.FixedZone("", offset(c.DecidedAt)))
			e.Commenting = &c
		}
		if e.Blocking != nil {
			b := *e.Blocking
			b.DecidedAt = b.DecidedAt.In(time.FixedZone("", offset(b.DecidedAt)))
			e.Blocking = &b
		}
	}
	return reflect.DeepEqual(a, b)
}

func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

// The fast path accepts nothing that JSON refuses, and gives the same result.
func FuzzCanonical(f *testing.F) {
	f.Add(canonicalLine(f, PostCreated, nil))
	f.Add(canonicalLine(f, CommentCreated, nil))
	f.Add(bytes.Replace(canonicalLine(f, CommentCreated, nil), []byte(`,"data":`), []byte(`,"traceid":"00-a-b-00","data":`), 1))
	f.Add(canonicalLine(f, CommentUpdated, func(c *Comment) { c.Status, c.Reason, c.Author = Rejected, "why", "who" }))
	f.Add(canonicalLine(f, CommentCreated, func(c *Comment) { c.Author, c.AuthorID = "Ann", strings.Repeat("a1", 32) }))
	f.Add(canonicalLine(f, CommentModerated, func(c *Comment) { c.Status, c.DecidedBy, c.PolicyVersion, c.Revision = Held, "a-moderator", 4, 3 }))
	for _, e := range decisions(f) {
		raw, err := Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(canonicalLine(f, CommentCreated, func(c *Comment) { c.Content, c.Author = "\u200b\u2800", "\u3164" }))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, ok := parseCanonical(raw)
		if !ok {
			return
		}
		want, err := parseJSON(raw)
		if err != nil {
			t.Fatalf("JSON refuses it: %v\n%s", err, raw)
		}
		if !alike(e, want) {
			t.Fatalf("got\n%+v, want\n%+v\n%s", e, want, raw)
		}
	})
}
