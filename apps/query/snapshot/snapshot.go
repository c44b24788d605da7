package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// snapshotFormat changes whenever the records or the rendered JSON in them do;
	// a snapshot of another format is ignored.
	snapshotFormat = 1
	manifestKey    = "snapshot-manifest"
	chunkBytes     = 1 << 20
	// snapshotParallel is how many chunks are read or written at once.
	snapshotParallel = 4
	// chunkTTL lets the chunks go that a kill, or a store that was away, left behind
	// without a manifest. A snapshot in use is renewed long before.
	chunkTTL   = 7 * 24 * time.Hour
	renewAfter = 24 * time.Hour
	// damagedTries is how many tries have to find the same snapshot damaged until it is
	// ignored; replacedTries is how many may find any of them so.
	damagedTries  = 3
	replacedTries = 10
	// snapshotShare bounds the time spent on saving: one part in this many.
	snapshotShare = 10
	// saveTimeout bounds each part of a save: writing it, finding out what became of
	// its manifest, and removing what is of no use.
	saveTimeout = 2 * time.Minute
)

var errDamaged = errors.New("the snapshot is damaged")

// manifest says what a snapshot consists of. It is written last, so that what it
// names is complete.
type manifest struct {
	Format     int             `json:"format"`
	Sequence   uint64          `json:"sequence"`
	Generation string          `json:"generation"`
	Saved      time.Time       `json:"saved"`
	Chunks     []chunkManifest `json:"chunks"`
	// Checksum is that of the manifest up to here.
	Checksum string `json:"checksum"`
	// Position is where in which log the snapshot stands; empty in those of the version
	// before (3b4f435). That takes no manifest whose checksum includes more than it knows,
	// and may run beside: so the position has a checksum of its own, with the other one.
	Position string `json:"position,omitempty"`
	Seal     string `json:"seal,omitempty"`

	// at is the position; without one, the number alone.
	at eventlog.Position
}

