package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
)

const (
	// absentAfter is how long after its publish an event may still be on its way to the log.
	absentAfter = 10 * time.Second
	// stillFor is how long the log's end must stand still for the bus to be taken as empty.
	stillFor = 3 * time.Second
	// awayAfter is how long after the last look at the log's end eventlog counts as away.
	// When it is back, it may have to take what the bus has kept for it.
	awayAfter = 10 * time.Second
	// absentAnyway is how long after its publish an event is taken for lost even if the log
	// grows on, and without a later event of this process on its topic. It doubles with each
	// publish, up to absentAtMost.
	absentAnyway = 30 * time.Second
	absentAtMost = 5 * time.Minute
	// asksAtOnce bounds how many events the log is asked for in one round, and repairsAtOnce
	// how many are published again. A round begins checkPause after the one before, or later.
	asksAtOnce    = 50 * eventlog.MaxKnown
	repairsAtOnce = 5 * eventlog.MaxKnown
	checkPause    = time.Second
	// publishAtOnce bounds one publish.
	publishAtOnce = 100
)

// wakePublisher has the publisher look at the queue.
func (j *Journal) wakePublisher() {
	select {
	case j.work <- struct{}{}:
	default: // it has a wake-up that it has not received yet
	}
}

// publish publishes the queue until ctx is done. What fails is published again, in its
// order.
func (j *Journal) publish(ctx context.Context) {
	for {
		batch := j.takeQueue()
		if len(batch) == 0 {
			select {
			case <-j.work:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := j.publishBatch(ctx, batch); err != nil {
			slog.WarnContext(ctx, "publish failed, retrying", "events", len(batch), "first", batch[0].event.ID, "error", err)
			if pause(ctx, retryPause); ctx.Err() != nil {
				return
			}
		}
	}
}

// takeQueue takes the first entries of the queue, all of one type. Entries that the log has
// by now are left out.
func (j *Journal) takeQueue() []*entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var batch []*entry
	n := 0
	for _, e := range j.queue {
		if len(batch) == publishAtOnce || len(batch) > 0 && e.event.Type != batch[0].event.Type {
			break
		}
		n++
		if j.entries[e.event.ID] == e {
			batch = append(batch, e)
		}
	}
	j.queue = slices.Delete(j.queue, 0, n)
	if len(batch) == 0 && j.busy != nil {
		close(j.busy)
		j.busy = nil
	}
	return batch
}

// publishBatch publishes entries of one type. Those that fail are the first of the queue
// again. The error is that of one of them.
func (j *Journal) publishBatch(ctx context.Context, batch []*entry) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	events := make([]event.Event, len(batch))
	for i, e := range batch {
		events[i] = e.event
	}
	began := j.Now()
	errs := j.Bus.PublishAll(ctx, events[0].Type, events)
	j.mu.Lock()
	defer j.mu.Unlock()
	var failed []*entry
	var err error
	for i, e := range batch {
		if errs != nil && errs[i] != nil {
			err = errs[i]
			failed = append(failed, e)
			continue
		}
		j.order++
		e.queued = false
		e.published, e.order, e.checkAt = began, j.order, began.Add(absentAfter)
		if e.mayBeLogged {
			e.checkAt = began
		}
	}
	j.queue = append(failed, j.queue...)
	return err
}

// Confirm removes an event that was read in the log with that id.
func (j *Journal) Confirm(e event.Event, log string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if mine := j.entries[e.ID]; mine != nil && bytes.Equal(mine.event.Data, e.Data) {
		j.remember(mine, log)
		j.remove(mine)
	}
}

// remove removes an entry that the log has, or never gets. The caller holds the lock.
func (j *Journal) remove(e *entry) {
	delete(j.entries, e.event.ID)
	j.bytes -= e.size
	j.latest[e.event.Type] = max(j.latest[e.event.Type], e.order)
	for _, p := range e.pages {
		p.open--
	}
}

// Tick publishes again what is absent, now that the log was read up to its end. If this
// process is the worker, it also adopts the journals of dead processes.
func (j *Journal) Tick(ctx context.Context, end eventlog.Position) {
	if err := j.keepLostClaims(ctx); err != nil {
		slog.WarnContext(ctx, "can't write claims again that the store may have lost, retrying", "error", err)
	}
	if err := j.repair(ctx, j.absent(end)); err != nil {
		slog.WarnContext(ctx, "can't ask the log for events of the journal, retrying", "error", err)
	}
	if !j.Registry.IsWorker() {
		return
	}
	all := j.Registry.Dead()
	j.forgetAdopted(all)
	for _, dead := range all {
		if err := j.adopt(ctx, dead); err != nil {
			slog.WarnContext(ctx, "can't adopt a journal, retrying", "member", dead.ID, "error", err)
		}
	}
}

