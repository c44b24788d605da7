// Package log is the event log: numbered events in segments in a state store. Its format
// is that of package eventlog.
package log

import (
	"cmp"
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
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// flushDelay is how long events wait for the events that follow them, so that one write
	// has them all. The three events of a single comment cost one write of the tail then, not
	// three, and readers have the comment a tenth sooner.
	flushDelay = 20 * time.Millisecond
	// loadPause is the pause between two attempts to load the log.
	loadPause = 500 * time.Millisecond
)

// errLoading is returned while the log is being loaded: it can't append or serve events yet.
var errLoading = errors.New("the log is being read")

// Config says what a Log works with.
type Config struct {
	// Store is where the log is stored.
	Store state.Store
	// Prefix begins all keys of the log. It is empty for the log of the events, which is in
	// every store that has a log with a prefix.
	Prefix string
	// Now is the clock.
	Now func() time.Time
	// Window is how many of the last events are recognised when they come again: at least
	// this many, at most twice as many. 0 means DefaultWindow. A log that began before logs
	// had ids (3b4f435) needs at least eventlog.SegmentSize.
	Window int
	// MayWait says whether another event follows this one within some milliseconds, so that
	// one write may have both. If MayWait is nil, no event waits.
	MayWait func(event.Event) bool
	// Repairs counts the events that this replica gives back to a store that has lost them. It
	// may be nil.
	Repairs *repairs.Counts
}

// Log is one replica's view of a log that all replicas append to.
//
//   - Event n has number n: numbers begin with 1 and have no gaps. No number is given
//     twice.
//   - No event is in the log again among the Window events after it. Beyond them it may be.
//   - The log as the replica knows it is a prefix of the log in the store. Otherwise the
//     store has lost events, and the replica neither appends nor serves any until it has read
//     the log again and has given back what it knew.
//   - An event is acknowledged once it is in the store, and a read at the time of the write
//     has found the log that it follows.
//   - The tail is written only over the version that was read last (an optimistic write).
type Log struct {
	Config
	commits chan commit
	started time.Time

	// turn is held to write to the store and to read on from the tail. Only its holder
	// changes the fields below.
	turn *semaphore.Weighted
	seen *seen
	etag string // of the tail's key; empty if it is not known
	lost *lostEnd

	mu      sync.RWMutex
	broken  error // why the log can't be used, an errLoading or an errEventsMissing; or nil
	origin  eventlog.Origin
	tail    *eventlog.Segment
	lastID  string    // of the last event
	endSeen time.Time // when the store had nothing after the tail
	recent  recentSegments
	grown   chan struct{} // closed and replaced by update
}

// New returns a log. Its methods are useful only while Run runs.
func New(c Config) *Log {
	c.Window = cmp.Or(c.Window, DefaultWindow)
	c.Repairs = cmp.Or(c.Repairs, repairs.New())
	return &Log{
		Config: c, commits: make(chan commit), started: c.Now(), turn: semaphore.NewWeighted(1),
		seen: newSeen(c.Window), broken: errLoading, tail: &eventlog.Segment{}, grown: make(chan struct{}),
	}
}

// Ready returns why the log can't be used, or nil: it is being read, or the store has lost
// events that readers may have.
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

// Append is the bus.Handler of every topic. It returns when the events are in the log. Those
// that were there before are acknowledged and not appended, if they are in the window.
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

// Run loads the log, and then appends the events of all calls of Append that wait in one
// commit, until ctx is done. When the store has lost the log, Run loads the log that the
// store has then, or begins a new one. When the store has lost the log's end, Run loads it
// again, and gives back what this replica knew.
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

// appendAll commits events until the log has to be loaded again, or ctx is done.
func (l *Log) appendAll(ctx context.Context) {
	for {
		now := l.view()
		if now.broken != nil {
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

// gather returns first and the commits that share its write: all that wait now and, as long
// as every event so far may wait, those that come within flushDelay.
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

// view is a replica's state at one moment.
type view struct {
	last    uint64    // the number of the last event
	endSeen time.Time // when the store had nothing after it
	broken  error     // why the log can't be used, or nil
	grown   <-chan struct{}
}

// view returns the state now. It is current until grown is closed.
func (l *Log) view() view {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return view{l.tail.Last(), l.endSeen, l.broken, l.grown}
}

// update changes the state that readers see, and wakes up the readers that wait.
func (l *Log) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.grown)
	l.grown = make(chan struct{})
}
