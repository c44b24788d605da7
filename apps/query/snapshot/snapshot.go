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
	// parallel is how many chunks are read or written at the same time.
	parallel = 4
	// chunkTTL removes chunks that no manifest names: a kill, or a failure of the store, may
	// leave them behind. A snapshot in use is replaced after renewAfter, long before that.
	chunkTTL   = 7 * 24 * time.Hour
	renewAfter = 24 * time.Hour
	// retryDelay is the pause between two attempts to load a snapshot.
	retryDelay = 100 * time.Millisecond
	// damagedTries is how many attempts must find the snapshot damaged before it is ignored.
	// Other replicas may replace it, and remove its chunks, while it is being loaded.
	damagedTries = 10
	// saveShare bounds the share of time that is spent on saving: one part in saveShare.
	saveShare = 10
	// saveTimeout bounds each step of a save: to write it, to find out whether its manifest
	// was written, and to remove chunks.
	saveTimeout = 2 * time.Minute
)

// Snapshots loads and saves the snapshots of one model. Replicas share the keys: of their
// snapshots of one log, the one with the highest number stays.
type Snapshots struct {
	model *model.Model
	store state.Store
	every time.Duration
	now   func() time.Time
	// distrusts counts the calls of Distrust. Replaced is that count as it was when the last
	// save that succeeded began.
	distrusts, replaced atomic.Int64
}

// New returns the snapshots of a model in a store. The least time between two saves is
// every, which must be more than 0.
func New(m *model.Model, store state.Store, every time.Duration, now func() time.Time) *Snapshots {
	return &Snapshots{model: m, store: store, every: every, now: now}
}

// Distrust makes the next save replace the snapshot, whatever its position. It is called
// when the log does not have the snapshot's position.
func (s *Snapshots) Distrust() { s.distrusts.Add(1) }

// Load fills the model, which must be empty, from the snapshot. It leaves the model empty if
// there is no snapshot, or only a damaged one. It retries until the store answers.
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

// load fills the model from the snapshot, if there is one. It reads and decodes several
// chunks at once, and restores them in their order, one at a time. So comments are appended
// to their posts. The model is never locked for long, and readiness probes are answered
// meanwhile.
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

// readChunk returns the posts of a chunk. The error is an errDamaged if the chunk is not as
// its manifest says.
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
// an errDamaged if the manifest's checksums do not match.
func (s *Snapshots) manifest(ctx context.Context) (*manifest, state.Item, error) {
	items, err := s.store.Get(ctx, manifestKey)
	if err != nil || !items[0].Exists() {
		return nil, state.Item{Key: manifestKey}, err
	}
	man, err := readManifest(items[0].Value)
	return man, items[0], err
}

// Run saves the model from time to time, until ctx is done.
func (s *Snapshots) Run(ctx context.Context) {
	for wait := s.every; ; {
		select {
		// The random part keeps replicas that started together from saving at the same time:
		// the manifest of only one of them would be written.
		case <-time.After(wait + rand.N(wait/4+1)): //nolint:gosec // nobody gains by predicting it
		case <-ctx.Done():
			return
		}
		if !s.model.Status().Ready {
			continue
		}
		began := s.now()
		if err := s.Save(ctx); err != nil {
			// How long this took depends on the store's failure, so it is no measure of a save.
			wait = s.every
			slog.WarnContext(ctx, "could not save a snapshot", "error", err)
			continue
		}
		// Bounded, because the store may have been slow just once.
		wait = min(max(s.every, saveShare*s.since(began)), 10*s.every)
	}
}

func (s *Snapshots) since(t time.Time) time.Duration { return s.now().Sub(t) }

// Save writes the model's snapshot, unless the one in the store stays, and removes the one
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
		s.remove(ctx, man) // a write that timed out may still happen after this; its TTL removes it
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
// same log and not behind, and if it is at the same position its chunks are not yet old.
func (s *Snapshots) stays(old *manifest, at eventlog.Position) bool {
	return old.at.Log == at.Log && (old.at.Sequence > at.Sequence || old.at.Fits(at) && s.since(old.Saved) < renewAfter)
}

// writeChunks writes the model's chunks. Also when it fails, it returns a manifest of all
// chunks that it tried to write.
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

// settle finds out whether a manifest was written although its optimistic write against
// etag returned the error failed. It returns nil if it was written, and failed otherwise.
func (s *Snapshots) settle(ctx context.Context, man *manifest, etag string, failed error) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	now, item, err := s.manifest(ctx)
	switch {
	case err != nil && !errors.Is(err, errDamaged), item.ETag == etag:
		// The chunks stay, because the manifest may yet be written. If it is not, their TTL
		// removes them.
	case now != nil && now.Generation == man.Generation:
		return nil
	default:
		s.remove(ctx, man) // another replica wrote its manifest first
	}
	return failed
}

// remove removes a snapshot's chunks. Nobody else has written their keys.
func (s *Snapshots) remove(ctx context.Context, man *manifest) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	keys := make([]string, len(man.Chunks))
	for i := range keys {
		keys[i] = man.key(i)
	}
	if err := s.store.Drop(ctx, keys...); err != nil {
		slog.DebugContext(ctx, "chunks that no manifest names stay until their TTL ends", "error", err)
	}
}
