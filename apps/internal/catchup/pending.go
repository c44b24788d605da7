package catchup

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
)

const (
	// handleAtOnce bounds the events of one call of a consumer.
	handleAtOnce = 100
	// maxWritten is how often the effect of an event is written that is missing again and again.
	// Two events of a log may contradict each other, as two decisions on a comment do
	// (apps/tools/e2e/ROBUSTNESS.md, "The fine print"): each takes the other's effect away.
	maxWritten = 3
)

// pending is an event of the log that is not handled, as far as the worker knows.
type pending struct {
	event    event.Event
	before   eventlog.Position // of the event before it
	consumer *Consumer
	readAt   time.Time

	hasEffect, hasReaction bool
	// isSafe says that no loss of the store that leaves the cursor takes the effect away.
	isSafe bool
	// effectMark is the mark of the cursor when hasEffect was set.
	effectMark uint64
	// written counts how often the worker has written the effect. isMended says that it has done
	// that, or has published the reaction.
	written  int
	isMended bool
	// effectDue and reactionDue are when the worker does what is missing.
	effectDue, reactionDue time.Time
	reaction               string // the id of its reaction
}

func (p *pending) isHandled() bool { return p.isSafe && p.hasReaction }

// see notes that the effect is in the store. A store may lose what was written last, and
// nothing before that. So the effect is safe once it was seen again after the cursor was
// written: what takes it away then takes that mark away, too, and the cursor is written over
// that mark alone. (The first reading of a service that may decide writes no cursor.)
func (f *Follower) see(p *pending) {
	if !p.hasEffect {
		p.effectMark = f.cursor.mark
	}
	p.isSafe = p.isSafe || p.hasEffect && p.effectMark < f.cursor.mark || f.isFirstReading()
	p.hasEffect = true
}

// isToBeSeenAgain says that the cursor was written since the effect was seen.
func (p *pending) isToBeSeenAgain(mark uint64) bool {
	return p.hasEffect && !p.isSafe && p.effectMark < mark
}

// awaitsMark says that effects can be seen again after the next write of the cursor.
func (f *Follower) awaitsMark() bool {
	return slices.ContainsFunc(f.pending, func(p *pending) bool { return p.hasEffect && !p.isSafe })
}

// handleDue does what is due, and forgets what is handled. The log was read up to its end,
// or as far as the pending events allow.
func (f *Follower) handleDue(ctx context.Context) error {
	now := f.Now()
	var errs []error
	for i := range f.Consumers {
		c := &f.Consumers[i]
		effects := f.due(c, func(p *pending) bool {
			return !p.hasEffect && !now.Before(p.effectDue) || p.isToBeSeenAgain(f.cursor.mark)
		})
		errs = append(errs, inParts(ctx, effects, func(ctx context.Context, some []*pending) error { return f.mendEffects(ctx, c, some) }))
		reactions := f.due(c, func(p *pending) bool { return p.hasEffect && !p.hasReaction && !now.Before(p.reactionDue) })
		errs = append(errs, inParts(ctx, reactions, func(ctx context.Context, some []*pending) error { return f.mendReactions(ctx, c, some) }))
	}
	f.forgetHandled()
	return errors.Join(errs...)
}

// forgetHandled forgets the pending events that are handled.
func (f *Follower) forgetHandled() {
	f.pending = slices.DeleteFunc(f.pending, func(p *pending) bool {
		if p.isHandled() && p.isMended {
			f.mended.add(f.mended.begin(), identity(p.event.ID, p.event.Data))
		}
		return p.isHandled()
	})
}

// due returns a consumer's pending events that need something. An event that was delivered
// meanwhile has its effect.
func (f *Follower) due(c *Consumer, needs func(*pending) bool) []*pending {
	var due []*pending
	for _, p := range f.pending {
		if p.consumer != c {
			continue
		}
		if !p.hasEffect && f.delivered.remove(identity(p.event.ID, p.event.Data)) {
			f.see(p)
		}
		if needs(p) {
			due = append(due, p)
		}
	}
	return due
}

// inParts calls do for parts of the events. A part that fails does not hold back those after
// it: a damaged document would keep the service from following the log. After one that took
// all its time there are no others, because what it needs does not answer. The error is that
// of the first part that failed.
func inParts(ctx context.Context, all []*pending, do func(context.Context, []*pending) error) error {
	var failed error
	for part := range slices.Chunk(all, handleAtOnce) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := do(call, part)
		isOver := call.Err() != nil
		cancel()
		if failed = cmp.Or(failed, err); err != nil && isOver {
			break
		}
	}
	return failed
}

