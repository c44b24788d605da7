package comments

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// errNoPost is returned for the id of a post that can't exist: it isn't one, or it is
// so old that comments would have it.
var errNoPost = errors.New("no such post")

// postDelay is how long after its making a post may still be delivered. A sidecar that
// died with the event gives it back after the bus's processingTimeout and
// redeliverInterval, 7 s, plus its own start.
const postDelay = 30 * time.Second

// knownPosts knows which posts exist, from PostCreated. The store has a document a post,
// "post-<id>", with the digest of the post.
type knownPosts struct {
	store    state.Store
	now      func() time.Time
	arrivals *arrivals
	known    memory[struct{}]

	mu sync.Mutex
	// behindUntil is until when posts of any age may be on their way: postDelay after the
	// start, and after each post that was delivered late.
	behindUntil time.Time
}

func newKnownPosts(store state.Store, now func() time.Time) *knownPosts {
	return &knownPosts{
		store: store, now: now, arrivals: newArrivals(), known: memory[struct{}]{now: now},
		behindUntil: now().Add(postDelay),
	}
}

// await returns nil once the post is known. For one that can't exist it returns
// errNoPost at once; for one that may be on its way errNotArrived after arrivalWait, or
// errTooManyWait at once. Any other error is the store's, or that of ctx.
func (k *knownPosts) await(ctx context.Context, id string) error {
	made, ok := event.IDTime(id)
	if !ok || made.Sub(k.now()) > postDelay { // no clock of posts is that far ahead
		return errNoPost
	}
	return k.arrivals.await(ctx, id, func() (bool, error) {
		if _, known := k.known.get(id); known {
			return true, nil
		}
		late := k.isLate(made) // before the read: what was delivered until now is in the store
		items, err := k.store.Get(ctx, "post-"+id)
		switch {
		case err != nil:
			return false, err
		case items[0].Exists():
			k.known.put(id, struct{}{})
			return true, nil
		case late:
			return false, errNoPost
		}
		return false, nil
	})
}

// isLate says whether a post that was made then would have been delivered by now.
func (k *knownPosts) isLate(made time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	return now.Sub(made) > postDelay && !now.Before(k.behindUntil)
}

// add stores that posts exist, and wakes up the requests that wait for them.
func (k *knownPosts) add(ctx context.Context, events []event.Event) []error {
	items, now := make([]state.Item, len(events)), k.now()
	for i, e := range events {
		if made, _ := event.IDTime(e.Post.ID); now.Sub(made) > postDelay {
			k.mu.Lock()
			k.behindUntil = now.Add(postDelay)
			k.mu.Unlock()
		}
		digest, err := event.Digest(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: []byte(digest)}
	}
	kept, errs := state.Keep(ctx, k.store, items...), make([]error, len(events))
	for i, e := range events {
		switch stored := kept[items[i].Key]; {
		case stored.Err != nil:
			errs[i] = stored.Err
		case string(stored.Value) != string(items[i].Value):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		default:
			k.known.put(e.Post.ID, struct{}{})
			k.arrivals.wake(e.Post.ID)
		}
	}
	return errs
}
