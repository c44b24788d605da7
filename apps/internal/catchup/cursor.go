package catchup

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// cursorKey has the position up to which all events are handled, as text. Without it
	// that is the log's start.
	cursorKey = "cursor"
	// originKey says what the store was like when the cursor began: restoring or restored.
	// Without it the store was emptied since, or is new. A cursor alone does not show
	// that: a replica may write it into an emptied store.
	originKey = "cursor-origin"
)

// What originKey may have.
const (
	restoring = "restoring"
	restored  = "restored"
)

// cursor is the cursor as the store has it.
type cursor struct {
	item, origin state.Item
	at           eventlog.Position
}

// loadCursor reads the cursor. Where the store has lost it, it begins a new one at the
// log's start. A process that becomes the worker goes on from the cursor.
func (f *Follower) loadCursor(ctx context.Context) error {
	read, err := f.readCursor(ctx)
	if err != nil {
		return err
	}
	if !read.origin.Exists() {
		if read, err = f.beginCursor(ctx, read); err != nil {
			return err
		}
		f.isWorking = false // what it has read belongs to the former store
	}
	isFirst := f.cursor.origin.Key == ""
	f.cursor = read
	f.Progress.setRestored(string(read.origin.Value) == restored)
	isWorker := f.Registry.IsWorker()
	if isFirst || isWorker && !f.isWorking {
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
	items, err := f.Store.Get(ctx, cursorKey, originKey)
	if err != nil {
		return cursor{}, err
	}
	c := cursor{item: items[0], origin: items[1]}
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
	read.origin.Value = []byte(restoring)
	if err := f.Store.Swap(ctx, read.origin); err != nil {
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
	origin := f.cursor.origin
	origin.Value = []byte(restored)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := f.Store.Swap(ctx, origin); err != nil {
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
