package comments

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// After a FLUSHALL a post from before it may come back from the log, so it is on its way
// until the log was followed. What is delivered again is stored again, by every replica.
func TestWhatAStoreLostIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		gone := idAt(time.Now(), 1)
		a, b := replicaOn(m), replicaOn(m)
		c := aComment(gone, 1)
		for _, s := range []*Service{a, b} {
			addPosts(t, s.posts, gone)
			wantErrors(t, s.deliver(event.CommentCreated)(t.Context(), []event.Event{about(t, c)}), nil)
		}
		time.Sleep(postDelay + 2*time.Second) // of the bubble's clock
		for _, s := range []*Service{a, b} {
			s.posts.follow(time.Now()) // so that the post would be old
			if err := s.posts.await(t.Context(), gone); err != nil {
				t.Fatalf("before the loss: %v", err)
			}
		}

		m.Clear()
		time.Sleep(rememberFor) // of the bubble's clock
		for _, s := range []*Service{a, b} {
			s.posts.follow(time.Time{}) // as catchup says while the store is being restored
			wantAwait(t, s.posts, gone, errNotArrived, arrivalWait)
			wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{about(t, moderated(c))}), nil)
			wantComment(t, m, moderated(c))
			m.Clear()
			s.posts.follow(time.Now()) // and the log does not have it either
			wantAwait(t, s.posts, gone, errNoPost, 0)
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
