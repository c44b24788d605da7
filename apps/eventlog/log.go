package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// commitEvents bounds how many events one group commit takes on. Every commit
	// goes on segment by segment; more would only delay the first to be answered.
	commitEvents = 1024
	// patience is how long events wait for the one that follows them within some
	// milliseconds, to be written with it: a comment that is alone costs one write
	// of the log's tail then and not three, and it is with its readers a tenth sooner.
	patience = 20 * time.Millisecond
	// commitTries is how often a commit starts anew because another replica was first.
	commitTries = 8
	// commitTimeout bounds one commit's calls to the store.
	commitTimeout = 10 * time.Second

	// cachedSegments of the youngest full ones, and no more than cachedBytes of them,
	// are kept in memory for readers: 64 Ki events, of some 10 KB when they are long.
	cachedSegments = 512
	cachedBytes    = 64 << 20
	// readAtOnce bounds the segments of one read.
	readAtOnce = 32
)

// errLoading is why the log can't take or give events yet.
var errLoading = errors.New("the log is being read")

// segmentStore is what the log needs of a store.
type segmentStore interface {
	state.Swapper
	Delete(ctx context.Context, item state.Item) error
}

// eventLog is the log: numbered events in segments in the state store, appended
// by compare-and-swap of the tail. Replicas append to the same log; what one has
// in memory is a prefix of it.
type eventLog struct {
	store segmentStore
	// beside are the stores of other logs that the same replicas append to.
	beside  []state.Swapper
	commits chan commit
	gone    chan struct{} // has one when the log has to be loaded anew
	started time.Time

	// writing has room for one: who moves the tail on, by a commit or a refresh.
	writing chan struct{}
	seen    *seen
	etag    string // of the tail

	was *remembered // of the log that went, until one is found

	mu     sync.RWMutex
	loaded bool
	origin origin // the last one, also when its log is gone
	lost   error  // that the store has lost events, once it is seen
	tail   *segment
	lastID string    // of the last event
	looked time.Time // when the store had no more than the tail
	recent recentSegments
	grown  chan struct{} // closed when the log has grown
}

// commit is a batch of events that waits to be appended.
type commit struct {
	events []event.Event
	done   chan []error
}

// hurries says that nothing is about to follow one of the events: of a comment's
// three only the last ends the wait.
func (c commit) hurries() bool {
	return slices.ContainsFunc(c.events, func(e event.Event) bool {
		return e.Type != event.CommentCreated && e.Type != event.CommentModerated
	})
}

// newEventLog is the log in a store. Beside are the stores of other logs that the same
// replicas append to.
func newEventLog(store segmentStore, beside ...state.Swapper) *eventLog {
	return &eventLog{
		store: store, beside: beside, commits: make(chan commit), gone: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		seen: newSeen(seenEvents), tail: &segment{}, grown: make(chan struct{}), started: time.Now(),
	}
}

// lock waits for its turn to move the tail on; unlock ends it.
func (l *eventLog) lock(ctx context.Context) error {
	select {
	case l.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *eventLog) unlock() { <-l.writing }

func (l *eventLog) ready() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.loaded {
		return errLoading
	}
	return nil
}

// whole returns an error once the store has lost events that readers may have seen:
// nothing is appended then, for numbers would be given twice.
func (l *eventLog) whole() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.lost
}

// append is the handler of every topic. It answers when the events are in the
// log, each once: those that came before are acknowledged and not appended.
func (l *eventLog) append(ctx context.Context, events []event.Event) []error {
	c := commit{events: events, done: make(chan []error, 1)}
	select {
	case l.commits <- c:
	case <-ctx.Done():
		return bus.All(len(events), ctx.Err())
	}
	select {
	case errs := <-c.done:
		return errs
	case <-ctx.Done():
		return bus.All(len(events), ctx.Err())
	}
}

