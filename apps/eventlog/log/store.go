package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

// readAtOnce bounds the segments of one read.
const readAtOnce = 32

// errUnusable is the common part of the errors for a store that has lost events. With one of
// them a commit is not acknowledged, and the log neither appends nor serves events.
var (
	errUnusable = errors.New("the store")
	// errLogMissing: the store no longer has the log. Another one is loaded, or begun.
	errLogMissing = fmt.Errorf("%w has lost the log", errUnusable)
	// errEventsMissing: the store has the log, but not all of it. The log is loaded again, and
	// this replica gives back what it knew.
	errEventsMissing = fmt.Errorf("%w has lost events of the log", errUnusable)
)

// key returns the key of a segment of the log with that origin.
func (l *Log) key(of eventlog.Origin, number int) string { return l.Prefix + of.Key(number) }

// Refresh reads on from the tail, to find the events that other replicas appended, unless
// this replica has seen the log's end in the store within maxAge.
func (l *Log) Refresh(ctx context.Context, maxAge time.Duration) error {
	since := l.Now().Add(-maxAge)
	if l.view().endSeen.After(since) {
		return l.Ready()
	}
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.turn.Release(1)
	if err := l.Ready(); errors.Is(err, errLoading) || l.view().endSeen.After(since) {
		return err
	}
	return l.readOn(ctx, 1)
}

// readOn takes all that the store has after the tail. It reads at most atOnce segments at
// once. The caller holds the turn.
func (l *Log) readOn(ctx context.Context, atOnce int) error {
	began := l.Now()
	for number := l.tail.Number; ; number = l.tail.Number + 1 {
		isEnd, err := l.readFrom(ctx, number, atOnce)
		if err != nil {
			return err
		}
		if isEnd {
			l.sawEnd(began)
			return nil
		}
	}
}

// readFrom reads up to atOnce segments from a number on, which is that of the tail or the
// next one, and takes the new events. It says whether the log ends with these segments. The
// error is that of verify.
func (l *Log) readFrom(ctx context.Context, number, atOnce int) (isEnd bool, err error) {
	all, err := l.verify(ctx, number, atOnce)
	if err != nil {
		return false, err
	}
	for _, s := range all {
		if err := l.take(s.Segment, s.etag); err != nil || !s.Full() {
			return true, err
		}
	}
	return false, nil
}

// storedSegment is a segment as the store has it.
type storedSegment struct {
	*eventlog.Segment
	etag string // of its key; empty if that does not exist
}

// verify reads up to atOnce segments from a number on, which is that of the tail or the next
// one. The error is an errLogMissing or an errEventsMissing if the store does not have all
// events that this replica knows.
func (l *Log) verify(ctx context.Context, number, atOnce int) ([]storedSegment, error) {
	keys := []string{l.Prefix + eventlog.OriginKey}
	for i := range atOnce {
		keys = append(keys, l.key(l.origin, number+i))
	}
	items, err := l.getSome(ctx, keys, 2)
	if err != nil {
		return nil, err
	}
	if err := l.verifyOrigin(ctx, items[0]); err != nil {
		return nil, err
	}
	if err := l.Ready(); errors.Is(err, errEventsMissing) {
		return nil, err
	}
	all, err := parse(number, items[1:])
	if err != nil {
		return nil, err
	}
	if why, err := l.whyLost(all[0]); err != nil {
		return nil, err
	} else if why != "" {
		return nil, l.lose(ctx, why)
	}
	return all, nil
}

// parse returns the segments in the items, which are one after another.
func parse(number int, items []state.Item) ([]storedSegment, error) {
	all := make([]storedSegment, len(items))
	for i, item := range items {
		s, err := eventlog.ParseSegment(number+i, item.Value)
		if err != nil {
			return nil, err
		}
		all[i] = storedSegment{s, item.ETag}
	}
	return all, nil
}

// getSome reads the first of the keys, as many as the store can answer at once. If it can't
// answer the first least of them, that is the error.
func (l *Log) getSome(ctx context.Context, keys []string, least int) ([]state.Item, error) {
	for {
		items, err := l.Store.Get(ctx, keys...)
		if err == nil || len(keys) <= least || ctx.Err() != nil {
			return items, err
		}
		keys = keys[:max(least, len(keys)/2)]
	}
}

// take makes s, with the ETag of its key, the tail. It must be the tail with more events,
// or the next segment.
func (l *Log) take(s *eventlog.Segment, etag string) error {
	ids, err := identitiesOf(s, l.tail.Last())
	if err != nil {
		return err
	}
	if len(ids) == 0 && s.Number > l.tail.Number {
		return nil // it has not begun
	}
	for _, id := range ids {
		l.seen.add(id)
	}
	l.etag = etag
	if len(ids) == 0 {
		return nil
	}
	l.update(func() {
		if s.Number > l.tail.Number {
			l.recent.add(l.tail)
		}
		l.tail, l.lastID = s, ids[len(ids)-1].ID
	})
	return nil
}

