package model

import (
	"strconv"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestChangesAreKeptAndTheOlderForgotten(t *testing.T) {
	var c changes
	c.from = 10
	const n = 3*changesKept + 5
	for i := range uint64(n) {
		c.add(change{strconv.FormatUint(11+i, 10), []byte{byte(i)}})
		if len(c.last) > 2*changesKept {
			t.Fatalf("%d are kept", len(c.last))
		}
	}
	if _, ok := c.after(10); ok {
		t.Error("the first is said to be there still")
	}
	end := uint64(10 + n)
	for _, after := range []uint64{c.from, c.from + 1, end - changesKept, end - 1, end, end + 1} {
		frames, ok := c.after(after)
		if !ok || len(frames) != int(max(end, after)-after) { //nolint:gosec // small
			t.Fatalf("after %d: %d changes, %v; the last is %d", after, len(frames), ok, end)
		}
		for i, f := range frames {
			if f.id != strconv.FormatUint(after+uint64(i)+1, 10) { //nolint:gosec // never negative
				t.Fatalf("after %d, change %d is %s", after, i, f.id)
			}
		}
		if id, known := c.idAt(after); known != (after <= end) || known && id != strconv.FormatUint(after, 10) {
			t.Errorf("the event at %d is %q, %v", after, id, known)
		}
	}
	if _, ok := c.after(c.from - 1); ok {
		t.Error("what was forgotten is said to be there")
	}
	if _, known := c.idAt(c.from - 1); known {
		t.Error("the event before what is kept is said to be there")
	}
	if end-c.from < changesKept {
		t.Errorf("only %d are kept", end-c.from)
	}
}

func TestLargeChangesAreForgottenSooner(t *testing.T) {
	var c changes
	large := make([]byte, changesBytes/8)
	for range 100 {
		c.add(change{"", large})
		if held := len(c.last) * len(large); held > 2*changesBytes || c.bytes != held {
			t.Fatalf("%d bytes are kept, and counted as %d", held, c.bytes)
		}
	}
	if frames, ok := c.after(96); !ok || len(frames) != 4 {
		t.Errorf("of the last four %d are there, %v", len(frames), ok)
	}
	if _, ok := c.after(c.from - 1); ok {
		t.Error("what was forgotten is said to be there")
	}
	c.add(change{"", make([]byte, 3*changesBytes)}) // larger than all that may be kept
	if frames, ok := c.after(100); !ok || len(frames) != 1 {
		t.Errorf("of the last, a huge one, %d are there, %v", len(frames), ok)
	}
}

func TestACommentIsRenderedAsItsStructIsEncoded(t *testing.T) {
	for _, c := range []event.Comment{
		{ID: event.NewID(), Content: "plain", Status: event.Approved, CreatedAt: time.Now().UTC()},
		{ID: event.NewID(), Content: "a person's", Author: "Ann", AuthorID: "a1", Status: event.Approved, CreatedAt: time.Now().UTC()},
		{ID: event.NewID(), Content: "\"\\/<>&\u2028\n\x00é🎃", Author: "a\tb", Reason: "“orange”", Status: event.Approved, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))},
	} {
		want, err := event.Marshal(struct {
			ID        string       `json:"id"`
			Content   string       `json:"content"`
			Status    event.Status `json:"status"`
			Author    string       `json:"author,omitempty"`
			AuthorID  string       `json:"authorId,omitempty"`
			CreatedAt time.Time    `json:"createdAt"`
		}{c.ID, c.Content, c.Status, c.Author, c.AuthorID, c.CreatedAt})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := renderComment(&c); err != nil || string(got) != string(want) {
			t.Errorf("got %s with error %v, want %s", got, err, want)
		}
	}
	if got, err := renderComment(&event.Comment{Content: "\xff", Status: event.Approved}); err == nil {
		t.Errorf("what is not UTF-8 becomes %s", got)
	}
}

// Readers see which names the issuer vouches for. A guest's post and comment are as they were
// before there were others.
func TestAGuestsNameLacksThePseudonymOfAPersons(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	post := func(author, id string) string {
		got, err := renderPost(&event.Post{ID: "p", Title: "t", Author: author, AuthorID: id, CreatedAt: at})
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	comment := func(status event.Status, author, id string) string {
		got, err := renderComment(&event.Comment{ID: "c", Content: "x", Status: status, Author: author, AuthorID: id, CreatedAt: at})
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	for got, want := range map[string]string{
		post("", ""):                      `{"id":"p","title":"t","body":"","createdAt":"2026-01-02T03:04:05Z"`,
		post("Ann", "a1"):                 `{"id":"p","title":"t","body":"","author":"Ann","authorId":"a1","createdAt":"2026-01-02T03:04:05Z"`,
		comment("approved", "Ann", ""):    `{"id":"c","content":"x","status":"approved","author":"Ann","createdAt":"2026-01-02T03:04:05Z"}`,
		comment("approved", "Ann", "a1"):  `{"id":"c","content":"x","status":"approved","author":"Ann","authorId":"a1","createdAt":"2026-01-02T03:04:05Z"}`,
		comment("not-known", "Ann", "a1"): `{"id":"c","status":"not-known"}`,
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
