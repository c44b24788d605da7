package comments

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// created has the replica merge n new comments of a post.
func created(t *testing.T, s *Service, post string, n int) (ids []string) {
	t.Helper()
	for range n {
		c := aComment(post, 1)
		c.ID = event.NewID()
		if err := errors.Join(s.CommentCreated(t.Context(), []event.Event{about(t, c)})...); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return ids
}

// listed are the ids of a post's comments by a walk over all pages, oldest first.
func listed(t *testing.T, s *Service, post string) (ids []string) {
	t.Helper()
	for before := fromNewest; ; {
		page, next, err := s.page(t.Context(), post, before, maxLimit)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		if before = next; next == 0 {
			slices.Reverse(ids)
			return ids
		}
	}
}

// After a FLUSHALL a post from before it is none, and what is delivered again is listed
// whole, by every replica.
func TestWhatAStoreLostIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		gone := idAt(time.Now(), 1)
		a, b := replicaOn(m), replicaOn(m)
		for _, s := range []*Service{a, b} {
			addPosts(t, s.posts, gone)
			created(t, s, gone, 300)
		}
		time.Sleep(postDelay + 2*time.Second) // since which the post is old
		for _, s := range []*Service{a, b} {
			if err := s.posts.await(t.Context(), gone); err != nil {
				t.Fatalf("before the loss: %v", err)
			}
			created(t, s, gone, 1)
		}

		m.Clear()
		time.Sleep(rememberFor)
		for _, s := range []*Service{a, b} {
			if err := s.posts.await(t.Context(), gone); !errors.Is(err, errNoPost) {
				t.Errorf("after the loss: %v", err)
			}
		}
		want := slices.Concat(created(t, a, gone, 2), created(t, b, gone, 2), created(t, a, gone, 200))
		for name, s := range map[string]*Service{"one": a, "another": b, "a fresh one": replicaOn(m)} {
			if got := listed(t, s, gone); !slices.Equal(got, want) {
				t.Errorf("%s lists %d comments, want %d", name, len(got), len(want))
			}
		}
	})
}

// The store loses its data between a replica's read and its write, which then begins a
// list in its middle: the store writes a key that is gone whatever the ETag. The comments
// after that are listed where every replica finds them.
func TestAWriteAfterALossDoesNotLeadOthersAstray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		post := idAt(time.Now(), 1)
		s := replicaOn(m)
		created(t, s, post, 300)
		m.Before(func(_ context.Context, c statetest.Call) error {
			if c.Op == statetest.Swap && strings.HasPrefix(c.Items[0].Key, "list-") {
				m.Before(nil)
				m.Clear()
			}
			return nil
		})
		created(t, s, post, 1)
		time.Sleep(rememberFor)
		want := created(t, s, post, 5)
		for name, replica := range map[string]*Service{"it": s, "a fresh one": replicaOn(m)} {
			if got := listed(t, replica, post); !slices.Equal(got, want) {
				t.Errorf("%s lists %d comments, want %d", name, len(got), len(want))
			}
		}
	})
}

// What was read just before a loss is remembered after it, and not for longer than
// anything else; and what is put again and again is not remembered for ever.
func TestNothingIsRememberedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory[int]{now: time.Now}
		for range 3 {
			m.put("a", 1)
			for range 10 {
				time.Sleep(rememberFor / 10)
				if _, ok := m.get("a"); ok {
					m.put("a", 1)
				}
			}
			if _, ok := m.get("a"); ok {
				t.Error("it is remembered")
			}
		}
	})
}
