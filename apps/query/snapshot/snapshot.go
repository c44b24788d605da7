// Package snapshot keeps query's read model in its state store, so that a query that
// starts need not read the whole log.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/query/model"
)

const (
	// parallel is how many chunks are read or written at once.
	parallel = 4
	// chunkTTL lets the chunks go that a kill, or a store that was away, left behind
	// without a manifest. A snapshot in use is renewed long before.
	chunkTTL   = 7 * 24 * time.Hour
	renewAfter = 24 * time.Hour
	// retryDelay is between two tries to load a snapshot.
	retryDelay = 100 * time.Millisecond
	// damagedTries is how many tries have to find the snapshot damaged until it is ignored.
	// Other replicas may replace it, and remove its chunks, while it is being loaded.
	damagedTries = 10
	// saveShare bounds the time spent on saving: one part in this many.
	saveShare = 10
	// saveTimeout bounds each part of a save: writing it, finding out what became of its
	// manifest, and removing what is of no use.
	saveTimeout = 2 * time.Minute
)

// Snapshots are those of one model. Replicas share the keys. Of the snapshots of one log
// the one with the highest number stays.
type Snapshots struct {
	model *model.Model
	store state.Store
	every time.Duration
	now   func() time.Time
	// distrusts counts the calls of Distrust, and replaced how many of them the last save
	// has followed.
	distrusts, replaced atomic.Int64
}

// New returns the snapshots of a model in a store. Every, which is more than 0, is the
// least time between two saves.
func New(m *model.Model, store state.Store, every time.Duration, now func() time.Time) *Snapshots {
	return &Snapshots{model: m, store: store, every: every, now: now}
}

// Distrust has the next save replace the snapshot whatever its position: the log does not
// have it.
func (s *Snapshots) Distrust() { s.distrusts.Add(1) }

