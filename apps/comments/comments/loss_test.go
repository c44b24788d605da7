package comments

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// After a FLUSHALL a post from before it is none, and what is delivered again is stored
// again, by every replica.
func TestWhatAStoreLostIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		gone := idAt(time.Now(), 1)
		a, b := replicaOn(m), replicaOn(m)
		c := aComment(gone, 1)
		for _, s := range []*Service{a, b} {
			addPosts(t, s.posts, gone)
			wantErrors(t, s.CommentCreated(t.Context(), []event.Event{about(t, c)}), nil)
		}
		time.Sleep(postDelay + 2*time.Second)     // of the bubble's clock
		addPosts(t, a.posts, idAt(time.Now(), 2)) // since which the first is old
		addPosts(t, b.posts, idAt(time.Now(), 2))
		for _, s := range []*Service{a, b} {
			if err := s.posts.await(t.Context(), gone); err != nil {
				t.Fatalf("before the loss: %v", err)
			}
		}

		m.Clear()
		time.Sleep(rememberFor) // of the bubble's clock
		for _, s := range []*Service{a, b} {
			if err := s.posts.await(t.Context(), gone); !errors.Is(err, errNoPost) {
				t.Errorf("after the loss: %v", err)
			}
			wantErrors(t, s.CommentModerated(t.Context(), []event.Event{about(t, moderated(c))}), nil)
			wantComment(t, m, moderated(c))
			m.Clear()
		}
		// The time of the youngest post is stored again with the next one.
		addPosts(t, a.posts, idAt(time.Now(), 3))
		fresh := postsOf(m)
		fresh.loadYoungest(t.Context())
		if err := fresh.await(t.Context(), gone); !errors.Is(err, errNoPost) {
			t.Errorf("after the loss and a restart: %v", err)
		}
	})
}

// Requests for a post do not keep it from being forgotten.
func TestNothingIsRememberedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		k := postsOf(m)
		id := idAt(time.Now(), 1)
		addPosts(t, k, id)
		m.Clear()
		for range 10 {
			wantAwait(t, k, id, nil, 0)
			time.Sleep(rememberFor / 10) // of the bubble's clock
		}
		wantAwait(t, k, id, errNotArrived, arrivalWait)
	})
}
