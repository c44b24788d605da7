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
	ids    map[string]bool // of the events
	grown  chan struct{}   // closed at every change
}

// New returns a log of the events, which get their numbers.
func New(events ...event.Event) *Log {
	l := &Log{grown: make(chan struct{})}
	l.Replace(event.NewID(), events...)
	return l
}

// Append adds events, which get their numbers, and wakes up the reads that wait. An event of
// a type that is not known is read without its entity, as Client reads it.
func (l *Log) Append(events ...event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.Sequence = event.Sequence(len(l.events) + 1) //nolint:gosec // never negative
		if !e.Type.IsKnown() {
			e.Post, e.Comment = nil, nil
		}
		l.events = append(l.events, e)
		l.ids[e.ID] = true
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// Replace puts another log in the place of this one, or another end of this one.
func (l *Log) Replace(id string, events ...event.Event) {
	l.mu.Lock()
	l.id, l.events, l.ids = id, nil, map[string]bool{}
	l.mu.Unlock()
	l.Append(events...)
}

// Position is that of the event with the number, as far as the log has one.
func (l *Log) Position(number uint64) eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position(number)
}

func (l *Log) position(number uint64) eventlog.Position {
	p := eventlog.Position{Sequence: number, Log: l.id}
	if number > 0 && number <= uint64(len(l.events)) {
		p.Event = l.events[number-1].ID
	}
	return p
}

// Read implements eventlog.Reader.
func (l *Log) Read(ctx context.Context, from eventlog.Position, limit int, wait time.Duration) ([]event.Event, eventlog.Position, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for isOver := wait == 0; ; {
		l.mu.Lock()
		events, here, end, grown := l.events, l.position(from.Sequence), l.position(uint64(len(l.events))), l.grown
		l.mu.Unlock()
		if from.Sequence > end.Sequence || !from.Fits(here) || from.Sequence == 0 && from.Event != "" {
			return nil, end, fmt.Errorf("%w: it ends at %s", eventlog.ErrMisfit, end)
		}
		if isOver || from.Sequence < end.Sequence {
			part := events[from.Sequence:]
			return slices.Clone(part[:min(len(part), limit)]), end, nil
		}
		select {
		case <-grown:
		case <-timeout.C:
			isOver = true
		case <-ctx.Done():
			return nil, eventlog.Position{}, ctx.Err()
		}
	}
}
