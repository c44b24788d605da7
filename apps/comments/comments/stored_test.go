package comments

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// What commit 3b4f435 has stored is read, and goes on: two posts, and of the first 140
// comments that are listed, every fourth of them moderated; comment 140, which was
// moderated and not created yet; and 141, before whose listing the service died.
func TestAStoreOfCommit3b4f435GoesOn(t *testing.T) {
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
	s := replicaOn(m)
	addPosts(t, s.posts, aPost, idAt(noon, 2))
	wantErrors(t, s.PostCreated(t.Context(), []event.Event{postCreated(t, aPost, "forged")}), bus.ErrPoison)
	var created, decided []event.Event
	var ids []string
	for n := range 150 {
		c := aComment(aPost, n)
		ids, created, decided = append(ids, c.ID), append(created, about(t, c)), append(decided, about(t, moderated(c)))
	}
	if got := listed(t, s, aPost); len(got) != 140 || !slices.Equal(got, ids[:140]) {
		t.Errorf("it lists %d comments: %v", len(got), got)
	}
	// The bus delivers all of it again, and more.
	wantErrors(t, s.CommentCreated(t.Context(), created[130:]), make([]error, 20)...)
	wantErrors(t, s.CommentCreated(t.Context(), created[:130]), make([]error, 130)...)
	wantErrors(t, s.CommentModerated(t.Context(), decided), make([]error, 150)...)
	for _, e := range decided {
		wantComment(t, m, *e.Comment)
	}
	got := listed(t, s, aPost)
	if first := slices.Clone(got[:140]); !slices.Equal(first, ids[:140]) {
		t.Errorf("the first that it lists are %v", first)
	}
	if slices.Sort(got); !slices.Equal(got, ids) {
		t.Errorf("it lists %d comments: %v", len(got), got)
	}
}
