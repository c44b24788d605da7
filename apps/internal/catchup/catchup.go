// Package catchup lets a service follow the event log. So what the bus loses comes back by
// itself: an event in the log has its consequences, however long the service was away.
//
// Each process reads the log, at an unhurried pace and never on the path of a request or a
// delivery. What it reads confirms the events of its journal. One process of the service,
// the worker, also handles what was not handled some seconds after it has read it.
//
// Handled means that the event's effect is in the store and its reaction, if there is one,
// is in the log.
//
//   - The cursor never passes an event that is not handled.
//   - In a store that has lost what was written last, and nothing before that, the cursor is
//     before the events whose effects are lost.
//   - The cursor is of one filling of the store. When the store was emptied, it is void, and
//     the service reads the log from its start.
//   - Of a handled event nothing is written and nothing is published.
package catchup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// pace is the pause between two rounds.
	pace = 2 * time.Second
	// drainPace is the pause while the service stops and waits for its journal.
	drainPace = 50 * time.Millisecond
	// Grace is how long after the worker has read an event the bus may still deliver it.
	Grace = 10 * time.Second
	// farBehind is how many events behind the end of the log the effects are not left to
	// the bus.
	farBehind = 10 * eventlog.ReadLimit
	// maxPending bounds the events that are read and not handled. Beyond it the worker
	// reads on only when it has handled some.
	maxPending = 20_000
	// callTimeout bounds a call of the store or the bus.
	callTimeout = 5 * time.Second
	// reactWithin bounds the part of it in which reactions are published again: a bus that
	// hangs must leave time to put them into the log without it.
	reactWithin = 3 * time.Second
)

// errCatchingUp refuses a delivery, so that it is redelivered.
var errCatchingUp = errors.New("the service has not read in the log yet what its emptied store has lost")

// Consumer is how a service handles events of one type. Effect and React must be
// idempotent.
type Consumer struct {
	Type event.Type
	// Missing says, by index, whose effect is not in the store. It is nil if the events
	// have no effect.
	Missing func(ctx context.Context, events []event.Event) ([]bool, error)
	// Effect writes the effects to the store. It is nil if the events have none.
	Effect bus.Handler
	// Restore writes the effects of events that were read in the log, even over what
	// contradicts them. If it is nil, Effect does that.
	Restore bus.Handler
	// React publishes a reaction to each event, and returns the reactions and the errors by
	// index. If there are no errors, it may return nil instead. It is nil if there is none.
	React func(ctx context.Context, events []event.Event) (reactions []event.Event, errs []error)
	// Reaction is the id of the event that the log has after React.
	Reaction func(event.Event) string
	// OwnEffects are the ids of the events with the reaction's data, which the service also
	// consumes, whose effect React has written, too. It is nil if there are none.
	OwnEffects func(reaction event.Event) []string
	// FollowsLog says that React must not decide anew what is in the log. So it waits until
	// the store has what the log says. Then the service reads the log once more, for the
	// events that React has not seen.
	FollowsLog bool
}

// Log is the event log of eventlog.
type Log interface {
	eventlog.Reader
	journal.Known
}

// Config says what a Follower works with.
type Config struct {
	Store     state.Store
	Log       Log
	Appender  eventlog.Appender
	Consumers []Consumer
	// Journal is nil for a service without commands.
	Journal  *journal.Journal
	Registry *members.Registry
	Progress *Progress
	Repairs  *repairs.Counts
	// DeadLetter publishes the dead letter of an event that the service can never take.
	DeadLetter func(ctx context.Context, e event.Event, reason error) error
	Now        func() time.Time
}

// Follower reads the log for one process of a service. It is safe for concurrent use.
type Follower struct {
	Config
	consumers map[event.Type]*Consumer
	// mayDecide says that a consumer FollowsLog.
	mayDecide bool
	delivered *recent // the identities of events whose delivery was handled
	mended    *recent // the identities of events that were handled without a delivery, which may come

	// The fields below belong to Run.
	at     eventlog.Position // up to where the log was read
	cursor cursor
	// noticed is when this process first saw the cursor's origin, or that the log is another one.
	noticed time.Time
	// hasEffects says that the log has had effects, as far as it was read.
	hasEffects bool
	// restoredTo is up to where the first reading of a service that may decide has found or
	// written all effects.
	restoredTo uint64
	pending    []*pending // read and not handled, in the log's order
	// awaited are the pending events whose reaction the log lacks, by the reaction's id.
	awaited map[string]*pending
	// reactions are the ids of events in the log that may be reactions to events that come
	// after them.
	reactions *recent
	isWorking bool
	// isMending says that the store was set back, and the log was not read to its end since. What
	// is read then is not left to the bus, which may have delivered it before.
	isMending bool
	failing   bool // a warning was logged
	started   time.Time
}

