package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

// flush is FLUSHALL.
func (m *memory) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions, m.values = map[string]int{}, map[string]string{}
}

// replica is what one comments service remembers of a store.
type replica struct {
	posts    *knownPosts
	comments *comments
	origin   *origin
}

func replicaOf(m *memory) *replica {
	r := &replica{posts: newKnownPosts(m), comments: newComments(m)}
	r.origin = newOrigin(m, r.posts, r.comments)
	return r
}

// created has the replica merge n new comments of a post.
func (r *replica) created(t *testing.T, post string, n int) (ids []string) {
	t.Helper()
	for range n {
		c := aComment(post, 1)
		c.ID = event.NewID()
		if err := errors.Join(r.comments.merge(t.Context(), []event.Event{told(t, c)}, true)...); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return ids
}

// listed are the ids of a post's comments by a walk over all pages, oldest first.
func (r *replica) listed(t *testing.T, post string) (ids []string) {
	t.Helper()
	for before := fromNewest; ; {
		page, next, err := r.comments.page(t.Context(), post, before, maxLimit)
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
		m := newMemory()
		gone := idAt(time.Now(), 1)
		a, b := replicaOf(m), replicaOf(m)
		running, stop := context.WithCancel(t.Context())
		defer stop()
		for _, r := range []*replica{a, b} {
			go r.origin.watch(running)
			addPosts(t, r.posts, gone)
			r.created(t, gone, 300)
		}
		time.Sleep(postDelay + 2*time.Second)
		addPosts(t, a.posts, idAt(time.Now(), 2)) // since which the first is old
		addPosts(t, b.posts, idAt(time.Now(), 2))
		for _, r := range []*replica{a, b} {
			if err := r.posts.await(t.Context(), gone); err != nil {
				t.Fatalf("before the loss: %v", err)
			}
		}

		m.flush()
		time.Sleep(2 * lookEvery)
		for _, r := range []*replica{a, b} {
			if err := r.posts.await(t.Context(), gone); !errors.Is(err, errNoPost) {
				t.Errorf("after the loss: %v", err)
			}
		}
		want := slices.Concat(a.created(t, gone, 2), b.created(t, gone, 2), a.created(t, gone, 200))
		for name, r := range map[string]*replica{"one": a, "another": b, "a fresh one": replicaOf(m)} {
			if got := r.listed(t, gone); !slices.Equal(got, want) {
				t.Errorf("%s lists %d comments, want %d", name, len(got), len(want))
			}
		}
	})
}

// A request that began before the loss remembers after it what it had read.
func TestWhatIsRememberedAroundALossIsForgottenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		post := idAt(time.Now(), 1)
		r := replicaOf(m)
		running, stop := context.WithCancel(t.Context())
		defer stop()
		go r.origin.watch(running)
		time.Sleep(lookEvery / 2)
		m.flush()
		time.Sleep(2*time.Second + lookEvery/4) // the most that a request has
		r.posts.known.Add(post, struct{}{})
		time.Sleep(lookEvery)
		if r.posts.known.Contains(post) {
			t.Error("it is remembered")
		}
		r.posts.known.Add(post, struct{}{})
		time.Sleep(10 * lookEvery)
		if !r.posts.known.Contains(post) {
			t.Error("it goes on to forget")
		}
	})
}

func TestALookIsOneReadAndForgetsNothingByItself(t *testing.T) {
	m := newMemory()
	a, b := replicaOf(m), replicaOf(m)
	for _, r := range []*replica{a, b, a} {
		if err := r.origin.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a.origin.id == "" || a.origin.id != b.origin.id {
		t.Fatalf("the origins are %q and %q", a.origin.id, b.origin.id)
	}
	a.posts.known.Add("x", struct{}{})
	before := len(m.gets)
	if err := a.origin.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.getErr = errDown
	if err := a.origin.look(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("with the store down: %v", err)
	}
	if n := len(m.gets) - before; n != 2 || !a.posts.known.Contains("x") {
		t.Errorf("two looks were %d reads; what was known is there: %t", n, a.posts.known.Contains("x"))
	}
}
