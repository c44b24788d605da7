package comments

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

const reader = "reader"

// commenting is a PostCommentingChanged.
func commenting(t *testing.T, post string, to event.Openness, revision int) event.Event {
	t.Helper()
	e, err := event.OfCommenting("moderation", event.Commenting{PostID: post, Comments: to, Revision: revision, DecidedBy: "a-moderator", DecidedAt: noon}, "")
	return onTheBus(t, e, err)
}

// blocking is a PersonBlocked about the reader.
func blocking(t *testing.T, is bool, revision int) event.Event {
	t.Helper()
	e, err := event.OfBlocking("moderation", event.Blocking{Subject: identitytest.Of(reader).Subject, Blocked: is, Revision: revision, DecidedBy: "a-moderator", DecidedAt: noon}, "")
	return onTheBus(t, e, err)
}

// wantAnswer has somebody comment.
func (s *site) wantAnswer(t *testing.T, token string, status int) {
	t.Helper()
	engine := web.NewEngine()
	s.Routes(engine)
	req := httptest.NewRequest(http.MethodPost, "/posts/"+aPost+"/comments", strings.NewReader(`{"content":"Hello"}`))
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	if res.Code != status || status != http.StatusCreated && res.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %d %s, want %d", res.Code, res.Body, status)
	}
}

// Whatever the order of a moderator's decisions, the last one counts.
func TestACommentOnAClosedPostIsRefused(t *testing.T) {
	s := newSite(t, aPost)
	deliver := s.deliver(event.PostCommentingChanged)
	s.wantAnswer(t, "", http.StatusCreated)
	wantErrors(t, deliver(t.Context(), []event.Event{commenting(t, aPost, event.Closed, 1)}), nil)
	s.wantAnswer(t, "", http.StatusForbidden)
	s.wantAnswer(t, reader, http.StatusForbidden)
	wantErrors(t, deliver(t.Context(), []event.Event{commenting(t, aPost, event.Closed, 3), commenting(t, aPost, event.Open, 2), commenting(t, aPost, event.Closed, 1)}), nil, nil, nil)
	s.wantAnswer(t, "", http.StatusForbidden)
	wantErrors(t, deliver(t.Context(), []event.Event{commenting(t, aPost, event.Open, 4)}), nil)
	s.wantAnswer(t, "", http.StatusCreated)
	wantErrors(t, deliver(t.Context(), []event.Event{commenting(t, aPost, event.Closed, 4)}), bus.ErrPoison)
	s.wantAnswer(t, "", http.StatusCreated)
	if n := len(s.journal.Events()); n != 3 {
		t.Errorf("%d events were committed", n)
	}
}

func TestACommentOfABlockedPersonIsRefused(t *testing.T) {
	s := newSite(t, aPost)
	s.wantAnswer(t, reader, http.StatusCreated)
	deliver := s.deliver(event.PersonBlocked)
	wantErrors(t, deliver(t.Context(), []event.Event{blocking(t, true, 1)}), nil)
	s.wantAnswer(t, reader, http.StatusForbidden)
	s.wantAnswer(t, "author", http.StatusCreated)
	s.wantAnswer(t, "", http.StatusCreated)
	wantErrors(t, deliver(t.Context(), []event.Event{blocking(t, false, 2)}), nil)
	s.wantAnswer(t, reader, http.StatusCreated)
}

// A repeat gets the first answer, though the post was closed or the person blocked meanwhile. A new
// comment does not.
func TestARepeatOfAnAcceptedCommentIsNotRefused(t *testing.T) {
	for name, refuse := range map[string]event.Event{"closed": commenting(t, aPost, event.Closed, 1), "blocked": blocking(t, true, 1)} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, aPost)
			first := s.doAs(reader, aPost, "key", `{"content":"a"}`)
			wantErrors(t, s.deliver(refuse.Type)(t.Context(), []event.Event{refuse}), nil)
			again := s.doAs(reader, aPost, "key", `{"content":"a"}`)
			if first.Code != http.StatusCreated || again.Code != http.StatusCreated || again.Body.String() != first.Body.String() {
				t.Errorf("answered %d %s, and before %d %s", again.Code, again.Body, first.Code, first.Body)
			}
			for key, body := range map[string]string{"another": `{"content":"a"}`, "": `{"content":"a"}`} {
				if res := s.doAs(reader, aPost, key, body); res.Code != http.StatusForbidden {
					t.Errorf("a new comment with key %q is answered %d %s", key, res.Code, res.Body)
				}
			}
		})
	}
}

// The bus brings an event to one replica. The others read the store again soon; without the
// store nobody is refused for good, and nobody blocked gets through.
func TestAnotherReplicaLearnsItFromTheStore(t *testing.T) {
	s := newSite(t, aPost)
	clock := time.Now()
	s.start(t, s.journal, aPost)
	other := New(Config{Source: "comments", Journal: s.journal, Publisher: &topic{}, Store: s.store, Progress: s.progress, ReadModel: s.readModel, Guard: identitytest.Open(), Now: func() time.Time { return clock }})
	addPosts(t, other.posts, aPost)
	o := &site{Service: other, journal: s.journal, store: s.store}
	o.wantAnswer(t, reader, http.StatusCreated)
	wantErrors(t, s.deliver(event.PersonBlocked)(t.Context(), []event.Event{blocking(t, true, 1)}), nil)
	wantErrors(t, s.deliver(event.PostCommentingChanged)(t.Context(), []event.Event{commenting(t, aPost, event.Closed, 1)}), nil)
	clock = clock.Add(2 * time.Second)
	o.wantAnswer(t, reader, http.StatusForbidden)
	o.wantAnswer(t, "", http.StatusForbidden)
	clock = clock.Add(2 * time.Second)
	s.store.Fail(statetest.ErrDown, statetest.Get)
	o.wantAnswer(t, reader, http.StatusServiceUnavailable)
	s.store.Fail(nil)
	// An emptied store is filled from the log.
	s.store.Clear()
	for _, e := range []event.Event{blocking(t, true, 1), commenting(t, aPost, event.Closed, 1)} {
		wantMissing(t, s.Service, e, true)
		if errs := consumer(t, s.Service, e.Type).Restore(context.Background(), []event.Event{e}); errs[0] != nil {
			t.Error(errs)
		}
		wantMissing(t, s.Service, e, false)
	}
}
