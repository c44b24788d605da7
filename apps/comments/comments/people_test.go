package comments

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/web"
)

// doAs sends a comment with that bearer token, or as a guest if it is empty.
func (s *site) doAs(token, post, key, body string) *httptest.ResponseRecorder {
	req, res := httptest.NewRequest(http.MethodPost, "/posts/"+post+"/comments", strings.NewReader(body)), httptest.NewRecorder()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	s.handler.ServeHTTP(res, req)
	return res
}

// A guest may choose any name, also that of a person. The person's comment alone has the
// person's pseudonym.
func TestACommentHasItsPersonsNameWhateverTheRequestSays(t *testing.T) {
	ann := identitytest.Of("reader")
	for _, test := range []struct {
		token, body string
		want        event.Comment
	}{
		{"reader", `{"content":"a"}`, event.Comment{Author: ann.Name, AuthorID: ann.Subject}},
		{"reader", `{"content":"a","author":"Bob"}`, event.Comment{Author: ann.Name, AuthorID: ann.Subject}},
		{"", `{"content":"a","author":"` + ann.Name + `"}`, event.Comment{Author: ann.Name}},
		{"", `{"content":"a","author":" "}`, event.Comment{}},
	} {
		post := event.NewID()
		s := newSite(t, post)
		res := s.doAs(test.token, post, "", test.body)
		var got event.Comment
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != http.StatusCreated {
			t.Fatalf("%+v is answered %d %s", test, res.Code, res.Body)
		}
		if got.Author != test.want.Author || got.AuthorID != test.want.AuthorID || got != *s.journal.Events()[0].Comment {
			t.Errorf("%+v: answered %s, published %+v", test, res.Body, s.journal.Events()[0].Comment)
		}
	}
}

func TestAnotherPersonsKeyIsAnotherKey(t *testing.T) {
	post := event.NewID()
	s, ids := newSite(t, post), map[string]string{}
	for _, token := range []string{"reader", "", "author", "reader", "", "author"} {
		res := s.doAs(token, post, "key", `{"content":"of `+token+`"}`)
		var got event.Comment
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != http.StatusCreated || got.Content != "of "+token {
			t.Fatalf("%q is answered %d %s", token, res.Code, res.Body)
		}
		if before := ids[token]; before != "" && before != got.ID {
			t.Errorf("%q gets another comment when the request is repeated", token)
		}
		ids[token] = got.ID
	}
}

func TestWhoMayCommentAndReadComments(t *testing.T) {
	const (
		guests, noGuests = "201 401 403 201 201 201 201", "401 401 403 201 201 201 201"
		all              = "200 401 200 200 200 200 200"
	)
	post, stored := event.NewID(), readable()
	list, one := "/posts/"+post+"/comments", "/posts/"+stored.PostID+"/comments/"+stored.ID
	identitytest.Check(t, []identitytest.Route{
		{
			Method: "POST", Path: "/posts/:id/comments", Target: list, Body: `{"content":"a"}`,
			Want: []string{guests, guests, noGuests, noGuests}, Role: identity.Reader,
		},
		{Method: "GET", Path: "/posts/:id/comments", Target: list, Want: []string{all}},
		{Method: "HEAD", Path: "/posts/:id/comments", Target: list, Want: []string{all}},
		{Method: "GET", Path: "/posts/:id/comments/:commentId", Target: one, Want: []string{all}},
		{Method: "HEAD", Path: "/posts/:id/comments/:commentId", Target: one, Want: []string{all}},
	}, func(t *testing.T, guard *identity.Guard) (*gin.Engine, func() int) {
		s := newSite(t, post)
		s.guard = guard
		raw, err := event.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		s.store.Put(documentKey(stored.ID), string(raw))
		engine := web.NewEngine()
		s.Routes(engine)
		return engine, func() int { return len(s.journal.Events()) }
	})
}

func readable() event.Comment {
	return event.Comment{ID: event.NewID(), PostID: event.NewID(), Content: "a", Status: event.Approved, CreatedAt: time.Now().UTC(), Revision: 2}
}