type chunkManifest struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// sum is the checksum that the manifest has to have.
func (m manifest) sum() (string, error) {
	m.Checksum, m.Position, m.Seal = "", "", ""
	raw, err := event.Marshal(m)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// seal is the checksum that its position has to have.
func (m manifest) seal() string {
	sum := sha256.Sum256([]byte(m.Checksum + " " + m.Position))
	return hex.EncodeToString(sum[:])
}

// check returns an errDamaged unless the manifest is as it was written, and sets where
// the snapshot stands.
func (m *manifest) check() (err error) {
	if m.Format != snapshotFormat {
		return fmt.Errorf("%w: its format is %d, not %d", errDamaged, m.Format, snapshotFormat)
	}
	if sum, err := m.sum(); err != nil || sum != m.Checksum {
		return fmt.Errorf("%w: manifest", errDamaged)
	}
	m.at = eventlog.Position{Sequence: m.Sequence}
	if m.Position == "" && m.Seal == "" {
		return nil
	}
	if m.at, err = eventlog.ParsePosition(m.Position); err != nil || m.at.Sequence != m.Sequence || m.Seal != m.seal() {
		return fmt.Errorf("%w: manifest, its position", errDamaged)
	}
	return nil
}

func (m manifest) key(i int) string { return fmt.Sprintf("snapshot-%s-%06d", m.Generation, i) }

// store is what snapshots need of the state store.
type store interface {
	state.Swapper
	Delete(ctx context.Context, item state.Item) error
}

// snapshots keeps the model in the state store. Replicas share the keys; of the
// manifests of one log the one with the highest number stays.
type snapshots struct {
	store store
	// every is the least time between two saves, and more than 0.
	every time.Duration
	// distrusted says that the next save replaces the snapshot whatever its position: the
	// log does not have it.
	distrusted atomic.Bool
}

func (s *snapshots) distrust() { s.distrusted.Store(true) }

func newSnapshots(s store) *snapshots {
	every, err := time.ParseDuration(os.Getenv("SNAPSHOT_EVERY"))
	if err != nil || every <= 0 {
		every = 10 * time.Second
	}
	return &snapshots{store: s, every: every}
}

// load fills an empty model from the snapshot and returns its number, or 0 when
// there is none of use. It tries until the store answers, and then replacedTries at
// the most.
func (s *snapshots) load(ctx context.Context, m *model) uint64 {
	damaged, same, generation := 0, 0, ""
	for ctx.Err() == nil {
		man, _, err := s.readManifest(ctx)
		if err == nil && man == nil {
			return 0
		}
		if err == nil {
			err = s.loadChunks(ctx, *man, m)
		}
		if err == nil {
			return man.Sequence
		}
		m.reset()
		if errors.Is(err, errDamaged) {
			of := ""
			if man != nil {
				of = man.Generation
			}
			if of != generation {
				// Perhaps the one before was replaced, and lost its chunks, meanwhile.
				same, generation = 0, of
			}
			damaged++
			if same++; same == damagedTries || damaged == replacedTries {
				slog.WarnContext(ctx, "ignoring the snapshot", "error", err)
				return 0
			}
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
	return 0
}

func (s *snapshots) readManifest(ctx context.Context) (*manifest, state.Item, error) {
	items, err := s.store.Get(ctx, manifestKey)
	if err != nil || !items[0].Exists() {
		return nil, state.Item{Key: manifestKey}, err
	}
	man := new(manifest)
	if err := json.Unmarshal(items[0].Value, man); err != nil {
		return nil, items[0], fmt.Errorf("%w: manifest: %w", errDamaged, err)
	}
	if err := man.check(); err != nil {
		return nil, items[0], err
	}
	return man, items[0], nil
}

// loadChunks decodes the snapshot's chunks into m. It holds the lock only while it
// decodes some: that m isn't ready is asked for all the time.
func (s *snapshots) loadChunks(ctx context.Context, man manifest, m *model) error {
	for group := range slices.Chunk(man.numbers(), snapshotParallel) {
		values := make([][]byte, len(group))
		g, gctx := errgroup.WithContext(ctx)
		for i, n := range group {
			g.Go(func() error {
				items, err := s.store.Get(gctx, man.key(n))
				if err != nil {
					return err
				}
				values[i] = items[0].Value
				sum := sha256.Sum256(values[i])
				if hex.EncodeToString(sum[:]) != man.Chunks[n].SHA256 {
					return fmt.Errorf("%w: chunk %d", errDamaged, n)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for i, value := range values {
			if err := decodeRecords(value, m); err != nil {
				return fmt.Errorf("%w: chunk %d: %w", errDamaged, group[i], err)
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sequence, m.log, m.lastID = man.at.Sequence, man.at.Log, man.at.Event
	m.changes.from, m.changes.fromID = man.at.Sequence, man.at.Event
	return nil
}

func (m manifest) numbers() []int {
	numbers := make([]int, len(m.Chunks))
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// saveSnapshots saves the model from time to time, for as long as ctx lives.
func (f *follower) saveSnapshots(ctx context.Context) {
	wait, saved, savedAt := f.snapshots.every, eventlog.Position{}, time.Now()
	for {
		select {
		case <-time.After(jittered(wait)):
		case <-ctx.Done():
			return
		}
		now := f.model.standing()
		if !now.ready || now.at == saved && time.Since(savedAt) < renewAfter {
			continue
		}
		start := time.Now()
		man, err := f.snapshots.save(ctx, f.model)
		took := time.Since(start)
		if err != nil {
			// Not by its time, which says how long the store was away.
			wait = f.snapshots.every
			slog.WarnContext(ctx, "could not save a snapshot", "error", err)
			continue
		}
		// Bounded, because it may have been the store that was slow, once.
		wait = min(max(f.snapshots.every, snapshotShare*took), 10*f.snapshots.every)
		saved, savedAt = man.at, time.Now()
	}
}

// jittered is d and up to a quarter more, so that replicas that started together
// don't go on saving at the same time: only one can win.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/4+1) } //nolint:gosec // nobody gains by guessing it

// stays says whether the snapshot with the manifest need not be replaced by one at a
// position: it is of the same log, and not behind.
func (s *snapshots) stays(old *manifest, at eventlog.Position) bool {
	if old == nil || s.distrusted.Load() {
		return false
	}
	return old.at.Log == at.Log && (old.at.Sequence > at.Sequence || old.at.Fits(at) && time.Since(old.Saved) < renewAfter)
}

// save writes the model's snapshot, unless there is a younger one of the same log, and
// removes the one that it replaces, or its own chunks where no manifest will name them.
func (s *snapshots) save(ctx context.Context, m *model) (_ manifest, failed error) {
	writing, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	old, item, err := s.readManifest(writing)
	if err != nil && !errors.Is(err, errDamaged) {
		return manifest{}, err
	}
	if s.stays(old, m.standing().at) {
		return *old, nil
	}
	distrusted := s.distrusted.Swap(false) // it is set again if the log goes while this is saved
	defer func() {
		if distrusted && failed != nil {
			s.distrust()
		}
	}()
	man, err := s.writeChunks(writing, m)
	if err == nil {
		item.Value, err = event.Marshal(man)
	}
	if err != nil {
		s.remove(ctx, man) // a write that failed may land after that; its time runs out
		return man, err
	}
	if err := s.store.Swap(writing, item); err != nil {
		if err := s.settle(ctx, man, item.ETag, err); err != nil {
			return man, err
		}
	}
	slog.DebugContext(ctx, "snapshot saved", "at", man.Sequence, "chunks", len(man.Chunks), "took", time.Since(man.Saved).Round(time.Millisecond))
	if old != nil {
		s.remove(ctx, *old)
	}
	debug.FreeOSMemory() // the copy, which is as large as the model
	return man, nil
}

// writeChunks writes the model's chunks, and returns the manifest that names them:
// all that were begun, if it fails.
func (s *snapshots) writeChunks(ctx context.Context, m *model) (manifest, error) {
	at, posts := m.copyAll()
	man := manifest{Format: snapshotFormat, Sequence: at.Sequence, Generation: event.NewID(), Saved: time.Now().UTC(), at: at}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(snapshotParallel)
	encodeRecords(posts, func(chunk []byte) {
		sum := sha256.Sum256(chunk)
		key := man.key(len(man.Chunks))
		man.Chunks = append(man.Chunks, chunkManifest{len(chunk), hex.EncodeToString(sum[:])})
		g.Go(func() error { return s.store.Swap(gctx, state.Item{Key: key, Value: chunk, TTL: chunkTTL}) })
	})
	err := g.Wait()
	if err == nil {
		man.Checksum, err = man.sum()
		man.Position = at.String()
		man.Seal = man.seal()
	}
	return man, err
}

// settle finds out what became of a manifest whose swap against the ETag failed.
// It returns nil if the swap happened all the same, and failed otherwise.
func (s *snapshots) settle(ctx context.Context, man manifest, etag string, failed error) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	now, item, err := s.readManifest(ctx)
	switch {
	case err != nil && !errors.Is(err, errDamaged), item.ETag == etag:
		// The chunks stay: the manifest may yet land. If it doesn't, their time runs out.
	case now != nil && now.Generation == man.Generation:
		return nil
	default:
		s.remove(ctx, man) // another replica was first
	}
	return failed
}

// remove deletes a snapshot's chunks. Each is written once, which says its ETag.
func (s *snapshots) remove(ctx context.Context, man manifest) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	for i := range man.Chunks {
		if err := s.store.Delete(ctx, state.Item{Key: man.key(i), ETag: state.ETagAfter("")}); err != nil {
			slog.DebugContext(ctx, "a chunk that no manifest names stays until its time runs out", "key", man.key(i), "error", err)
		}
	}
}

// postCopy is a post as it stood when a snapshot began.
type postCopy struct {
	id uuid.UUID
	version
	head     []byte
	comments []comment
}

// copyAll returns all posts as they stand, in the order of their ids, and the
// position. The bytes are shared: nothing ever changes them.
func (m *model) copyAll() (eventlog.Position, []postCopy) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	posts := make([]postCopy, 0, len(m.posts))
	for id, p := range m.posts {
		posts = append(posts, postCopy{id, p.version, p.head, slices.Clone(p.comments)})
	}
	return m.position(), posts
}

// The records of a snapshot: a post, and after it its comments. Each is its kind,
// its id, then as varints its event's number, its revision and the length of its
// JSON, and the JSON. A post whose comments go on in another chunk is there again.
const (
	postRecord    = 'P'
	commentRecord = 'C'
)

func appendRecord(b []byte, kind byte, id uuid.UUID, v version, json []byte) []byte {
	b = append(b, kind)
	b = append(b, id[:]...)
	b = binary.AppendUvarint(b, v.sequence)
	b = binary.AppendUvarint(b, uint64(v.revision)) //nolint:gosec // never negative
	b = binary.AppendUvarint(b, uint64(len(json)))
	return append(b, json...)
}

// encodeRecords gives the posts' records to emit, a chunk at a time.
func encodeRecords(posts []postCopy, emit func(chunk []byte)) {
	slices.SortFunc(posts, func(a, b postCopy) int { return slices.Compare(a.id[:], b.id[:]) })
	var chunk []byte
	for _, p := range posts {
		chunk = appendRecord(chunk, postRecord, p.id, p.version, p.head)
		for _, c := range p.comments {
			if len(chunk) >= chunkBytes {
				emit(chunk)
				chunk = appendRecord(nil, postRecord, p.id, p.version, p.head)
			}
			chunk = appendRecord(chunk, commentRecord, c.id, c.version, c.json)
		}
		if len(chunk) >= chunkBytes {
			emit(chunk)
			chunk = nil
		}
	}
	if len(chunk) > 0 {
		emit(chunk)
	}
}

// decodeRecords adds a chunk's records to m. The JSON in the model shares the
// chunk's bytes.
func decodeRecords(chunk []byte, m *model) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var p *post
	for len(chunk) > 0 {
		kind := chunk[0]
		if len(chunk) < 1+len(uuid.UUID{}) {
			return errors.New("a record is cut off")
		}
		id := uuid.UUID(chunk[1:17])
		chunk = chunk[17:]
		var numbers [3]uint64
		for i := range numbers {
			n, used := binary.Uvarint(chunk)
			if used <= 0 {
				return errors.New("a record is cut off")
			}
			numbers[i], chunk = n, chunk[used:]
		}
		if numbers[2] > uint64(len(chunk)) {
			return errors.New("a record is cut off")
		}
		v := version{sequence: numbers[0], revision: int(numbers[1])} //nolint:gosec // as it was written
		json := chunk[:numbers[2]:numbers[2]]
		chunk = chunk[numbers[2]:]
		switch {
		case kind == postRecord:
			p = m.posts[id]
			if p == nil {
				p = &post{id: id}
				m.posts[id] = p
			}
			if len(json) > 0 {
				m.show(p, v, json)
			}
		case kind == commentRecord && p != nil:
			at, found := p.find(id)
			p.set(at, found, comment{id, v, json})
		default:
			return fmt.Errorf("a record of kind %q", kind)
		}
	}
	return nil
}
