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

var (
	// errNoPost is returned for the id of a post that can't exist: it isn't one,
	// or it is so old that comments would have heard of it.
	errNoPost = errors.New("no such post")
	// errPostNotHeardOf is returned for a post that may be on its way.
	errPostNotHeardOf = errors.New("post not heard of")
)

const (
	// postDelay is how much later than a younger post one may still be heard of.
	// A sidecar that died with the event gives it back after the bus's
	// processingTimeout and redeliverInterval, 7 s, plus its own start.
	postDelay = 30 * time.Second
	// postPatience is how long a command waits for its post.
	postPatience = time.Second
	postPoll     = 20 * time.Millisecond

	knownPostsCached = 100_000
	heardKey         = "posts-heard"
)

// knownPosts knows which posts exist, from PostCreated. The store has a document
// a post, "post-<id>", with the digest of what was heard, and "posts-heard", the
// time of the youngest.
type knownPosts struct {
	store state.Swapper
	known *lru.Cache[string, struct{}]

	mu sync.Mutex
	// heard is the making of the youngest post that this replica heard of.
	heard time.Time
	// saved is what of heard is in the store; it may lag by a second.
	saved time.Time
}

func newKnownPosts(store state.Swapper) *knownPosts {
	known, err := lru.New[string, struct{}](knownPostsCached)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &knownPosts{store: store, known: known}
}

// await returns nil once the post is known. For one that isn't it returns
// errNoPost at once, or errPostNotHeardOf after postPatience; any other error is
// the store's.
func (k *knownPosts) await(ctx context.Context, id string) error {
	made, ok := event.IDTime(id)
	if !ok || time.Until(made) > postDelay { // no clock of posts is that far ahead
		return errNoPost
	}
	patience := time.NewTimer(postPatience)
	defer patience.Stop()
	poll := time.NewTicker(postPoll)
	defer poll.Stop()
	for {
		// Before the look at the store: what was heard until now is in it.
		old := made.Before(k.youngest().Add(-postDelay))
		known, err := k.look(ctx, id)
		switch {
		case err != nil:
			return err
		case known:
			return nil
		case old:
			return errNoPost
		}
		select {
		case <-poll.C:
		case <-patience.C:
			return errPostNotHeardOf
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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

func (k *knownPosts) youngest() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heard
}

// hear stores that posts exist.
func (k *knownPosts) hear(ctx context.Context, events []event.Event) []error {
	items := make([]state.Item, len(events))
	for i, e := range events {
		value, err := event.Marshal(e.Post)
		if err != nil {
			return bus.All(len(events), err)
		}
		sum := sha256.Sum256(value)
		items[i] = state.Item{Key: "post-" + e.Post.ID, Value: []byte(hex.EncodeToString(sum[:]))}
	}
	kept, errs := state.Keep(ctx, k.store, items)
	youngest := time.Time{}
	for i, e := range events {
		switch {
		case errs[i] != nil:
		case !bytes.Equal(kept[i], items[i].Value):
			errs[i] = fmt.Errorf("%w: post %s exists with other content", bus.ErrPoison, e.Post.ID)
		default:
			k.known.Add(e.Post.ID, struct{}{})
			if made, _ := event.IDTime(e.Post.ID); made.After(youngest) {
				youngest = made
			}
		}
	}
	k.advance(ctx, youngest)
	return errs
}

// advance notes that a post made at this time was heard of. A post can't be made
// later than now; one that claims it must not make others look old.
func (k *knownPosts) advance(ctx context.Context, made time.Time) {
	if now := time.Now(); made.After(now) {
		made = now
	}
	k.mu.Lock()
	if made.After(k.heard) {
		k.heard = made
	}
	save := k.heard.Sub(k.saved) >= time.Second
	heard := k.heard
	k.mu.Unlock()
	if !save {
		return
	}
	// A failure costs nothing: the next batch saves it, and until then a replica
	// that restarts is only more patient.
	stored, item, err := k.readHeard(ctx)
	if err == nil && heard.After(stored) {
		item.Value = []byte(heard.UTC().Format(time.RFC3339Nano))
		err = k.store.Swap(ctx, item)
	}
	if err != nil {
		slog.DebugContext(ctx, "could not save the time of the youngest post", "error", err)
		return
	}
	k.mu.Lock()
	k.saved = heard
	k.mu.Unlock()
}

func (k *knownPosts) readHeard(ctx context.Context) (time.Time, state.Item, error) {
	items, err := k.store.Get(ctx, heardKey)
	if err != nil || !items[0].Exists() {
		return time.Time{}, state.Item{Key: heardKey}, err
	}
	at, err := time.Parse(time.RFC3339Nano, string(items[0].Value))
	if err != nil {
		slog.WarnContext(ctx, "the time of the youngest post is damaged, and will be written anew", "error", err)
	}
	return at, items[0], nil
}

// loadHeard starts from what was heard before the restart. It tries until the
// store answers.
func (k *knownPosts) loadHeard(ctx context.Context) {
	for ctx.Err() == nil {
		stored, _, err := k.readHeard(ctx)
		if err == nil {
			k.mu.Lock()
			if stored.After(k.heard) {
				k.heard, k.saved = stored, stored
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