// run loads the log and then appends, all that waits in one commit, until ctx is done.
// When the store has lost the log it begins anew.
func (l *eventLog) run(ctx context.Context) {
	for ctx.Err() == nil {
		for l.load(ctx) != nil {
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
		for l.ready() == nil {
			select {
			case c := <-l.commits:
				l.commitGroup(ctx, l.gather(c))
			case <-l.gone:
			case <-ctx.Done():
				return
			}
		}
	}
}

// gather returns first and the commits that share its write: all that wait, and
// while none of them hurries those that come within patience.
func (l *eventLog) gather(first commit) []commit {
	group, n := []commit{first}, len(first.events)
	patient := time.NewTimer(patience)
	defer patient.Stop()
	for hurried := first.hurries(); n < commitEvents; {
		var c commit
		select {
		case c = <-l.commits:
		default:
			if hurried {
				return group
			}
			select {
			case c = <-l.commits:
			case <-patient.C:
				return group
			}
		}
		group, n = append(group, c), n+len(c.events)
		hurried = hurried || c.hurries()
	}
	return group
}

func (l *eventLog) commitGroup(ctx context.Context, group []commit) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	var events []event.Event
	for _, c := range group {
		events = append(events, c.events...)
	}
	errs := l.commit(ctx, events)
	for _, c := range group {
		c.done <- errs[:len(c.events):len(c.events)]
		errs = errs[len(c.events):]
	}
}

// commit appends those of events that aren't in the log. The errors are by index.
func (l *eventLog) commit(ctx context.Context, events []event.Event) []error {
	errs := make([]error, len(events))
	if err := l.lock(ctx); err != nil {
		return bus.All(len(events), err)
	}
	defer l.unlock()
	if err := l.ready(); err != nil {
		return bus.All(len(events), err)
	}
	if l.whole() != nil {
		err := l.refreshLocked(ctx)
		l.forget(ctx, err)
		return bus.All(len(events), err)
	}
	verified := false
	for tries := 0; ; {
		todo, index := l.unseen(events, errs)
		if len(todo) == 0 && verified {
			return errs
		}
		if len(todo) == 0 { // all are repeats, if the log is still there and has them
			if err := l.refreshLocked(ctx); err != nil {
				l.forget(ctx, err)
				return bus.All(len(events), err)
			}
			return errs
		}
		base := l.tail
		if base.full() {
			base = &segment{number: base.number + 1}
			l.etag = ""
		}
		grown, n, err := base.with(todo)
		if err == nil {
			value, began := grown.encode(), time.Now()
			err = l.swap(ctx, base, state.Item{Key: l.origin.key(grown.number), Value: value, ETag: l.etag})
			if err == nil {
				verified = true
				if grown.full() {
					grown.packed = value
				}
				l.sawTail(began) // of a tail that had moved on the swap would have failed
				l.took(grown, todo[:n])
				continue
			}
		}
		// Whether it was written, or another replica was first, the tail tells.
		tries++
		refreshErr := l.refreshLocked(ctx)
		if gone := errors.Join(err, refreshErr); errors.Is(gone, errGone) {
			l.forget(ctx, gone)
			return bus.All(len(events), gone)
		}
		if tries < commitTries && refreshErr == nil {
			continue
		}
		slog.WarnContext(ctx, "could not append", "events", len(todo), "error", errors.Join(err, refreshErr))
		for _, i := range index {
			errs[i] = err
		}
		return errs
	}
}

// took makes the segment, which is written with the events, the tail.
func (l *eventLog) took(grown *segment, events []event.Event) {
	for _, e := range events {
		l.seen.add(identityOf(e))
	}
	l.etag = state.ETagAfter(l.etag)
	l.publish(grown, events[len(events)-1].ID)
}

// unseen returns the events that are not in the log, each once, and their indexes.
func (l *eventLog) unseen(events []event.Event, errs []error) (todo []event.Event, index []int) {
	batch := newSeen(len(events))
	for i, e := range events {
		if errs[i] != nil {
			continue
		}
		id := identityOf(e)
		known, same := l.seen.find(id)
		if !known {
			if known, same = batch.find(id); !known {
				batch.add(id)
				todo, index = append(todo, e), append(index, i)
			}
		}
		if known && !same {
			errs[i] = fmt.Errorf("%w: the log has another event with id %s", bus.ErrPoison, e.ID)
		}
	}
	return todo, index
}

// publish makes s the tail that readers see, with the id of its last event, and wakes
// those who wait.
func (l *eventLog) publish(s *segment, lastID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.number != l.tail.number {
		l.recent.add(l.tail)
	}
	l.tail, l.lastID = s, lastID
	l.wake()
}

// wake wakes those who wait. The caller holds mu.
func (l *eventLog) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// forget drops all of a log that the store no longer has, but for what tells whether its
// origin alone is gone, and has the one that is there now loaded, or a new one begun. It
// does nothing for another error. The caller holds its turn to move the tail on.
func (l *eventLog) forget(ctx context.Context, err error) {
	if !errors.Is(err, errGone) {
		return
	}
	slog.ErrorContext(ctx, "the log is gone from the store, and is looked for, or another one begins", "log", l.origin.ID, "last", l.last(), "error", err)
	l.was = &remembered{l.origin, l.tail, l.lastID, l.etag, l.seen}
	l.clear()
	select {
	case l.gone <- struct{}{}:
	default: // it is known already
	}
}

