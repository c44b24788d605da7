// Package eventlogtest has an event log in memory, for unit tests and simulations.
package eventlogtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Log is a log in memory, an eventlog.Reader. It is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	id     string
	events []event.Event
	grown  chan struct{} // closed at every change
	reads  []Read
	fault  func(Read) error
}

// Read is what somebody asked a Log for.
type Read struct {
	From  eventlog.Position
	Limit int
	Wait  time.Duration
}

// New returns a log of the events, which get their numbers.
func New(events ...event.Event) *Log {
	l := &Log{grown: make(chan struct{})}
	l.Replace(event.NewID(), events...)
	return l
}

// Append adds events, which get their numbers, and wakes up the reads that wait.
func (l *Log) Append(events ...event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.Sequence = event.Sequence(len(l.events) + 1) //nolint:gosec // never negative
		l.events = append(l.events, e)
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// Replace puts another log in the place of this one, or another end of this one.
func (l *Log) Replace(id string, events ...event.Event) {
	l.mu.Lock()
	l.id, l.events = id, nil
	l.mu.Unlock()
	l.Append(events...)
}

// SetFault has every read from now on call fault first, and fail with its error, if any.
func (l *Log) SetFault(fault func(Read) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// Reads returns what was asked for so far, in order.
func (l *Log) Reads() []Read {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reads)
}

// Position is that of the event with the number.
func (l *Log) Position(number uint64) eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.positionLocked(number)
}

// End is the position of the last event.
func (l *Log) End() eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.positionLocked(uint64(len(l.events)))
}

func (l *Log) positionLocked(number uint64) eventlog.Position {
	p := eventlog.Position{Sequence: number, Log: l.id}
	if number > 0 && number <= uint64(len(l.events)) {
		p.Event = l.events[number-1].ID
	}
	return p
}

// Read implements eventlog.Reader.
func (l *Log) Read(ctx context.Context, from eventlog.Position, limit int, wait time.Duration) ([]event.Event, eventlog.Position, error) {
	asked := Read{from, limit, wait}
	l.mu.Lock()
	l.reads = append(l.reads, asked)
	fault, grown, waits := l.fault, l.grown, from.Sequence == uint64(len(l.events)) && from.Fits(l.positionLocked(from.Sequence))
	l.mu.Unlock()
	if fault != nil {
		if err := fault(asked); err != nil {
			return nil, eventlog.Position{}, err
		}
	}
	if waits && wait > 0 {
		timeout := time.NewTimer(wait)
		defer timeout.Stop()
		select {
		case <-grown:
		case <-timeout.C:
		case <-ctx.Done():
			return nil, eventlog.Position{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.positionLocked(uint64(len(l.events)))
	if from.Sequence > end.Sequence || !from.Fits(l.positionLocked(from.Sequence)) || from.Sequence == 0 && from.Event != "" {
		return nil, end, fmt.Errorf("%w: it ends at %s", eventlog.ErrMisfit, end)
	}
	part := l.events[from.Sequence:]
	return slices.Clone(part[:min(len(part), limit)]), end, nil
}