// Load fills the model, which must be empty, from the snapshot, and leaves it empty when
// there is none of use. It tries until the store answers.
func (s *Snapshots) Load(ctx context.Context) {
	for damaged := 0; ctx.Err() == nil; {
		err := s.load(ctx)
		if err == nil {
			return
		}
		s.model.Reset()
		if errors.Is(err, errDamaged) {
			if damaged++; damaged == damagedTries {
				slog.WarnContext(ctx, "ignoring the snapshot", "error", err)
				return
			}
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// load fills the model from the snapshot, if there is one. It reads and decodes chunks at
// once, and restores them in their order: so each comment comes after the older ones of its
// post, and is appended. The model is locked for short times only: it is asked all the time
// whether it is ready.
func (s *Snapshots) load(ctx context.Context) error {
	man, _, err := s.manifest(ctx)
	if err != nil || man == nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	turn := make(chan struct{})
	close(turn)
	for i := range man.Chunks {
		mine, next := turn, make(chan struct{})
		turn = next
		g.Go(func() error {
			posts, err := s.readChunk(ctx, man, i)
			if err != nil {
				return err
			}
			select {
			case <-mine:
			case <-ctx.Done():
				return ctx.Err()
			}
			s.model.Restore(posts)
			close(next)
			return nil
		})
	}
	if err = g.Wait(); err == nil {
		s.model.RestoreAt(man.at)
	}
	return err
}

// readChunk returns the posts of a chunk. The error is an errDamaged if it is not as it
// was written.
func (s *Snapshots) readChunk(ctx context.Context, man *manifest, i int) ([]model.Post, error) {
	items, err := s.store.Get(ctx, man.key(i))
	if err != nil {
		return nil, err
	}
	records := items[0].Value
	if sumOf(records) != man.Chunks[i].SHA256 {
		return nil, fmt.Errorf("%w: chunk %d", errDamaged, i)
	}
	posts, err := decode(records)
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", errDamaged, i, err)
	}
	return posts, nil
}

// manifest reads the manifest, which is nil if there is none, and its item. The error is
// an errDamaged if it is not as it was written.
func (s *Snapshots) manifest(ctx context.Context) (*manifest, state.Item, error) {
	items, err := s.store.Get(ctx, manifestKey)
	if err != nil || !items[0].Exists() {
		return nil, state.Item{Key: manifestKey}, err
	}
	man, err := readManifest(items[0].Value)
	return man, items[0], err
}

// Run saves the model from time to time, for as long as ctx lives.
func (s *Snapshots) Run(ctx context.Context) {
	for wait := s.every; ; {
		select {
		// Somewhat later, so that replicas that started together do not go on saving at the
		// same time: only one can win.
		case <-time.After(wait + rand.N(wait/4+1)): //nolint:gosec // nobody gains by predicting it
		case <-ctx.Done():
			return
		}
		if !s.model.Status().Ready {
			continue
		}
		began := s.now()
		if err := s.Save(ctx); err != nil {
			// The time that it took says only for how long the store was away.
			wait = s.every
			slog.WarnContext(ctx, "could not save a snapshot", "error", err)
			continue
		}
		// Bounded, because the store may have been slow just once.
		wait = min(max(s.every, saveShare*s.since(began)), 10*s.every)
	}
}

func (s *Snapshots) since(t time.Time) time.Duration { return s.now().Sub(t) }

// Save writes the model's snapshot, unless there is one that stays, and removes the one
// that it replaces.
func (s *Snapshots) Save(ctx context.Context) error {
	writing, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	distrusts := s.distrusts.Load()
	old, item, err := s.manifest(writing)
	if err != nil && !errors.Is(err, errDamaged) {
		return err
	}
	if old != nil && distrusts == s.replaced.Load() && s.stays(old, s.model.Status().At) {
		return nil
	}
	man, err := s.writeChunks(writing)
	if err == nil {
		item.Value, err = man.seal()
	}
	if err != nil {
		s.remove(ctx, man) // a write that failed may land after that, and ends by its TTL
		return err
	}
	if err := s.store.Swap(writing, item); err != nil {
		if err := s.settle(ctx, man, item.ETag, err); err != nil {
			return err
		}
	}
	s.replaced.Store(distrusts)
	slog.DebugContext(ctx, "snapshot saved", "at", man.Sequence, "chunks", len(man.Chunks), "took", s.since(man.Saved).Round(time.Millisecond))
	if old != nil {
		s.remove(ctx, old)
	}
	debug.FreeOSMemory() // the copy, which is as large as the model
	return nil
}

// stays says whether a snapshot need not be replaced by one at a position: it is of the
// same log, not behind, and its chunks live on.
func (s *Snapshots) stays(old *manifest, at eventlog.Position) bool {
	return old.at.Log == at.Log && (old.at.Sequence > at.Sequence || old.at.Fits(at) && s.since(old.Saved) < renewAfter)
}

// writeChunks writes the model's chunks. It returns the manifest that names all that were
// begun, also when it fails.
func (s *Snapshots) writeChunks(ctx context.Context) (*manifest, error) {
	at, posts := s.model.Copy()
	man := &manifest{Format: format, Sequence: at.Sequence, Generation: event.NewID(), Saved: s.now().UTC(), at: at}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	encode(posts, func(records []byte) {
		key := man.key(len(man.Chunks))
		man.Chunks = append(man.Chunks, chunk{len(records), sumOf(records)})
		g.Go(func() error { return s.store.Swap(gctx, state.Item{Key: key, Value: records, TTL: chunkTTL}) })
	})
	return man, g.Wait()
}

// settle finds out what became of a manifest whose optimistic write against an ETag
// failed. It returns nil if it was written all the same, and failed otherwise.
func (s *Snapshots) settle(ctx context.Context, man *manifest, etag string, failed error) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	now, item, err := s.manifest(ctx)
	switch {
	case err != nil && !errors.Is(err, errDamaged), item.ETag == etag:
		// The chunks stay: the manifest may yet be written. If it is not, their TTL ends them.
	case now != nil && now.Generation == man.Generation:
		return nil
	default:
		s.remove(ctx, man) // another replica was first
	}
	return failed
}

// remove deletes a snapshot's chunks. Each was written once, which gives its ETag.
func (s *Snapshots) remove(ctx context.Context, man *manifest) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	for i := range man.Chunks {
		if err := s.store.Delete(ctx, state.Item{Key: man.key(i), ETag: state.ETagAfter("")}); err != nil {
			slog.DebugContext(ctx, "a chunk that no manifest names stays until its TTL ends", "key", man.key(i), "error", err)
		}
	}
}
