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

// errNoPost is returned for an id that no post can have. It is not a UUIDv7, its time is
// too far in the future, or it is so old that its PostCreated would have been delivered.
var errNoPost = errors.New("no such post")

const (
	// postDelay bounds by how much a post may be older than one that was delivered before
	// it. If a sidecar dies with a PostCreated, the bus redelivers that after
	// processingTimeout and redeliverInterval, 7 s, plus the sidecar's start.
	postDelay = 30 * time.Second
	// maxClockAhead bounds how far the clock of posts may be ahead of this service's.
	maxClockAhead = 30 * time.Second
	// rememberFor is for how long a post that was found in the store is not read again. It
	// is short because the store may lose its data while the service runs.
	rememberFor = 2 * time.Second
	// maxRemembered bounds how many posts are remembered.
	maxRemembered = 10_000
	// youngestKey keeps the name that earlier versions gave it, so that its value is found.
	youngestKey = "posts-heard"
)

// knownPosts knows which posts exist, from PostCreated. The store has one document for each
// post, "post-<id>", with the digest of the post. Under youngestKey it has the time of the
// youngest post.
type knownPosts struct {
	store    state.Store
	now      func() time.Time
	arrivals *arrivals
	// seen is when a post was last found in the store, by the post's id.
	seen *lru.Cache[string, time.Time]

	mu sync.Mutex
	// youngest is the time of the youngest post that this replica knows of. The store has
	// that or a later time.
	youngest time.Time
}

func newKnownPosts(store state.Store, now func() time.Time) *knownPosts {
	seen, _ := lru.New[string, time.Time](maxRemembered) // the size is valid
	return &knownPosts{store: store, now: now, arrivals: newArrivals(), seen: seen}
}

// await returns nil once the post is known. For one that can't exist it returns
// errNoPost at once; for one that may be on its way errNotArrived after arrivalWait, or
// errTooManyWaiting at once. Any other error is the store's, or that of ctx.
func (k *knownPosts) await(ctx context.Context, id string) error {
	made, ok := event.IDTime(id)
	if !ok || made.Sub(k.now()) > maxClockAhead {
		return errNoPost
	}
	return k.arrivals.await(ctx, id, func() (bool, error) {
		now := k.now()
		if at, ok := k.seen.Get(id); ok && now.Sub(at) < rememberFor {
			return true, nil
		}
		// Decided before the read. If an old post exists, it was delivered and stored by now,
		// and the read finds it. A post that becomes old during the read may be missed by it.
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
	if now.Before(youngest) { // a post whose id has a time in the future must not make others old
		youngest = now
	}
	if youngest.After(k.youngestMade()) {
		// No reason to fail: the next batch saves the time. Until then some requests wait for a
		// post that does not exist instead of being refused at once.
		if err := k.advance(ctx, youngest); err != nil {
			slog.DebugContext(ctx, "could not save the time of the youngest post", "error", err)
		}
	}
	return errs
}

// advance stores made as the time of the youngest post, unless the store has a later time.
// Then it sets k.youngest to the later of both.
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

// loadYoungest reads the time of the youngest post from the store, where it was stored
// before a restart. It retries until the store answers or ctx is done.
func (k *knownPosts) loadYoungest(ctx context.Context) {
	for k.advance(ctx, time.Time{}) != nil && ctx.Err() == nil {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
