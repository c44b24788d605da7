package comments

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// errNoPost is returned for an id that no post can have. It is not a UUIDv7, its time is
// too far in the future, or it is so old that the log would have it.
var errNoPost = errors.New("no such post")

const (
	// postDelay bounds how long an event takes into the log, also from a journal that another
	// process has to adopt, and by how much the clock of posts may be behind this service's.
	// A post that is older than that is not on its way.
	postDelay = 2 * time.Minute
	// maxClockAhead bounds how far the clock of posts may be ahead of this service's.
	maxClockAhead = 30 * time.Second
	// rememberFor is for how long a post that was found in the store is not read again. It
	// is short because the store may lose its data while the service runs.
	rememberFor = 2 * time.Second
	// maxRemembered bounds how many posts are remembered.
	maxRemembered = 10_000
)

// knownPosts knows which posts exist, from PostCreated. The store has one document for each
// post, "post-<id>", with the digest of the post. That a post does not exist is known only
// from the log, once the service has followed it past the post's time.
type knownPosts struct {
	store    state.Store
	now      func() time.Time
	arrivals *arrivals
	// seen is when a post was last found in the store, by the post's id.
	seen     *lru.Cache[string, time.Time]
	progress Progress
}

func newKnownPosts(store state.Store, progress Progress, now func() time.Time) *knownPosts {
	seen, _ := lru.New[string, time.Time](maxRemembered) // the size is valid
	return &knownPosts{store: store, now: now, arrivals: newArrivals(), seen: seen, progress: progress}
}

// await returns nil once the post is known. For one that can't exist it returns
// errNoPost at once; for one that may be on its way, or if the service is behind the log,
// errNotArrived after arrivalWait, or errTooManyWaiting at once. Any other error is the
// store's, or that of ctx.
func (k *knownPosts) await(ctx context.Context, id string) error {
	made, ok := event.IDTime(id)
	if !ok {
		return errNoPost
	}
	return k.arrivals.await(ctx, id, func() (bool, error) {
		now := k.now()
		if at, ok := k.seen.Get(id); ok && now.Sub(at) < rememberFor {
			return true, nil
		}
		// Decided before the read. If an old post exists, it was stored by now, and the read
		// finds it. A post that becomes old during the read may be missed by it.
		cannotBe := made.Before(k.progress.Current().Add(-postDelay)) || made.Sub(now) > maxClockAhead
		items, err := k.store.Get(ctx, postKey(id), catchup.OriginKey)
		switch {
		case err != nil:
			return false, err
		case items[0].Exists():
			k.seen.Add(id, now)
			return true, nil
		case cannotBe && k.progress.IsOf(items[1].Value): // else the store was emptied since
			return false, errNoPost
		}
		return false, nil
	})
}

func postKey(id string) string { return "post-" + id }

// missing says, by index, which events' posts are not in the store.
func (k *knownPosts) missing(ctx context.Context, events []event.Event) ([]bool, error) {
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = postKey(e.Post.ID)
	}
	return state.Missing(ctx, k.store, keys...)
}

// add stores that posts exist, and wakes up the requests that wait for them.
func (k *knownPosts) add(ctx context.Context, events []event.Event) []error {
	items, now := make([]state.Item, len(events)), k.now()
	for i, e := range events {
		digest, err := event.Digest(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		items[i] = state.Item{Key: postKey(e.Post.ID), Value: []byte(digest)}
	}
	kept, errs := state.Keep(ctx, k.store, items...), make([]error, len(events))
	for i, e := range events {
		switch stored := kept[items[i].Key]; {
		case stored.Err != nil:
			errs[i] = stored.Err
		case string(stored.Value) != string(items[i].Value):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		default:
			k.seen.Add(e.Post.ID, now)
			k.arrivals.wake(e.Post.ID)
		}
	}
	return errs
}
