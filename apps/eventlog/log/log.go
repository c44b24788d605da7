// Package log is the event log: numbered events in segments in a state store. Its format
// is that of package eventlog.
package log

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// flushDelay is how long events wait for those that follow them, to be written with
	// them: a comment that is alone costs one write of the tail then and not three, and
	// its readers have it a tenth sooner.
	flushDelay = 20 * time.Millisecond
	// loadPause is between two tries to load the log.
	loadPause = 500 * time.Millisecond
)

// errLoading is why the log can't take or give events yet.
var errLoading = errors.New("the log is being read")

// Config says what a Log works with.
type Config struct {
	// Store has the log.
	Store state.Store
	// Prefix is that of the log's keys; empty for the events. A store that has a log with
	// a prefix has the log of the events, too.
	Prefix string
	// Now is the clock.
	Now func() time.Time
	// MayWait says that another event follows this one within some milliseconds, so that
	// the two may be written together. Nil has none wait.
	MayWait func(event.Event) bool
}

// Log is one replica's view of a log that all replicas append to.
//
//   - Event n has number n: numbers begin with 1 and have no gaps. No number is given
//     twice, and no event is in the log twice.
//   - What the replica knows is a prefix of what the store has. Otherwise the store has
//     lost events, and the replica takes and gives none.
//   - An event is acknowledged once it is in the store, in a log that was all there a
//     moment before.
//   - The tail is written only over the version that was read last (compare-and-swap).
type Log struct {
	Config
	commits chan commit
	started time.Time

	// turn is that of writing the store and of reading on. All that is below is changed by
	// its holder alone.
	turn *semaphore.Weighted
	seen *seen
	etag string // of the tail's key

	mu     sync.RWMutex
	broken error // why the log can't be used, an errLoading or an errEventsMissing; or nil
	origin eventlog.Origin
	tail   *eventlog.Segment
	lastID string    // of the last event
	looked time.Time // when the store had no more than the tail
	recent recentSegments
	grown  chan struct{} // closed at every change of what is above
}

// New returns a log. It is of use while Run runs.
func New(c Config) *Log {
	return &Log{
		Config: c, commits: make(chan commit), started: c.Now(), turn: semaphore.NewWeighted(1),
		seen: newSeen(seenEvents), broken: errLoading, tail: &eventlog.Segment{}, grown: make(chan struct{}),
	}
}

// Ready returns why the log can't be used, or nil: it is still being read, or the store
// has lost events that readers may have.
func (l *Log) Ready() error { return l.view().broken }

// End is the position of the last event that this replica knows of.
func (l *Log) End() (eventlog.Position, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.broken != nil {
		return eventlog.Position{}, l.broken
	}
	return eventlog.Position{Sequence: l.tail.Last(), Log: l.origin.ID, Event: l.lastID}, nil
}

// commit is a batch of events that waits to be appended.
type commit struct {
	events []event.Event
	done   chan []error
}

// Append is the bus.Handler of every topic. It returns when the events are in the log,
// each once: those that were there before are acknowledged and not appended.
func (l *Log) Append(ctx context.Context, events []event.Event) []error {
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

// Run loads the log and then appends, all that waits in one commit, until ctx is done.
// When the store has lost the log it loads the one that is there then, or begins one.
func (l *Log) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := l.load(ctx); err != nil {
			switch {
			case errors.Is(err, eventlog.ErrDamaged):
				slog.ErrorContext(ctx, "can't read the log", "error", err)
			case l.Now().Sub(l.started) >= eventlog.QuietStart:
				slog.WarnContext(ctx, "can't read the log yet", "error", err)
			}
			select {
			case <-time.After(loadPause):
			case <-ctx.Done():
			}
			continue
		}
		l.appendAll(ctx)
	}
}

// appendAll commits what comes until the log has to be loaded anew, or ctx is done.
func (l *Log) appendAll(ctx context.Context) {
	for {
		now := l.view()
		if errors.Is(now.broken, errLoading) {
			return
		}
		select {
		case c := <-l.commits:
			l.commitGroup(ctx, l.gather(c))
		case <-now.grown:
		case <-ctx.Done():
			return
		}
	}
}

// gather returns first and the commits that share its write: all that wait, and while all
// events may wait also those that come within flushDelay.
func (l *Log) gather(first commit) []commit {
	group, n, mayWait := []commit{first}, len(first.events), l.mayWait(first)
	flush := time.NewTimer(flushDelay)
	defer flush.Stop()
	for n < commitEvents {
		var next commit
		select {
		case next = <-l.commits:
		default:
			if !mayWait {
				return group
			}
			select {
			case next = <-l.commits:
			case <-flush.C:
				return group
			}
		}
		group, n = append(group, next), n+len(next.events)
		mayWait = mayWait && l.mayWait(next)
	}
	return group
}

func (l *Log) mayWait(c commit) bool {
	return l.MayWait != nil && !slices.ContainsFunc(c.events, func(e event.Event) bool { return !l.MayWait(e) })
}

// view is what a replica knows at a moment.
type view struct {
	last   uint64    // the number of the last event
	looked time.Time // when the store had no more than that
	broken error     // why the log can't be used, or nil
	grown  <-chan struct{}
}

// view returns what is known now, until grown is closed.
func (l *Log) view() view {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return view{l.tail.Last(), l.looked, l.broken, l.grown}
}

// update changes what readers see, and wakes up those who wait.
func (l *Log) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.grown)
	l.grown = make(chan struct{})
}
