package posts

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// created is a PostCreated as the bus delivers it.
func created(t *testing.T, id, title string) event.Event {
	t.Helper()
	at := time.Date(2024, 11, 27, 12, 0, 0, 123456789, time.UTC)
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: id, Title: title, Body: "<b>", CreatedAt: at, Revision: 1}, at, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = event.Parse(event.PostCreated, raw); err != nil {
		t.Fatal(err)
	}
	return e
}

// wantErrors checks errs against want, nil for none.
func wantErrors(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(errs), len(want), errs)
	}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("event %d: error %v, want %v", i, errs[i], want[i])
		}
		if want[i] != nil && !errors.Is(want[i], bus.ErrPoison) && errors.Is(errs[i], bus.ErrPoison) {
			t.Errorf("event %d would be a dead letter, and could yet succeed: %v", i, errs[i])
		}
	}
}

func TestAPostIsStoredOnce(t *testing.T) {
	store := statetest.New()
	p := New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now)
	a, b := created(t, event.NewID(), "a"), created(t, event.NewID(), "b")
	wantErrors(t, p.keep(context.Background(), []event.Event{a, b}), nil, nil)
	for _, e := range []event.Event{a, b} {
		var got event.Post
		if err := json.Unmarshal([]byte(store.Value("post-"+e.Post.ID)), &got); err != nil || got != *e.Post {
			t.Errorf("stored %+v (error %v), want %+v", got, err, e.Post)
		}
	}
	// Again, in another order, and twice in a batch.
	wantErrors(t, p.keep(context.Background(), []event.Event{b, a, b}), nil, nil, nil)
	if store.Written() != 2 || len(store.Keys("")) != 2 {
		t.Errorf("%d writes of %d keys, want 2 of 2", store.Written(), len(store.Keys("")))
	}
}

func TestAPostTwiceInItsFirstBatchIsStoredOnce(t *testing.T) {
	store := statetest.New()
	a := created(t, event.NewID(), "a")
	wantErrors(t, New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now).keep(context.Background(), []event.Event{a, a}), nil, nil)
	if store.Written() != 1 {
		t.Errorf("%d writes, want 1", store.Written())
	}
}

func TestAnotherPostOfTheSameIDIsPoison(t *testing.T) {
	store := statetest.New()
	p := New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now)
	first := created(t, event.NewID(), "first")
	forged := created(t, first.Post.ID, "forged")
	wantErrors(t, p.keep(context.Background(), []event.Event{first, forged}), nil, bus.ErrPoison)
	wantErrors(t, p.keep(context.Background(), []event.Event{forged, created(t, event.NewID(), "b"), first}), bus.ErrPoison, nil, nil)
	var got event.Post
	if err := json.Unmarshal([]byte(store.Value("post-"+first.Post.ID)), &got); err != nil || got.Title != "first" {
		t.Errorf("stored %+v (error %v)", got, err)
	}
}

func TestWhileTheStoreIsDownEventsAreRedelivered(t *testing.T) {
	a, b := created(t, event.NewID(), "a"), created(t, event.NewID(), "b")
	for name, fail := range map[string]func(*statetest.Memory){
		"all fails":   func(m *statetest.Memory) { m.Fail(statetest.ErrDown) },
		"writes fail": func(m *statetest.Memory) { m.Fail(statetest.ErrDown, statetest.Swap) },
		"writes' answers are lost": func(m *statetest.Memory) {
			m.Decide(statetest.Always(statetest.Lost))
			m.Fail(statetest.ErrDown, statetest.Get)
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := statetest.New()
			fail(store)
			p := New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now)
			wantErrors(t, p.keep(context.Background(), []event.Event{a, b}), statetest.ErrDown, statetest.ErrDown)
			store.Fail(nil)
			store.Decide(nil)
			wantErrors(t, p.keep(context.Background(), []event.Event{a, b}), nil, nil)
			if store.Written() != 2 {
				t.Errorf("%d writes, want 2", store.Written())
			}
		})
	}
}

func TestAPostThatCannotBeEncodedAcknowledgesNothing(t *testing.T) {
	bad := created(t, event.NewID(), "b")
	bad.Post.CreatedAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	store := statetest.New()
	errs := New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now).keep(context.Background(), []event.Event{created(t, event.NewID(), "a"), bad})
	if len(errs) != 2 || errs[0] == nil || errs[1] == nil || store.Written() > 0 {
		t.Errorf("errors %v and %d writes", errs, store.Written())
	}
}

func TestAPostIsMissingUntilItIsStored(t *testing.T) {
	store := statetest.New()
	c := New("posts", journaltest.New(), store, identitytest.Open(), nil, time.Now).Consumers()
	if len(c) != 2 || c[0].Type != event.PostCreated || c[0].React != nil || c[1].Type != event.PersonBlocked || c[1].React != nil {
		t.Fatalf("the consumers are %+v", c)
	}
	a, b := created(t, event.NewID(), "a"), created(t, event.NewID(), "b")
	wantErrors(t, c[0].Effect(t.Context(), []event.Event{b}), nil)
	missing, err := c[0].Missing(t.Context(), []event.Event{a, b, a})
	if err != nil || !slices.Equal(missing, []bool{true, false, true}) {
		t.Errorf("missing is %v (error %v)", missing, err)
	}
	store.Fail(statetest.ErrDown)
	if _, err := c[0].Missing(t.Context(), []event.Event{a}); !errors.Is(err, statetest.ErrDown) {
		t.Errorf("error %v", err)
	}
}