// clear empties all but the origin, until the log is loaded.
func (l *eventLog) clear() {
	l.seen, l.etag = newSeen(seenEvents), ""
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loaded, l.lost, l.tail, l.lastID, l.recent = false, nil, &segment{}, "", recentSegments{}
	l.wake()
}

// refresh reads on from the tail, to see what other replicas appended.
func (l *eventLog) refresh(ctx context.Context) error {
	if err := l.ready(); err != nil {
		return err
	}
	asked := time.Now()
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.unlock()
	if err := l.ready(); err != nil {
		return err // the log is gone meanwhile
	}
	if l.unlooked() < time.Since(asked) {
		return nil // somebody else just did
	}
	err := l.refreshLocked(ctx)
	l.forget(ctx, err)
	return err
}

func (l *eventLog) refreshLocked(ctx context.Context) error {
	if err := l.whole(); err != nil {
		return errors.Join(l.verify(ctx), err) // a log that is gone begins anew
	}
	began := time.Now()
	for number := l.tail.number; ; number++ {
		items, err := l.store.Get(ctx, originKey, l.origin.key(number))
		if err != nil {
			return err
		}
		if err := l.sameOrigin(items[0]); err != nil {
			return err
		}
		s, err := decodeSegment(number, items[1].Value)
		if err != nil {
			return err
		}
		if number > l.tail.number && s.count == 0 {
			l.sawTail(began) // it is full, and nobody has begun the next one
			return nil
		}
		added, err := l.addedTo(ctx, s, items[1])
		if err != nil {
			return err
		}
		for _, e := range added {
			l.seen.add(e)
		}
		l.etag = items[1].ETag
		if len(added) > 0 {
			l.publish(s, added[len(added)-1].ID)
		}
		if !s.full() {
			l.sawTail(began)
			return nil
		}
	}
}

// addedTo returns what the store has in a segment, the tail or the one after it, beyond
// what this replica knows. It is an errLost unless the tail goes on from there.
func (l *eventLog) addedTo(ctx context.Context, s *segment, item state.Item) ([]identity, error) {
	known := l.tail.count
	if s.number > l.tail.number {
		known = 0
	}
	if known == 0 {
		return s.identities(s.base())
	}
	if s.count < known {
		return nil, l.lose(ctx, fmt.Sprintf("%s ends at %d, and ended at %d", s.name(), s.last(), l.last()))
	}
	ids, err := s.identities(l.last() - 1)
	if err != nil {
		return nil, err
	}
	if ids[0].ID != l.lastID {
		return nil, l.lose(ctx, fmt.Sprintf("event %d is %.40q, and was %.40q", l.last(), ids[0].ID, l.lastID))
	}
	if startsOver(l.tail, l.etag, s, item.ETag) {
		return nil, l.lose(ctx, s.name()+" was not there any more, and was written again")
	}
	return ids[1:], nil
}

// sawTail notes that at that time the store had no more than the tail.
func (l *eventLog) sawTail(at time.Time) {
	l.mu.Lock()
	l.looked = at
	l.mu.Unlock()
}

// unlooked is for how long nobody has looked whether the store has more than the tail.
func (l *eventLog) unlooked() time.Duration {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return time.Since(l.looked)
}

func (l *eventLog) warnNotYet(ctx context.Context, err error) {
	if time.Since(l.started) >= eventlog.QuietStart {
		slog.WarnContext(ctx, "can't read the log yet", "error", err)
	}
}