// absent returns the oldest of the entries that seem to be lost.
func (j *Journal) absent(end eventlog.Position) []*entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.Now()
	wasAway := now.Sub(j.tickedAt) >= awayAfter
	if wasAway {
		j.since = now
	}
	if wasAway || end != j.end {
		j.end, j.endSince = end, now
	}
	j.tickedAt = now
	j.forgetOther(end.Log)
	if now.Sub(j.repairedAt) < checkPause {
		return nil
	}
	var absent []*entry
	for _, e := range j.entries {
		if j.isAbsent(e, now) {
			absent = append(absent, e)
		}
	}
	if len(absent) > 0 {
		j.repairedAt = now
	}
	slices.SortFunc(absent, func(a, b *entry) int {
		return cmp.Or(a.published.Compare(b.published), cmp.Compare(a.order, b.order), a.queuedAt.Compare(b.queuedAt))
	})
	return absent[:min(len(absent), asksAtOnce)]
}

// isAbsent says whether an entry seems to be lost. The caller holds the lock.
func (j *Journal) isAbsent(e *entry, now time.Time) bool {
	if e.queued { // while the bus does not take it, it goes into the log without the bus
		return now.Sub(e.queuedAt) >= absentAfter
	}
	if now.Before(e.checkAt) {
		return false
	}
	anyway := min(absentAnyway<<min(e.repeats, 10), absentAtMost)
	isStill := now.Sub(j.endSince) >= stillFor
	isOvertaken := e.order < j.latest[e.event.Type]
	return e.kind != "" || e.mayBeLogged || e.wasKnown || isStill || isOvertaken || now.Sub(e.published) >= anyway && now.Sub(j.since) >= anyway
}

// repair asks eventlog for the entries. Those that it has, or has refused, are removed. The
// others are put into the log, and published again.
func (j *Journal) repair(ctx context.Context, absent []*entry) error {
	again := 0
	for some := range slices.Chunk(absent, eventlog.MaxKnown) {
		if again >= repairsAtOnce {
			break
		}
		ids, letters := make([]string, len(some)), make([]string, len(some))
		for i, e := range some {
			ids[i], letters[i] = e.event.ID, bus.DeadLetterID(j.Eventlog, e.event.Type, e.event)
		}
		refused, err := j.DeadLetters.Known(ctx, letters)
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		known, err := j.Log.Known(ctx, ids)
		if err != nil {
			return err
		}
		var lost []event.Event
		for i, e := range some {
			if j.settle(ctx, e, refused[letters[i]], known[ids[i]]) {
				lost = append(lost, e.event)
			}
		}
		again += len(lost)
		j.append(ctx, lost)
	}
	j.wakePublisher()
	return nil
}

// append puts events into the log without the bus. What fails is tried again when the events
// are absent the next time.
func (j *Journal) append(ctx context.Context, lost []event.Event) {
	byType := map[event.Type][]event.Event{}
	for _, e := range lost {
		byType[e.Type] = append(byType[e.Type], e)
	}
	for t, events := range byType {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := j.Appender.Append(call, t, events)
		cancel()
		if err != nil {
			slog.WarnContext(ctx, "can't put events into the log without the bus", "type", t, "events", len(events), "error", err)
		}
	}
}

// settle decides what becomes of an entry that the log was asked for, and says whether the
// log lacks it. Then it is published again.
func (j *Journal) settle(ctx context.Context, e *entry, isRefused, isKnown bool) (isLost bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.Now()
	switch {
	case j.entries[e.event.ID] != e || !j.isAbsent(e, now): // it has changed meanwhile
	case isRefused:
		slog.ErrorContext(ctx, "eventlog has refused an event of a command, which is given up: see the dead letters", "type", e.event.Type, "event", e.event.ID, "entity", e.event.Subject)
		j.Repairs.Add(repairs.GivenUp, 1)
		delete(j.used, e.key)
		j.remove(e)
	case isKnown && !e.wasKnown:
		e.wasKnown = true
	case isKnown:
		j.remember(e, j.end.Log)
		j.remove(e)
	case e.mayBeLogged: // it was published now, and may be on its way
		e.mayBeLogged, e.checkAt = false, e.published.Add(absentAfter)
	default:
		slog.WarnContext(ctx, "the log lacks an event of a command, putting it there and publishing it again", "type", e.event.Type, "event", e.event.ID, "entity", e.event.Subject)
		j.Repairs.Add(cmp.Or(e.kind, repairs.PublishedAgain), 1)
		e.kind, e.wasKnown = "", false
		e.repeats++
		e.queuedAt = now
		j.enqueue(e)
		isLost = true
	}
	return isLost
}

// Tidy removes the pages of which no event is needed any more.
func (j *Journal) Tidy(ctx context.Context) {
	if err := j.removePages(ctx); err != nil {
		slog.WarnContext(ctx, "can't remove pages of the journal, retrying", "error", err)
	}
}

func (j *Journal) removePages(ctx context.Context) error {
	j.mu.Lock()
	var keys []string
	for key, p := range j.pages {
		if p.open == 0 {
			keys = append(keys, key)
		}
	}
	j.mu.Unlock()
	for some := range slices.Chunk(keys, eventlog.MaxKnown) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := j.Store.Drop(call, some...)
		cancel()
		if err != nil {
			return err
		}
		j.mu.Lock()
		for _, key := range some {
			delete(j.pages, key)
		}
		j.mu.Unlock()
	}
	return nil
}