// New returns the follower of a new process.
func New(c Config) *Follower {
	f := &Follower{Config: c, consumers: map[event.Type]*Consumer{}, delivered: newRecent(), mended: newRecent(), reactions: newRecent(), awaited: map[string]*pending{}, started: c.Now()}
	for i := range c.Consumers {
		f.consumers[c.Consumers[i].Type] = &c.Consumers[i]
		f.mayDecide = f.mayDecide || c.Consumers[i].FollowsLog
	}
	return f
}

// Deliver is the bus.Handler for events of type t. It writes their effects, and then
// publishes the reactions of those whose effect is in the store.
func (f *Follower) Deliver(t event.Type) bus.Handler {
	consumer := f.consumers[t]
	return func(ctx context.Context, events []event.Event) []error {
		if consumer.FollowsLog && !f.Progress.IsRestored() {
			return bus.All(len(events), errCatchingUp)
		}
		errs := make([]error, len(events))
		left, indexes := f.unhandled(events)
		if len(left) == 0 {
			return errs
		}
		began := f.delivered.begin()
		reactions, failed := handle(ctx, consumer, left)
		for i, e := range left {
			if errs[indexes[i]] = failed[i]; failed[i] != nil {
				continue
			}
			f.delivered.add(began, identity(e.ID, e.Data))
			if consumer.OwnEffects != nil {
				for _, id := range consumer.OwnEffects(reactions[i]) {
					f.delivered.add(began, identity(id, reactions[i].Data))
				}
			}
		}
		return errs
	}
}

// unhandled are the events that were not handled from the log before their delivery, with their
// indexes. A bus that is behind delivers many of those, and would never catch up if each were
// handled, and its reaction published, again.
func (f *Follower) unhandled(events []event.Event) (left []event.Event, indexes []int) {
	for i, e := range events {
		if !f.mended.remove(identity(e.ID, e.Data)) {
			left, indexes = append(left, e), append(indexes, i)
		}
	}
	return left, indexes
}

// handle writes the effects of events, and publishes the reactions of those whose effect is
// in the store. Reactions and errors are by index, and never nil as a whole.
func handle(ctx context.Context, c *Consumer, events []event.Event) (reactions []event.Event, errs []error) {
	reactions, errs = make([]event.Event, len(events)), make([]error, len(events))
	if c.Effect != nil {
		copy(errs, c.Effect(ctx, events))
	}
	if c.React == nil {
		return reactions, errs
	}
	var rest []event.Event
	var indexes []int // of the rest
	for i, e := range events {
		if errs[i] == nil {
			rest, indexes = append(rest, e), append(indexes, i)
		}
	}
	if len(rest) == 0 {
		return reactions, errs
	}
	made, failed := c.React(ctx, rest)
	for i, err := range failed {
		errs[indexes[i]] = err
	}
	for i, e := range made {
		reactions[indexes[i]] = e
	}
	return reactions, errs
}

// Run follows the log until ctx is done. Then it goes on until the journal is empty, for at
// most journal.DrainFor.
func (f *Follower) Run(ctx context.Context) {
	if f.Journal == nil { // otherwise the journal beats
		var beating sync.WaitGroup
		beating.Go(func() { f.Registry.Run(ctx) })
		defer func() {
			beating.Wait()
			_ = f.Registry.Leave(context.WithoutCancel(ctx), false) // or the others take it for dead
		}()
	}
	for ctx.Err() == nil {
		f.round(ctx)
		pause(ctx, pace)
	}
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), journal.DrainFor)
	defer cancel()
	for f.Journal != nil && !f.Journal.IsEmpty() && draining.Err() == nil {
		f.round(draining)
		pause(draining, drainPace)
	}
}