// mendEffects writes the effects that are not in the store.
func (f *Follower) mendEffects(ctx context.Context, c *Consumer, due []*pending) error {
	missing, err := c.Missing(ctx, eventsOf(due))
	if err != nil {
		return err
	}
	var lost []*pending
	for i, p := range due {
		switch {
		case !missing[i]:
			f.see(p)
		case p.written == maxWritten:
			slog.WarnContext(ctx, "the effect of an event does not last: another event of the log contradicts it", "type", p.event.Type, "event", p.event.ID, "entity", p.event.Subject)
			p.hasEffect, p.isSafe = true, true
		default:
			p.hasEffect = false
			lost = append(lost, p)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	restore := c.Restore
	if restore == nil {
		restore = c.Effect
	}
	return f.mend(ctx, restore, lost, repairs.Effect, func(p *pending) {
		p.written++
		f.see(p)
	})
}

// mendReactions publishes the reactions that are not in the log. A reaction that the log
// has from before the cursor is not read again, so the log is asked first.
func (f *Follower) mendReactions(ctx context.Context, c *Consumer, due []*pending) error {
	ids := make([]string, len(due))
	for i, p := range due {
		ids[i] = p.reaction
	}
	known, err := f.Log.Known(ctx, ids)
	if err != nil {
		return err
	}
	var lost []*pending
	for _, p := range due {
		if known[p.reaction] {
			f.settleReaction(p)
		} else {
			lost = append(lost, p)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	react := func(ctx context.Context, events []event.Event) []error { return f.reactAgain(ctx, c, events) }
	return f.mend(ctx, react, lost, repairs.Reaction, func(p *pending) { p.reactionDue = f.Now().Add(Grace) })
}

// reactAgain publishes reactions, so that others have them soon, and puts them into the log
// without the bus, which has failed to bring them there. One of the two is enough.
func (f *Follower) reactAgain(ctx context.Context, c *Consumer, events []event.Event) []error {
	publishing, cancel := context.WithTimeout(ctx, reactWithin)
	reactions, errs := c.React(publishing, events)
	cancel()
	var made []event.Event
	var indexes []int // of what was made
	for i, reaction := range reactions {
		if reaction.ID != "" {
			made, indexes = append(made, reaction), append(indexes, i)
		}
	}
	if len(made) == 0 {
		return errs
	}
	if err := f.Appender.Append(ctx, made[0].Type, made); err != nil {
		slog.WarnContext(ctx, "can't put reactions into the log without the bus", "events", len(made), "error", err)
		return errs
	}
	if errs == nil {
		return nil
	}
	for _, i := range indexes {
		errs[i] = nil
	}
	return errs
}

// mend has a handler handle events. An event that it can never take is dead-lettered, and
// needs nothing more.
func (f *Follower) mend(ctx context.Context, handler bus.Handler, lost []*pending, kind repairs.Kind, mended func(*pending)) error {
	errs := handler(ctx, eventsOf(lost))
	if errs == nil {
		errs = make([]error, len(lost))
	}
	var failed error
	for i, p := range lost {
		err := errs[i]
		switch {
		case err == nil:
			slog.WarnContext(ctx, "an event of the log was not handled, and is handled now", "type", p.event.Type, "event", p.event.ID, "entity", p.event.Subject, "missing", kind)
			f.Repairs.Add(kind, 1)
			p.isMended = true
			mended(p)
		case errors.Is(err, bus.ErrPoison):
			if err := f.DeadLetter(ctx, p.event, err); err != nil {
				failed = err
				continue
			}
			slog.WarnContext(ctx, "an event of the log can never be taken, see the dead letters", "type", p.event.Type, "event", p.event.ID, "reason", err)
			f.Repairs.Add(repairs.DeadLettered, 1)
			p.hasEffect, p.isSafe = true, true
			f.settleReaction(p)
		default:
			failed = err
		}
	}
	return failed
}

func (f *Follower) settleReaction(p *pending) {
	p.hasReaction = true
	delete(f.awaited, p.reaction)
}

func eventsOf(all []*pending) []event.Event {
	events := make([]event.Event, len(all))
	for i, p := range all {
		events[i] = p.event
	}
	return events
}
