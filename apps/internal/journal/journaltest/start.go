package journaltest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

// Start runs a journal of a new process on the store, until the test ends. The test is in a
// synctest bubble: a journal that stops waits for a log, which it has not. Once the bubble is
// idle (synctest.Wait), the bus has the committed events.
func Start(t testing.TB, store state.Store, to bus.Publisher) *journal.Journal {
	t.Helper()
	j := journal.New(journal.Config{
		Store: store, Bus: to, Log: nothingKnown{}, DeadLetters: nothingKnown{}, Appender: nothingKnown{}, Eventlog: "eventlog",
		Registry: members.New(store, time.Now), Repairs: repairs.New(), Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { j.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return j
}

// nothingKnown is the log of an eventlog that has no events.
type nothingKnown struct{}

func (nothingKnown) Known(context.Context, []string) (map[string]bool, error) { return nil, nil }

func (nothingKnown) Append(context.Context, event.Type, []event.Event) error {
	return errors.New("it takes no events")
}

// Bus is a bus that keeps what was published. It is safe for concurrent use.
type Bus struct {
	mu     sync.Mutex
	events []event.Event
	err    error
}

// Fail has every publish fail with err and do nothing, until Fail is called with nil.
func (b *Bus) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// PublishAll implements bus.Publisher.
func (b *Bus) PublishAll(_ context.Context, _ event.Type, events []event.Event) []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return bus.All(len(events), b.err)
	}
	b.events = append(b.events, events...)
	return nil
}

// Events are the events that were published, in that order.
func (b *Bus) Events() []event.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.events)
}
