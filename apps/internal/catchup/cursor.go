package catchup

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// cursorKey has the position up to which all events are handled, as text. Without it
	// that is the log's start.
	cursorKey = "cursor"
	// originKey has a UUIDv7 for this filling of the store. Without it the store was emptied,
	// or is new. It is created and never changed: any other key may be written into an
	// emptied store by a replica that has not noticed.
	originKey = "cursor-origin"
	// restoredKey has the origin once the store has what the log said when it was read to its
	// end.
	restoredKey = "cursor-restored"
)

// cursor is the cursor as the store has it.
type cursor struct {
	item, restored state.Item
	at             eventlog.Position
	origin         string // empty if there is none
}

func (c cursor) isRestored() bool { return string(c.restored.Value) == c.origin }

// loadCursor reads the cursor. Where the store has lost it, it begins a new one at the
// log's start. A process that becomes the worker goes on from the cursor.
func (f *Follower) loadCursor(ctx context.Context) error {
	read, err := f.readCursor(ctx)
	if err != nil {
		return err
	}
	if read.origin == "" {
		if read, err = f.beginCursor(ctx, read); err != nil {
			return err
		}
	}
	isFirst, isOther := f.cursor.origin == "", f.cursor.origin != read.origin
	f.cursor = read
	f.Progress.setRestored(read.isRestored())
	if isOther && !isFirst {
		f.delivered.clear()
	}
	isWorker := f.Registry.IsWorker()
	if isFirst || isWorker && (isOther || !f.isWorking) {
		f.goOnFrom(read.at)
	}
	f.isWorking = isWorker
	if !isWorker {
		f.forgetPending()
	}
	return nil
}

func (f *Follower) readCursor(ctx context.Context) (cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	items, err := f.Store.Get(ctx, cursorKey, originKey, restoredKey)
	if err != nil {
		return cursor{}, err
	}
	c := cursor{item: items[0], origin: string(items[1].Value), restored: items[2]}
	if c.item.Exists() {
		if c.at, err = eventlog.ParsePosition(string(c.item.Value)); err != nil {
			return cursor{}, fmt.Errorf("the cursor is damaged: %w", err)
		}
	}
	return c, nil
}

// beginCursor begins at the log's start. It writes the cursor first: until the origin is
// there, a restart begins again.
func (f *Follower) beginCursor(ctx context.Context, read cursor) (cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if read.item.Exists() {
		slog.WarnContext(ctx, "the store was emptied, and is filled again from the log", "cursor", read.at.Sequence)
		read.item.Value = []byte(eventlog.Position{}.String())
		if err := f.Store.Swap(ctx, read.item); err != nil {
			return cursor{}, err
		}
	}
	if err := f.Store.Swap(ctx, state.Item{Key: originKey, Value: []byte(event.NewID())}); err != nil {
		return cursor{}, err
	}
	return f.readCursor(ctx)
}

// restart has all processes read the log from its start, because it is another log.
func (f *Follower) restart(ctx context.Context) error {
	f.goOnFrom(eventlog.Position{})
	if !f.isWorking {
		return nil
	}
	return f.writeCursor(ctx, eventlog.Position{})
}

// goOnFrom reads the log from a position on.
func (f *Follower) goOnFrom(at eventlog.Position) {
	f.at = at
	f.forgetPending()
}

func (f *Follower) forgetPending() {
	f.pending = nil
	clear(f.awaited)
	f.reactions = newRecent()
}

// saveCursor moves the cursor to just before the first event that is not handled. Once the
// log was read to its end and all effects are there, the store is restored.
func (f *Follower) saveCursor(ctx context.Context, isAtEnd bool) error {
	at := f.at
	if len(f.pending) > 0 {
		at = f.pending[0].before
	}
	if at != f.cursor.at {
		if err := f.writeCursor(ctx, at); err != nil {
			return err
		}
	}
	if f.Progress.IsRestored() || !isAtEnd || !f.hasAllEffects() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	marker := f.cursor.restored
	marker.Value = []byte(f.cursor.origin)
	if err := f.Store.Swap(ctx, marker); err != nil {
		return err
	}
	slog.InfoContext(ctx, "the store has what the log says", "at", f.at.Sequence)
	f.Progress.setRestored(true)
	return nil
}

// hasAllEffects says that the store has the effect of each event that was read.
func (f *Follower) hasAllEffects() bool {
	for _, p := range f.pending {
		if !p.hasEffect {
			return false
		}
	}
	return true
}

func (f *Follower) writeCursor(ctx context.Context, at eventlog.Position) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	item := f.cursor.item
	item.Value = []byte(at.String())
	if err := f.Store.Swap(ctx, item); err != nil {
		return err
	}
	f.cursor.at = at
	return nil
}
