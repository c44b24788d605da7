package comments

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// storedBy3b4f435 is what commit 3b4f435 has stored: two posts, and of the first 140
// comments that are listed, every fourth of them moderated; comment 140, which was
// moderated and not created yet; and 141, before whose listing the service died.
func storedBy3b4f435(t *testing.T) *statetest.Memory {
	t.Helper()
	raw, err := os.ReadFile("testdata/store-3b4f435.json")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]string
	if err := json.Unmarshal(raw, &values); err != nil {
		t.Fatal(err)
	}
	m := statetest.New()
	for key, value := range values {
		m.Put(key, value)
	}
	return m
}

func TestAStoreOfCommit3b4f435GoesOn(t *testing.T) {
	m := storedBy3b4f435(t)
	s := replicaOn(m)
	addPosts(t, s.posts, aPost, idAt(noon, 2))
	wantErrors(t, s.deliver(event.PostCreated)(t.Context(), []event.Event{postCreated(t, aPost, "forged")}), bus.ErrPoison)
	var created, decided []event.Event
	for n := range 150 {
		c := aComment(aPost, n)
		created, decided = append(created, about(t, c)), append(decided, about(t, moderated(c)))
	}
	for n := range 142 {
		want := *created[n].Comment
		if n < 140 && n%4 == 0 || n == 140 {
			want = *decided[n].Comment
		}
		if got, err := load(t.Context(), m, want.ID); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("comment %d is %+v (error %v), want %+v", n, got, err, want)
		}
	}
	// The bus delivers all of it again, and more.
	wantErrors(t, s.deliver(event.CommentCreated)(t.Context(), created[130:]), make([]error, 20)...)
	wantErrors(t, s.deliver(event.CommentCreated)(t.Context(), created[:130]), make([]error, 130)...)
	wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), decided), make([]error, 150)...)
	for _, e := range decided {
		wantComment(t, m, *e.Comment)
	}
}

// During an upgrade replicas of the version before read what this one writes.
func TestADocumentIsWrittenAsCommit3b4f435WroteIt(t *testing.T) {
	old, m := storedBy3b4f435(t), statetest.New()
	s := replicaOn(m)
	for n := range 140 {
		c := aComment(aPost, n)
		wantErrors(t, s.deliver(event.CommentCreated)(t.Context(), []event.Event{about(t, c)}), nil)
		if n%4 == 0 {
			wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{about(t, moderated(c))}), nil)
		}
		if got, want := m.Value("comment-"+c.ID), old.Value("comment-"+c.ID); got != want {
			t.Errorf("comment %d is written as\n%s, not\n%s", n, got, want)
		}
	}
}
