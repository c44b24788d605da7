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

// Why nothing is appended or served, or of one commit acknowledged.
var (
	errUnusable = errors.New("the store")
	// errLogMissing: the store no longer has the log. Another one is loaded, or begun.
	errLogMissing = fmt.Errorf("%w has lost the log", errUnusable)
	// errEventsMissing: the store has the log, but not all of it. It stays so until a restart.
	errEventsMissing = fmt.Errorf("%w has lost events of the log", errUnusable)
)

// key is that of the segment with the number, of the log with that origin.
func (l *Log) key(of eventlog.Origin, number int) string { return l.Prefix + of.Key(number) }

// Refresh reads on from the tail, to see what other replicas appended, unless somebody
// did within maxAge.
func (l *Log) Refresh(ctx context.Context, maxAge time.Duration) error {
	since := l.Now().Add(-maxAge)
	if l.view().looked.After(since) {
		return l.Ready()
	}
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.turn.Release(1)
	if err := l.Ready(); errors.Is(err, errLoading) || l.view().looked.After(since) {
		return err
	}
	return l.readOn(ctx, 1)
}

// readOn takes what the store has beyond the tail, and reads at most that many segments at
// once. The caller holds the turn.
func (l *Log) readOn(ctx context.Context, atOnce int) error {
	began := l.Now()
	for number := l.tail.Number; ; number = l.tail.Number + 1 {
		isEnd, err := l.look(ctx, number, atOnce)
		if err != nil {
			return err
		}
		if isEnd {
			l.sawEnd(began)
			return nil
		}
	}
}

// look reads some segments, from the tail or the one behind it on, and takes what is new.
// It says whether the log ends with them. The error is that of verify.
func (l *Log) look(ctx context.Context, number, atOnce int) (isEnd bool, err error) {
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

// verify reads some segments, from the tail or the one behind it on. The error is an
// errLogMissing or an errEventsMissing if the store does not have all that this replica knows.
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

// getSome reads the first of the keys, at least that many: as many as the store can answer
// at once.
func (l *Log) getSome(ctx context.Context, keys []string, least int) ([]state.Item, error) {
	for {
		items, err := l.Store.Get(ctx, keys...)
		if err == nil || len(keys) <= least || ctx.Err() != nil {
			return items, err
		}
		keys = keys[:max(least, len(keys)/2)]
	}
}

// take makes a segment, which goes on from the tail, the tail, with the ETag of its key.
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

// whyLost says why a segment of the store, which is in the place of the tail, has not all
// that this replica knows of it. It is empty for one that has, and for one behind the tail.
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
	// The count of a key's writes starts over after it was missing. Where ETags are no counts
	// this finds nothing.
	first := state.ETagAfter("")
	if l.etag != "" && s.etag == first && (l.etag != first || s.Count() != l.tail.Count()) {
		return fmt.Sprintf("segment %d was not there any more, and was written again", s.Number), nil
	}
	return "", nil
}

// lose notes that the log has lost events, unless the whole log is missing: the store reads
// keys one by one, so the log may go between its origin and a segment.
func (l *Log) lose(ctx context.Context, why string) error {
	items, err := l.Store.Get(ctx, l.Prefix+eventlog.OriginKey)
	if err != nil {
		return err
	}
	if err := l.verifyOrigin(ctx, items[0]); err != nil {
		return err
	}
	err = fmt.Errorf("%w: %s; a restart goes on from where the log ends now, if that can be read", errEventsMissing, why)
	l.update(func() { l.broken = err })
	return err
}

// verifyOrigin returns an errLogMissing unless the item is the origin of this replica's log, and
// has the log loaded anew then. What is known of the log that is missing stays until it is
// known which one that is: it shows whether the origin alone is missing.
func (l *Log) verifyOrigin(ctx context.Context, item state.Item) error {
	if now, err := eventlog.ParseOrigin(item.Value); err == nil && now.ID == l.origin.ID {
		return nil
	}
	err := fmt.Errorf("%w: %s is not there any more, but %.200q", errLogMissing, l.origin.ID, item.Value)
	slog.ErrorContext(ctx, "the log is missing from the store: loading what is there, or beginning another one", "log", l.origin.ID, "last", l.tail.Last(), "error", err)
	l.update(func() { l.broken = errLoading })
	return err
}

// sawEnd notes that at that time the store had no more than the tail.
func (l *Log) sawEnd(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked = at
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
// count. They are of that log even if another one is loaded meanwhile.
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