// load finds the tail, and reads the ids of the last seenEvents events.
func (l *eventLog) load(ctx context.Context) error {
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.unlock()
	start := time.Now()
	l.clear()
	tail, err := l.findLog(ctx)
	if err != nil {
		l.warnNotYet(ctx, err)
		return err
	}
	first := max(0, tail-(seenEvents+segmentSize-1)/segmentSize)
	last, lastID := &segment{number: first}, ""
	for number := first; number < tail; {
		read, err := l.read(ctx, l.origin.ID, number, tail-number)
		if err != nil {
			l.warnNotYet(ctx, err)
			return err
		}
		for _, s := range read {
			ids, err := s.identities(s.base())
			if err == nil && !s.full() {
				err = fmt.Errorf("%s has %d events, but is not the last", s.name(), s.count)
			}
			if err != nil {
				slog.ErrorContext(ctx, "the log is damaged", "error", err)
				return err
			}
			for _, e := range ids {
				l.seen.add(e)
			}
			l.mu.Lock()
			l.recent.add(s)
			l.mu.Unlock()
			last, lastID = s, ids[len(ids)-1].ID // it is full
		}
		number += len(read)
	}
	l.mu.Lock()
	l.tail, l.lastID = last, lastID
	l.mu.Unlock()
	if err := l.refreshLocked(ctx); err != nil {
		return err
	}
	if err := l.endsAtTail(ctx); err != nil {
		slog.ErrorContext(ctx, "can't go on from the log's end", "error", err)
		return err
	}
	l.mu.Lock()
	l.loaded = true
	l.mu.Unlock()
	slog.InfoContext(ctx, "log read", "log", l.origin.ID, "last", l.last(), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// findLog finds the log that is in the store now, or begins one, and returns the number
// of its first segment that isn't full.
func (l *eventLog) findLog(ctx context.Context) (tail int, err error) {
	found, err := l.findOrigin(ctx)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	l.origin = found
	l.mu.Unlock()
	l.was = nil
	return l.findTail(ctx)
}

// findTail returns the number of the first segment that isn't full.
func (l *eventLog) findTail(ctx context.Context) (int, error) {
	return state.Tail(-1, func(number int) (bool, error) { return l.isFull(ctx, number) })
}

// last is the number of the last event that this replica knows of.
func (l *eventLog) last() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.tail.last()
}

// end is the position of the last event that this replica knows of. It is an error where
// that may be in no log.
func (l *eventLog) end() (eventlog.Position, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.loaded {
		return eventlog.Position{}, errLoading
	}
	if l.lost != nil {
		return eventlog.Position{}, l.lost
	}
	return eventlog.Position{Sequence: l.tail.last(), Log: l.origin.ID, Event: l.lastID}, nil
}

// wait returns when the log has grown beyond after, when it is gone or has lost events,
// or when ctx is done.
func (l *eventLog) wait(ctx context.Context, after uint64) {
	for {
		l.mu.RLock()
		last, grown, ends := l.tail.last(), l.grown, !l.loaded || l.lost != nil
		l.mu.RUnlock()
		if last > after || ends {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
	}
}

// read returns segments of the log with the id, from number on: at least one, at most
// count. One answer has events of one log, whatever becomes of it meanwhile.
func (l *eventLog) read(ctx context.Context, log string, number, count int) ([]*segment, error) {
	of, s := l.inMemory(number)
	if of.ID != log {
		return nil, fmt.Errorf("%w: %s", errGone, log)
	}
	if s != nil {
		return []*segment{s}, nil
	}
	// What is read here begins before those in memory, so all but the tail is full.
	count = min(count, readAtOnce)
	keys := make([]string, count)
	for i := range keys {
		keys[i] = of.key(number + i)
	}
	for {
		items, err := l.store.Get(ctx, keys...)
		if err != nil && len(keys) > 1 && ctx.Err() == nil {
			keys = keys[:len(keys)/2] // perhaps the answer would have been too large
			continue
		}
		if err != nil {
			return nil, err
		}
		segments := make([]*segment, len(items))
		for i, item := range items {
			if segments[i], err = decodeSegment(number+i, item.Value); err != nil {
				return nil, err
			}
		}
		return segments, nil
	}
}

// inMemory returns the segment, or nil if it isn't in memory, and which log that is of.
func (l *eventLog) inMemory(number int) (origin, *segment) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.loaded && number == l.tail.number {
		return l.origin, l.tail
	}
	return l.origin, l.recent.find(number)
}

// idAt returns the id of the event with the number in the log that ends at end or
// beyond; of 0 it is empty.
func (l *eventLog) idAt(ctx context.Context, end eventlog.Position, number uint64) (string, error) {
	switch number {
	case end.Sequence:
		return end.Event, nil
	case 0:
		return "", nil
	}
	segments, err := l.read(ctx, end.Log, int((number-1)/segmentSize), 1) //nolint:gosec // the log is smaller than that
	if err != nil {
		return "", err
	}
	s := segments[0]
	if s.last() < number {
		return "", fmt.Errorf("the log has no event %d", number)
	}
	ids, err := s.identities(number - 1)
	if err != nil {
		return "", err
	}
	return ids[0].ID, nil
}
