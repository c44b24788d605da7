package posts

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
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// createAs creates a post with that bearer token, or as a guest if it is empty.
func createAs(j *journaltest.Fake, guard *identity.Guard, token, key, body string) *httptest.ResponseRecorder {
	engine := web.NewEngine()
	New("posts", j, statetest.New(), guard, nil, time.Now).Routes(engine)
	req, res := httptest.NewRequest(http.MethodPost, "/posts/create", strings.NewReader(body)), httptest.NewRecorder()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	engine.ServeHTTP(res, req)
	return res
}

func TestAPostHasItsAuthorAndAGuestsHasNone(t *testing.T) {
	ann := identitytest.Of("author")
	for token, want := range map[string]event.Post{"author": {Author: ann.Name, AuthorID: ann.Subject}, "": {}} {
		j := journaltest.New()
		res := createAs(j, identitytest.Open(), token, "", `{"title":"a"}`)
		var got event.Post
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != http.StatusCreated {
			t.Fatalf("%q is answered %d %s", token, res.Code, res.Body)
		}
		if got.Author != want.Author || got.AuthorID != want.AuthorID || got != *j.Events()[0].Post {
			t.Errorf("%q: answered %s, published %+v", token, res.Body, j.Events()[0].Post)
		}
	}
	if res := createAs(journaltest.New(), identitytest.Open(), "author", "", `{"title":"a","author":"Bob"}`); res.Code != http.StatusBadRequest {
		t.Errorf("a name in the request is answered %d", res.Code)
	}
}

func TestAnotherPersonsKeyIsAnotherKey(t *testing.T) {
	j, ids := journaltest.New(), map[string]string{}
	for _, token := range []string{"author", "", "author", ""} {
		res := createAs(j, identitytest.Open(), token, "key", `{"title":"of `+token+`"}`)
		var got event.Post
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != http.StatusCreated || got.Title != "of "+token {
			t.Fatalf("%q is answered %d %s", token, res.Code, res.Body)
		}
		if before := ids[token]; before != "" && before != got.ID {
			t.Errorf("%q gets another post when the request is repeated", token)
		}
		ids[token] = got.ID
	}
	if ids["author"] == ids[""] {
		t.Error("one's key answers for the other")
	}
}

func TestWhoMayPost(t *testing.T) {
	const guests, noGuests = "201 401 403 403 201 403 403", "401 401 403 403 201 403 403"
	identitytest.Check(t, []identitytest.Route{
		{
			Method: "POST", Path: "/posts/create", Target: "/posts/create", Body: `{"title":"a"}`,
			Want: []string{guests, noGuests, guests, noGuests}, Role: identity.Author,
		},
	}, func(_ *testing.T, guard *identity.Guard) (*gin.Engine, func() int) {
		j, engine := journaltest.New(), web.NewEngine()
		New("posts", j, statetest.New(), guard, nil, time.Now).Routes(engine)
		return engine, func() int { return len(j.Events()) }
	})
}
