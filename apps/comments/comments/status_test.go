package comments

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// onlyComment is a read model in which every post has the one comment.
type onlyComment string

func (c onlyComment) Comments(context.Context, string, string, int) ([]string, string, error) {
	return []string{string(c)}, "", nil
}

// Of a comment that is not approved nobody reads more than the status. The store keeps the
// text, because a later decision may show it again.
func TestOfACommentThatIsNotApprovedOnlyTheStatusIsAnswered(t *testing.T) {
	for _, status := range []event.Status{event.Pending, event.Rejected, event.Held, "quarantined"} {
		made := time.Now().Add(-time.Hour).UTC()
		p := event.Post{ID: event.NewID(), Title: "a title", CreatedAt: made, Revision: 1}
		c := event.Comment{
			ID: event.NewID(), PostID: p.ID, Author: "Ann", Content: "the text", Status: status, Reason: "a word",
			CreatedAt: made, Revision: 2, DecidedBy: "a-moderator", PolicyVersion: 3,
		}
		posted, err := event.OfPost(event.PostCreated, "posts", p, made, "")
		if err != nil {
			t.Fatal(err)
		}
		decided, err := event.OfComment(event.CommentModerated, "moderation", c, made, "")
		if err != nil {
			t.Fatal(err)
		}
		store := statetest.New()
		s := New(Config{Source: "comments", Store: store, ReadModel: onlyComment(c.ID), Guard: identitytest.Open(), Now: time.Now})
		for _, err := range append(s.posts.add(t.Context(), []event.Event{posted}), s.merge(t.Context(), []event.Event{decided})...) {
			if err != nil {
				t.Fatal(err)
			}
		}
		engine := web.NewEngine()
		s.Routes(engine)
		want := `{"id":"` + c.ID + `","status":"` + string(status) + `"}`
		for target, want := range map[string]string{"/posts/" + p.ID + "/comments": "[" + want + "]", "/posts/" + p.ID + "/comments/" + c.ID: want} {
			res := httptest.NewRecorder()
			engine.ServeHTTP(res, httptest.NewRequest(http.MethodGet, target, nil))
			if body := strings.TrimSpace(res.Body.String()); res.Code != http.StatusOK || body != want {
				t.Errorf("%s is answered %d %s, want %s", target, res.Code, body, want)
			}
		}
		if stored := store.Value(documentKey(c.ID)); !strings.Contains(stored, "the text") {
			t.Errorf("the store has %s", stored)
		}
	}
}
