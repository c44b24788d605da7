package querytest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/query/model"
)

// ModelOf is a model that is ready, and stands at the end of a log.
func ModelOf(t testing.TB, events []event.Event) *model.Model {
	t.Helper()
	return ModelIn(t, "", events, len(events))
}

// ModelIn is a model that stands at the end of a log with an id, and keeps the changes
// since the number.
func ModelIn(t testing.TB, id string, log []event.Event, since int) *model.Model {
	t.Helper()
	m := model.New()
	if err := m.Apply(id, log[:since]); err != nil {
		t.Fatal(err)
	}
	m.SetReady()
	if err := m.Apply(id, log[since:]); err != nil {
		t.Fatal(err)
	}
	return m
}

// Everything is all that readers can see of a model: each page of each size, with its tag
// and its next one. The position is not in it.
func Everything(m *model.Model) string {
	var b strings.Builder
	walk := func(what string, page func(cursor uuid.UUID) *model.Page) {
		for cursor, more := model.Newest, true; more; {
			p := page(cursor)
			fmt.Fprintf(&b, "%s %s next=%s\n%s\n", what, p.ETag, p.Next, p.JSON)
			if more = p.Next != ""; more {
				cursor = uuid.MustParse(p.Next)
			}
		}
	}
	for _, limit := range []int{1, 3, model.DefaultPosts, model.MaxLimit} {
		walk(fmt.Sprintf("posts by %d", limit), func(cursor uuid.UUID) *model.Page { return m.Posts(cursor, limit) })
		walk(fmt.Sprintf("summaries by %d", limit), func(cursor uuid.UUID) *model.Page { return m.Summaries(cursor, limit) })
	}
	_, posts := m.Copy()
	for _, p := range posts {
		if m.Post(p.ID, model.Newest, 1) == nil {
			continue
		}
		for _, limit := range []int{1, 2, model.DefaultComments, model.MaxLimit} {
			walk(fmt.Sprintf("comments by %d", limit), func(cursor uuid.UUID) *model.Page { return m.Post(p.ID, cursor, limit) })
		}
	}
	return b.String()
}

// Sent is what a stream sends from the log, from its start on, without the numbers.
func Sent(m *model.Model, log []event.Event) (sent []string) {
	for len(log) > 0 {
		frames, at := m.Frames(log)
		sent = append(sent, WithoutNumbers(frames)...)
		log = log[at.Sequence+1-uint64(log[0].Sequence):]
	}
	return sent
}

// WithoutNumbers are the frames of a stream without the numbers in their ids.
func WithoutNumbers(frames [][]byte) (all []string) {
	for _, frame := range frames {
		_, rest, _ := strings.Cut(string(frame), "/")
		all = append(all, rest)
	}
	return all
}

// WantAt checks that a model has folded a log, all of it and nothing else.
func WantAt(t testing.TB, m *model.Model, log []event.Event, ready bool) {
	t.Helper()
	if now := m.Status(); now.At.Sequence != uint64(len(log)) || now.Ready != ready {
		t.Errorf("the model stands at %d, ready %v; want %d, %v", now.At.Sequence, now.Ready, len(log), ready)
		return
	}
	if got, want := Everything(m), Everything(ModelOf(t, log)); got != want {
		t.Errorf("the model is\n%s\nwant\n%s", got, want)
	}
}

// WantEmpty checks that a model is as new.
func WantEmpty(t testing.TB, m *model.Model) {
	t.Helper()
	if at, posts := m.Copy(); at.Sequence != 0 || len(posts) != 0 || string(m.Posts(model.Newest, 20).JSON) != "{}" {
		t.Errorf("the model is not empty: it stands at %d and has %d posts", at.Sequence, len(posts))
	}
}

// At is the number that a model stands at.
func At(m *model.Model) uint64 { return m.Status().At.Sequence }

// Shown is a post as the NodeJS example answers it.
type Shown struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Comments []struct {
		ID      string `json:"id"`
		Content string `json:"content"`
		Status  string `json:"status"`
	} `json:"comments"`
	CommentCount  int            `json:"commentCount"`
	CommentCounts map[string]int `json:"commentCounts"`
}

// Summary is a post in a list without comments.
type Summary struct {
	Shown

	Body    *string `json:"body"`
	Excerpt string  `json:"excerpt"`
}

// KeysOf are the keys of a JSON object, in their order.
func KeysOf(t testing.TB, object []byte) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(object)))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("not an object but %v, %v", open, err)
	}
	keys := []string{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string)) //nolint:errcheck,forcetypeassert // a key is one
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}
