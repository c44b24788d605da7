package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// originKey is the key of an id that is made with the store's first data.
	originKey = "origin"
	// lookEvery is how often a replica looks whether the store still has its data.
	lookEvery = time.Second
	// looksAfterLoss is in how many looks, the one that notices a loss included, all is
	// forgotten: a request or a delivery, which has 2 s, may remember what it read before.
	looksAfterLoss = 3
)

// origin notices that the store has lost its data (such as by a FLUSHALL) and begins
// anew. What a replica remembers of a store that begins anew is wrong: a post that is
// gone would be taken for known, and since Dapr's Redis component writes a key that is
// gone whatever the ETag, the tail of a list would be written without what was before it.
type origin struct {
	store state.Swapper
	// forget drops what this replica remembers of the store.
	forget func()

	id   string // as of the last look; empty before the first
	left int    // looks in which to forget
}

func newOrigin(store state.Swapper, posts *knownPosts, comments *comments) *origin {
	return &origin{store: store, forget: func() {
		posts.known.Purge()
		comments.forget()
	}}
}

// watch looks every lookEvery until ctx is done. A look that fails is made up for by the
// next.
func (o *origin) watch(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for ctx.Err() == nil {
		looking, cancel := context.WithTimeout(ctx, lookEvery)
		if err := o.look(looking); err != nil {
			slog.DebugContext(ctx, "could not read the store's origin", "error", err)
		}
		cancel()
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// look reads the origin, and makes one where there is none: of several replicas that do
// so at once one wins.
func (o *origin) look(ctx context.Context) error {
	items, err := o.store.Get(ctx, originKey)
	if err != nil {
		return err
	}
	id := string(items[0].Value)
	if !items[0].Exists() {
		kept := state.Keep(ctx, o.store, state.Item{Key: originKey, Value: []byte(event.NewID())})[originKey]
		if kept.Err != nil {
			return kept.Err
		}
		id = string(kept.Value)
	}
	if o.id != "" && o.id != id {
		slog.WarnContext(ctx, "the store has lost its data: this replica forgets it too")
		o.left = looksAfterLoss
	}
	o.id = id
	if o.left > 0 {
		o.left--
		o.forget()
	}
	return nil
}
