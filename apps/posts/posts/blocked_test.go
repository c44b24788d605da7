package posts

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func TestABlockedPersonMayNotPost(t *testing.T) {
	j, store := journaltest.New(), statetest.New()
	s := New("posts", j, store, identitytest.Open(), nil, time.Now)
	engine := web.NewEngine()
	s.Routes(engine)
	wantStatus := func(token, key string, status int) (answer string) {
		t.Helper()
		req := httptest.NewRequest(http.MethodPost, "/posts/create", strings.NewReader(`{"title":"A title"}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res := httptest.NewRecorder()
		if engine.ServeHTTP(res, req); res.Code != status {
			t.Errorf("%q with key %q is answered %d %s, want %d", token, key, res.Code, res.Body, status)
		}
		return res.Body.String()
	}
	first := wantStatus("author", "key", http.StatusCreated)
	at := time.Now().UTC()
	blocked, err := event.OfBlocking("moderation", event.Blocking{Subject: identitytest.Of("author").Subject, Blocked: true, Revision: 1, DecidedBy: "a-moderator", DecidedAt: at}, "")
	if err != nil {
		t.Fatal(err)
	}
	wantErrors(t, s.Consumers()[1].Effect(t.Context(), []event.Event{blocked}), nil)
	wantStatus("author", "", http.StatusForbidden)
	wantStatus("author", "another", http.StatusForbidden)
	wantStatus("", "", http.StatusCreated)
	if n := len(j.Events()); n != 2 {
		t.Errorf("%d events were committed", n)
	}
	// What was accepted before stays so.
	if again := wantStatus("author", "key", http.StatusCreated); again != first {
		t.Errorf("a repeat is answered %s, and before %s", again, first)
	}
}