// whyLost compares a segment of the store with the tail as this replica knows it. It says
// which events the store has lost; it is empty if the store has lost none, and for a
// segment after the tail.
func (l *Log) whyLost(s storedSegment) (string, error) {
	last := l.tail.Last()
	switch {
	case s.Number > l.tail.Number, l.tail.Count() == 0:
		return "", nil
	case s.Last() < last:
		return fmt.Sprintf("segment %d ends at %d, and ended at %d", s.Number, s.Last(), last), nil
	}
	ids, err := identitiesOf(s.Segment, last-1)
	if err != nil {
		return "", err
	}
	if ids[0].ID != l.lastID {
		return fmt.Sprintf("event %d is %.40q, and was %.40q", last, ids[0].ID, l.lastID), nil
	}
	// ETags that count the writes of a key begin again after the key was missing. Where they don't,
	// as in PostgreSQL, a key that is missing takes no write.
	first, isKnown := l.Store.ETagAfter("")
	if isKnown && l.etag != "" && s.etag == first && (l.etag != first || s.Count() != l.tail.Count()) {
		return fmt.Sprintf("segment %d was not there any more, and was written again", s.Number), nil
	}
	return "", nil
}

// lose notes that the log has lost events, and returns an errEventsMissing, or an
// errLogMissing if the whole log is missing by now. It reads the origin again because the
// log may have gone missing between the reads of its origin and of a segment.
func (l *Log) lose(ctx context.Context, why string) error {
	items, err := l.Store.Get(ctx, l.Prefix+eventlog.OriginKey)
	if err != nil {
		return err
	}
	if err := l.verifyOrigin(ctx, items[0]); err != nil {
		return err
	}
	err = fmt.Errorf("%w: %s", errEventsMissing, why)
	slog.ErrorContext(ctx, "the end of the log is missing from the store: loading what is there, and giving back what is known here", "log", l.origin.ID, "last", l.tail.Last(), "error", err)
	l.update(func() { l.broken = err })
	return err
}

// verifyOrigin returns an errLogMissing unless the item is the origin of this replica's log.
// In that case the log is loaded again. Until the load has found an origin, this replica
// keeps what it knows of the missing log: it shows whether only the origin is missing.
func (l *Log) verifyOrigin(ctx context.Context, item state.Item) error {
	if now, err := eventlog.ParseOrigin(item.Value); err == nil && now.ID == l.origin.ID {
		return nil
	}
	err := fmt.Errorf("%w: %s is not there any more, but %.200q", errLogMissing, l.origin.ID, item.Value)
	slog.ErrorContext(ctx, "the log is missing from the store: loading what is there, or beginning another one", "log", l.origin.ID, "last", l.tail.Last(), "error", err)
	l.update(func() { l.broken = errLoading })
	return err
}

// sawEnd notes that at that time the store had nothing after the tail.
func (l *Log) sawEnd(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endSeen = at
}

// segment reads a segment from the store.
func (l *Log) segment(ctx context.Context, number int) (storedSegment, error) {
	items, err := l.Store.Get(ctx, l.key(l.origin, number))
	if err != nil {
		return storedSegment{}, err
	}
	all, err := parse(number, items)
	if err != nil {
		return storedSegment{}, err
	}
	return all[0], nil
}

// isFull says whether the segment is full in the store.
func (l *Log) isFull(ctx context.Context, number int) (bool, error) {
	s, err := l.segment(ctx, number)
	return err == nil && s.Full(), err
}

// read returns segments of the log with the id, from number on: at least one, at most
// count. They are of that log even if another one is loaded during the read.
func (l *Log) read(ctx context.Context, log string, number, count int) ([]storedSegment, error) {
	l.mu.RLock()
	of, s := l.origin, l.recent.find(number)
	if number == l.tail.Number && !errors.Is(l.broken, errLoading) {
		s = l.tail
	}
	l.mu.RUnlock()
	if of.ID != log {
		return nil, fmt.Errorf("%w: %s", errLogMissing, log)
	}
	if s != nil {
		return []storedSegment{{Segment: s}}, nil
	}
	keys := make([]string, min(count, readAtOnce))
	for i := range keys {
		keys[i] = l.key(of, number+i)
	}
	items, err := l.getSome(ctx, keys, 1)
	if err != nil {
		return nil, err
	}
	return parse(number, items)
}
