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

// A newer version may have withheld the text, the name and the reason. The store keeps them,
// because a later decision may show them again.
func TestOfACommentWithAnUnknownStatusOnlyTheStatusIsAnswered(t *testing.T) {
	made := time.Now().Add(-time.Hour).UTC()
	p := event.Post{ID: event.NewID(), Title: "a title", CreatedAt: made, Revision: 1}
	c := event.Comment{ID: event.NewID(), PostID: p.ID, Author: "Ann", Content: "the text", Status: "held", Reason: "a word", CreatedAt: made, Revision: 2}
	posted, err := event.OfPost(event.PostCreated, "posts", p, made, "")
	if err != nil {
		t.Fatal(err)
	}
	held, err := event.OfComment(event.CommentModerated, "moderation", c, made, "")
	if err != nil {
		t.Fatal(err)
	}
	store := statetest.New()
	s := New(Config{Source: "comments", Store: store, ReadModel: onlyComment(c.ID), Guard: identitytest.Open(), Now: time.Now})
	for _, err := range append(s.posts.add(t.Context(), []event.Event{posted}), s.merge(t.Context(), []event.Event{held})...) {
		if err != nil {
			t.Fatal(err)
		}
	}
	engine := web.NewEngine()
	s.Routes(engine)
	for _, target := range []string{"/posts/" + p.ID + "/comments", "/posts/" + p.ID + "/comments/" + c.ID} {
		res := httptest.NewRecorder()
		engine.ServeHTTP(res, httptest.NewRequest(http.MethodGet, target, nil))
		body := res.Body.String()
		if res.Code != http.StatusOK || !strings.Contains(body, `"status":"held"`) || !strings.Contains(body, `"content":""`) ||
			strings.Contains(body, "Ann") || strings.Contains(body, "the text") || strings.Contains(body, "a word") {
			t.Errorf("%s is answered %d %s", target, res.Code, body)
		}
	}
	if stored := store.Value(documentKey(c.ID)); !strings.Contains(stored, "the text") {
		t.Errorf("the store has %s", stored)
	}
}
