package catchup

import (
	"context"
	"log/slog"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// cursorKey has the cursor.
	cursorKey = "cursor"
	// OriginKey has a UUIDv7 for this filling of the store. Without it the store was emptied,
	// or is new. It is created and never changed: any other key may be written into an
	// emptied store by a replica that has not noticed.
	OriginKey = "cursor-origin"
)

// document is the cursor as the store has it.
type document struct {
	// Origin is the filling of the store that the cursor is of. A cursor of another one is
	// void.
	Origin string `json:"origin"`
	// At is the position up to which all events are handled, as text.
	At string `json:"at"`
	// Restored says that the store has what the log said when it was read to its end.
	Restored bool `json:"restored"`
	// Mark counts the writes of the cursor, and By is the member that has made the last one. A
	// store whose mark is lower than before was set back.
	Mark uint64 `json:"mark,omitempty"`
	By   string `json:"by,omitempty"`
}

// cursor is the cursor as this process knows it.
type cursor struct {
	etag       string
	origin     string // empty if there is none
	at         eventlog.Position
	isRestored bool
	mark       uint64
	by         string
}

// isBefore says that the store had the other cursor once, and was set back since: by a failover
// to a copy that was behind, say.
func (c cursor) isBefore(other cursor) bool {
	return c.mark < other.mark || c.mark == other.mark && c.by != other.by
}

// loadCursor reads the cursor. Where the store was emptied, it begins a new one at the log's
// start. A process that becomes the worker goes on from the cursor.
func (f *Follower) loadCursor(ctx context.Context) error {
	read, err := f.readCursor(ctx)
	if err == nil && read.origin == "" {
		read, err = f.beginCursor(ctx)
	}
	if err != nil {
		return err
	}
	isFirst, isOther := f.cursor.origin == "", f.cursor.origin != read.origin
	isSecondReading := f.mayDecide && read.isRestored && !f.cursor.isRestored // another worker restored the store
	isSetBack := !isOther && read.isBefore(f.cursor)
	if isOther {
		f.noticed = f.Now()
	}
	if isOther || isSetBack {
		f.delivered.clear() // what was written then may be missing
		f.mended.clear()
	}
	if isSetBack {
		f.isMending = true
		f.giveBack() // the log may be in the same server as the store
		slog.WarnContext(ctx, "the store has lost what was written last: going on from its cursor", "cursor", f.cursor.at.Sequence, "now", read.at.Sequence)
	}
	if isOther && !isFirst {
		slog.WarnContext(ctx, "the store was emptied, and is filled again from the log", "cursor", f.cursor.at.Sequence)
		// The others have to know this process, whose journal has pages.
		if err := f.Registry.Beat(ctx); err != nil {
			return err
		}
	}
	f.cursor = read
	f.Progress.setRestored(read.origin, read.isRestored)
	isWorker := f.Registry.IsWorker()
	if isFirst || isWorker && (isOther || isSetBack || !f.isWorking || isSecondReading) {
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
	items, err := f.Store.Get(ctx, cursorKey, OriginKey)
	if err != nil {
		return cursor{}, err
	}
	c := cursor{etag: items[0].ETag, origin: string(items[1].Value)}
	documents, err := state.Decode[document](items[0])
	if err != nil {
		slog.WarnContext(ctx, "the cursor is damaged: following the log from its start", "error", err)
		return c, nil
	}
	d := documents[0]
	at, err := eventlog.ParsePosition(d.At)
	if c.origin != "" && d.Origin == c.origin && err == nil {
		c.at, c.isRestored, c.mark, c.by = at, d.Restored, d.Mark, d.By
	}
	return c, nil
}

// beginCursor gives an emptied store an origin.
func (f *Follower) beginCursor(ctx context.Context) (cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	kept := state.Keep(ctx, f.Store, state.Item{Key: OriginKey, Value: []byte(event.NewID())})[OriginKey]
	if kept.Err != nil {
		return cursor{}, kept.Err
	}
	return f.readCursor(ctx)
}

// restart has this process read the log from its start, because it is another log. The worker
// also sets the cursor back.
func (f *Follower) restart(ctx context.Context) error {
	f.noticed = f.Now()
	f.mended.clear()
	f.goOnFrom(eventlog.Position{})
	if !f.isWorking {
		return nil
	}
	return f.writeCursor(ctx, eventlog.Position{}, false)
}

// goOnFrom reads the log from a position on.
func (f *Follower) goOnFrom(at eventlog.Position) {
	f.at, f.restoredTo, f.hasEffects = at, 0, false
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
	if f.cursor.at.Log == f.at.Log && at.Sequence < f.cursor.at.Sequence {
		at = f.cursor.at // another worker has handled more
	}
	isRestored := f.cursor.isRestored || isAtEnd && f.hasAllEffects()
	if f.isFirstReading() {
		return f.endFirstReading(ctx, isRestored && f.mayEndFirstReading())
	}
	if at == f.cursor.at && isRestored == f.cursor.isRestored && !f.awaitsMark() {
		return nil
	}
	return f.writeCursor(ctx, at, isRestored)
}

// endFirstReading begins the second reading of a service that may decide, once the store is
// restored. The first one has left out the events on which it decides, so it moves no cursor.
func (f *Follower) endFirstReading(ctx context.Context, isRestored bool) error {
	if !isRestored {
		return nil
	}
	if err := f.writeCursor(ctx, f.cursor.at, true); err != nil {
		return err
	}
	restoredTo := f.at.Sequence
	f.goOnFrom(f.cursor.at)
	f.restoredTo = restoredTo
	return nil
}

// mayEndFirstReading says that decisions which were on their way when the store was emptied
// had time to get into the log. Where the log has none, the system is new.
func (f *Follower) mayEndFirstReading() bool {
	return !f.hasEffects || f.Now().Sub(f.noticed) >= Grace
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

func (f *Follower) writeCursor(ctx context.Context, at eventlog.Position, isRestored bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	mark, by := f.cursor.mark+1, f.Registry.ID()
	value, err := event.Marshal(document{Origin: f.cursor.origin, At: at.String(), Restored: isRestored, Mark: mark, By: by})
	if err != nil {
		return err
	}
	if err := f.Store.Swap(ctx, state.Item{Key: cursorKey, Value: value, ETag: f.cursor.etag}); err != nil {
		return err
	}
	if isRestored && !f.cursor.isRestored {
		slog.InfoContext(ctx, "the store has what the log says", "at", at.Sequence)
	}
	f.cursor.at, f.cursor.isRestored, f.cursor.mark, f.cursor.by = at, isRestored, mark, by
	f.Progress.setRestored(f.cursor.origin, isRestored)
	return nil
}
