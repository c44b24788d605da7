package comments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// errNoPost is returned for the id of a post that can't exist: it isn't one, or it is
// so old that comments would have it.
var errNoPost = errors.New("no such post")

const (
	// postDelay is how much later than a younger post one may still be delivered. A sidecar
	// that died with the event gives it back after the bus's processingTimeout and
	// redeliverInterval, 7 s, plus its own start.
	postDelay = 30 * time.Second
	// rememberFor bounds how long a post that was seen in the store is taken to be there:
	// the store may lose its data under a running service.
	rememberFor = 2 * time.Second
	// maxRemembered bounds how many posts are remembered.
	maxRemembered = 10_000
	// youngestKey is named as the versions before wrote it.
	youngestKey = "posts-heard"
)

// knownPosts knows which posts exist, from PostCreated. The store has a document a post,
// "post-<id>", with the digest of the post, and the time of the youngest.
type knownPosts struct {
	store    state.Store
	now      func() time.Time
	arrivals *arrivals
	// seen is when a post was last seen in the store.
	seen *lru.Cache[string, time.Time]

	mu sync.Mutex
	// youngest is when the youngest post was made that this replica knows of. It is in the
	// store, too.
	youngest time.Time
}

func newKnownPosts(store state.Store, now func() time.Time) *knownPosts {
	seen, _ := lru.New[string, time.Time](maxRemembered) // the size is valid
	return &knownPosts{store: store, now: now, arrivals: newArrivals(), seen: seen}
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
		now := k.now()
		if at, ok := k.seen.Get(id); ok && now.Sub(at) < rememberFor {
			return true, nil
		}
		// Before the read: what was delivered until now is in the store.
		isOld := made.Before(k.youngestMade().Add(-postDelay))
		items, err := k.store.Get(ctx, "post-"+id)
		switch {
		case err != nil:
			return false, err
		case items[0].Exists():
			k.seen.Add(id, now)
			return true, nil
		case isOld:
			return false, errNoPost
		}
		return false, nil
	})
}

func (k *knownPosts) youngestMade() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.youngest
}

// add stores that posts exist, and wakes up the requests that wait for them.
func (k *knownPosts) add(ctx context.Context, events []event.Event) []error {
	items, now := make([]state.Item, len(events)), k.now()
	for i, e := range events {
		digest, err := event.Digest(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: []byte(digest)}
	}
	kept, errs := state.Keep(ctx, k.store, items...), make([]error, len(events))
	var youngest time.Time
	for i, e := range events {
		switch stored := kept[items[i].Key]; {
		case stored.Err != nil:
			errs[i] = stored.Err
		case string(stored.Value) != string(items[i].Value):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		default:
			k.seen.Add(e.Post.ID, now)
			k.arrivals.wake(e.Post.ID)
			if made, _ := event.IDTime(e.Post.ID); made.After(youngest) {
				youngest = made
			}
		}
	}
	if now.Before(youngest) { // a post that claims to be of the future must not make others old
		youngest = now
	}
	if youngest.After(k.youngestMade()) {
		// A failure costs nothing: the next batch saves it, and until then fewer posts are old.
		if err := k.advance(ctx, youngest); err != nil {
			slog.DebugContext(ctx, "could not save the time of the youngest post", "error", err)
		}
	}
	return errs
}

// advance stores that a post was made at that time, unless the store has a younger one, and
// notes the younger of both.
func (k *knownPosts) advance(ctx context.Context, made time.Time) error {
	youngest := made
	err := state.Update(ctx, k.store, []string{youngestKey}, func(items []state.Item) ([]state.Item, error) {
		stored, _ := time.Parse(time.RFC3339Nano, string(items[0].Value)) // a damaged one is written anew
		if !made.After(stored) {
			youngest = stored
			return nil, nil
		}
		items[0].Value = []byte(made.UTC().Format(time.RFC3339Nano))
		return items, nil
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if youngest.After(k.youngest) {
		k.youngest = youngest
	}
	return nil
}

// loadYoungest starts from the youngest post of before the restart. It retries until
// the store answers or ctx is done.
func (k *knownPosts) loadYoungest(ctx context.Context) {
	for k.advance(ctx, time.Time{}) != nil && ctx.Err() == nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
