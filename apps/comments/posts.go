package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	// postDelay is how much later than a younger post one may still be delivered.
	// A sidecar that died with the event gives it back after the bus's
	// processingTimeout and redeliverInterval, 7 s, plus its own start.
	postDelay = 30 * time.Second

	knownPostsCached = 100_000
	youngestKey      = "posts-heard"
)

// knownPosts knows which posts exist, from PostCreated. The store has a document
// a post, "post-<id>", with the digest of the post, and "posts-heard", the time of the
// youngest.
type knownPosts struct {
	store    state.Swapper
	known    *lru.Cache[string, struct{}]
	arrivals *arrivals

	mu sync.Mutex
	// youngest is the making of the youngest post that this replica knows of.
	youngest time.Time
	// saved is what of youngest is in the store; it may lag by a second.
	saved time.Time
}

func newKnownPosts(store state.Swapper) *knownPosts {
	known, err := lru.New[string, struct{}](knownPostsCached)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &knownPosts{store: store, known: known, arrivals: newArrivals()}
}

// await returns nil once the post is known. For one that can't exist it returns
// errNoPost at once; for one that may be on its way errNotArrived after arrivalWait, or
// errTooManyWait at once. Any other error is the store's, or that of ctx.
func (k *knownPosts) await(ctx context.Context, id string) error {
	made, ok := event.IDTime(id)
	if !ok || time.Until(made) > postDelay { // no clock of posts is that far ahead
		return errNoPost
	}
	if k.known.Contains(id) {
		return nil
	}
	return k.arrivals.await(ctx, id, func() (bool, error) {
		// Before the look at the store: what came until now is in it.
		old := made.Before(k.youngestMade().Add(-postDelay))
		known, err := k.look(ctx, id)
		if err == nil && !known && old {
			err = errNoPost
		}
		return known, err
	})
}

func (k *knownPosts) look(ctx context.Context, id string) (bool, error) {
	if k.known.Contains(id) {
		return true, nil
	}
	items, err := k.store.Get(ctx, "post-"+id)
	if err != nil {
		return false, err
	}
	if items[0].Exists() {
		k.known.Add(id, struct{}{})
	}
	return items[0].Exists(), nil
}

func (k *knownPosts) youngestMade() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.youngest
}

// add stores that posts exist, and wakes up the requests that wait for them.
func (k *knownPosts) add(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		sum := sha256.Sum256(value)
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: []byte(hex.EncodeToString(sum[:]))}
	}
	kept, errs := state.Keep(ctx, k.store, items...), make([]error, len(events))
	youngest := time.Time{}
	for i, e := range events {
		switch {
		case kept[items[i].Key].Err != nil:
			errs[i] = kept[items[i].Key].Err
		case !bytes.Equal(kept[items[i].Key].Value, items[i].Value):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		default:
			k.known.Add(e.Post.ID, struct{}{})
			k.arrivals.wake(e.Post.ID)
			if made, _ := event.IDTime(e.Post.ID); made.After(youngest) {
				youngest = made
			}
		}
	}
	k.advance(ctx, youngest)
	return errs
}

// advance notes that a post made at this time exists. A post can't be made
// later than now; one that claims it must not make others look old.
func (k *knownPosts) advance(ctx context.Context, made time.Time) {
	if now := time.Now(); made.After(now) {
		made = now
	}
	k.mu.Lock()
	if made.After(k.youngest) {
		k.youngest = made
	}
	youngest := k.youngest
	save := youngest.Sub(k.saved) >= time.Second
	k.mu.Unlock()
	if !save {
		return
	}
	// A failure costs nothing: the next batch saves it, and until then a replica
	// that restarts takes fewer posts for old.
	stored, item, err := k.readYoungest(ctx)
	if err == nil && youngest.After(stored) {
		item.Value = []byte(youngest.UTC().Format(time.RFC3339Nano))
		err = k.store.Swap(ctx, item)
	}
	if err != nil {
		slog.DebugContext(ctx, "could not save the time of the youngest post", "error", err)
		return
	}
	k.mu.Lock()
	k.saved = youngest
	k.mu.Unlock()
}

func (k *knownPosts) readYoungest(ctx context.Context) (time.Time, state.Item, error) {
	items, err := k.store.Get(ctx, youngestKey)
	if err != nil || !items[0].Exists() {
		return time.Time{}, state.Item{Key: youngestKey}, err
	}
	at, err := time.Parse(time.RFC3339Nano, string(items[0].Value))
	if err != nil {
		slog.WarnContext(ctx, "the time of the youngest post is damaged, and will be written anew", "error", err)
	}
	return at, items[0], nil
}

// loadYoungest starts from the youngest post of before the restart. It retries until
// the store answers.
func (k *knownPosts) loadYoungest(ctx context.Context) {
	for ctx.Err() == nil {
		stored, _, err := k.readYoungest(ctx)
		if err == nil {
			k.mu.Lock()
			if stored.After(k.youngest) {
				k.youngest, k.saved = stored, stored
			}
			k.mu.Unlock()
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