// round reads what is new in the log, and does what is due.
func (f *Follower) round(ctx context.Context) {
	err := f.follow(ctx)
	if f.Journal != nil {
		f.Journal.Tidy(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil && f.failing:
		slog.InfoContext(ctx, "following the event log again", "at", f.at.Sequence)
		f.failing = false
	case err == nil || f.failing:
	case f.Now().Sub(f.started) >= eventlog.QuietStart:
		slog.WarnContext(ctx, "can't follow the event log, retrying", "at", f.at.Sequence, "error", err)
		f.failing = true
	}
}

func (f *Follower) follow(ctx context.Context) error {
	if err := f.loadCursor(ctx); err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	isFirstReading := f.isFirstReading()
	began := f.Now() // the end that is read is that of then, or a later one
	end, err := f.read(ctx)
	if errors.Is(err, eventlog.ErrMisfit) {
		slog.WarnContext(ctx, "the event log is another one, or has lost its end: following it from its start", "error", err)
		f.giveBack()
		return errors.Join(err, f.restart(ctx))
	}
	if err != nil {
		return err
	}
	isAtEnd := f.at.Sequence >= end.Sequence
	if f.isWorking {
		err = errors.Join(f.handleDue(ctx), f.saveCursor(ctx, isAtEnd))
	}
	if err == nil && isFirstReading && f.cursor.isRestored {
		return f.follow(ctx) // the second reading
	}
	if f.isWorking && f.Journal == nil {
		err = errors.Join(err, f.removeDead(ctx))
	}
	f.isMending = f.isMending && !isAtEnd
	if isAtEnd {
		f.Progress.sample(end, f.cursor.at, began)
		if f.Journal != nil {
			f.Journal.Tick(ctx, end)
		}
	}
	return err
}

// giveBack gives the log back what the journal remembers of it: it may have lost its end.
func (f *Follower) giveBack() {
	if f.Journal != nil {
		f.Journal.GiveBack()
	}
}

// removeDead removes dead members. With a journal that happens once theirs is adopted.
func (f *Follower) removeDead(ctx context.Context) error {
	for _, dead := range f.Registry.Dead() {
		if err := f.Registry.Remove(ctx, dead); err != nil {
			return fmt.Errorf("removing a dead member: %w", err)
		}
	}
	return nil
}

// read reads the log up to its end, or until too many events are pending. It returns where
// the log ends. If nothing was read it returns a position beyond f.at, so that f does not count
// as at the end.
func (f *Follower) read(ctx context.Context) (end eventlog.Position, err error) {
	end.Sequence = f.at.Sequence + 1
	for len(f.pending) <= maxPending || f.makeRoom(ctx) {
		var events []event.Event
		events, end, err = f.Log.Read(ctx, f.at, eventlog.ReadLimit, 0)
		if err != nil || len(events) == 0 {
			return end, err
		}
		isFar := end.Sequence > f.at.Sequence+farBehind
		for _, e := range events {
			f.take(e, end.Log, isFar)
		}
		if f.at.Sequence >= end.Sequence { // another read would only find that nothing came since
			return end, nil
		}
	}
	return end, nil
}

// makeRoom handles what is due, and says whether more events may be read. What fails is
// tried again by the next round.
func (f *Follower) makeRoom(ctx context.Context) bool {
	if f.handleDue(ctx) == nil && len(f.pending) > maxPending && !f.isFirstReading() {
		// After one more write of the cursor the events are safe that are handled.
		if f.saveCursor(ctx, false) == nil && f.loadCursor(ctx) == nil {
			_ = f.handleDue(ctx)
		}
	}
	return len(f.pending) <= maxPending
}

// isFirstReading says that a service that may decide reads the log for its effects alone.
func (f *Follower) isFirstReading() bool { return f.mayDecide && !f.cursor.isRestored }

// take takes one event of the log.
func (f *Follower) take(e event.Event, log string, isFar bool) {
	before := f.at
	f.at = eventlog.Position{Sequence: uint64(e.Sequence), Log: log, Event: e.ID}
	if f.Journal != nil {
		f.Journal.Confirm(e, log)
	}
	wasDelivered := f.delivered.remove(identity(e.ID, e.Data))
	if !f.isWorking {
		return
	}
	if cause := f.awaited[e.ID]; cause != nil {
		cause.hasReaction = true
		delete(f.awaited, e.ID)
	} else {
		f.reactions.add(f.reactions.begin(), e.ID)
	}
	consumer := f.consumers[e.Type]
	if consumer == nil || consumer.FollowsLog && !f.cursor.isRestored {
		return
	}
	f.hasEffects = f.hasEffects || consumer.Missing != nil
	p := &pending{event: e, before: before, consumer: consumer, readAt: f.Now()}
	switch {
	case consumer.Missing == nil || f.at.Sequence <= f.restoredTo:
		p.hasEffect, p.isSafe = true, true
	case wasDelivered:
		f.see(p)
	}
	if p.hasReaction = consumer.React == nil; !p.hasReaction {
		p.reaction = consumer.Reaction(e)
		if p.hasReaction = f.reactions.remove(p.reaction); !p.hasReaction {
			f.awaited[p.reaction] = p
		}
	}
	p.effectDue, p.reactionDue = p.readAt.Add(Grace), p.readAt.Add(Grace)
	if isFar || f.isMending || !f.Progress.IsRestored() {
		p.effectDue = p.readAt
	}
	f.pending = append(f.pending, p)
}

func pause(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}
