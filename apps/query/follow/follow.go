package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

const (
	// retryDelay is between reads that fail.
	retryDelay = 100 * time.Millisecond
	// quietStart is for how long a follower that has not yet read the log does not warn
	// of it: all services start at once, and eventlog or a sidecar may not be there yet.
	quietStart = 30 * time.Second
	// bellGrace is how long the waiting read gets to bring the event that the bus
	// announced, before the log is asked anew.
	bellGrace = 10 * time.Millisecond
	// lookPause is between two questions where the log ends.
	lookPause = 50 * time.Millisecond
)

// follower keeps the model up with the log.
type follower struct {
	model     *model
	log       eventlog.Reader
	snapshots *snapshots

	bell chan event.Event

	mu      sync.Mutex
	waiting context.CancelFunc // ends the read that waits, or nil
	rung    bool               // that the bell has rung: the next read asks at once
	looking bool               // the same, until it is known where the log ends

	looks chan struct{}
}

func newFollower(m *model, l eventlog.Reader, s *snapshots) *follower {
	return &follower{model: m, log: l, snapshots: s, bell: make(chan event.Event, 1), looks: make(chan struct{}, 1)}
}

// hear takes events off the bus, as a doorbell alone: what they say is read from
// the log, so that every replica shows a prefix of it. One that contradicts the
// log is an ErrPoison.
func (f *follower) hear(_ context.Context, events []event.Event) []error {
	for _, e := range slices.Backward(events) {
		if !f.model.has(e) {
			f.ring(e) // of a batch that is redelivered in part, the last may be known
			break
		}
	}
	errs := make([]error, len(events))
	for i, e := range events {
		if f.model.contradicts(e) {
			errs[i] = fmt.Errorf("%w: %s is in the log with other content", bus.ErrPoison, e.Subject)
		}
	}
	return errs
}

func (f *follower) ring(e event.Event) {
	for {
		select {
		case f.bell <- e:
			return
		default:
		}
		select {
		case <-f.bell: // the younger event stands for the older, too
		default:
		}
	}
}

// answerBell has the log read at once when the bus knows more than the model.
func (f *follower) answerBell(ctx context.Context) {
	for {
		var e event.Event
		select {
		case e = <-f.bell:
		case <-ctx.Done():
			return
		}
		if f.model.has(e) {
			continue
		}
		select {
		case <-time.After(bellGrace):
		case <-ctx.Done():
			return
		}
		if !f.model.has(e) {
			f.askAtOnce(&f.rung)
		}
	}
}

// askAtOnce ends the read that waits, and sets why the next one does not wait.
func (f *follower) askAtOnce(why *bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*why = true
	if f.waiting != nil {
		f.waiting()
	}
}

// look has the log asked where it ends, without waiting for it. The model says so.
func (f *follower) look() {
	select {
	case f.looks <- struct{}{}:
	default:
	}
}

// answerLooks has the log asked at once, and no more often than each lookPause: any
// visitor may have it asked.
func (f *follower) answerLooks(ctx context.Context) {
	for {
		select {
		case <-f.looks:
			f.askAtOnce(&f.looking)
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
	}
}

// approach is the model's way to the end of the log.
type approach struct {
	began time.Time
	// from is the number of the snapshot that it began with, or 0.
	from uint64
	// goal is where the log stood at first, once that is known.
	goal  uint64
	known bool
}

// run starts from the snapshot and reads the log on from there, for as long as
// ctx lives. The model is ready once it stands where the log stood at first. When its
// position is not in the log it begins anew, and is not ready until then.
func (f *follower) run(ctx context.Context) {
	way := approach{began: time.Now(), from: f.loadSnapshot(ctx)}
	go f.answerBell(ctx)
	go f.answerLooks(ctx)
	for failing := false; ctx.Err() == nil; {
		read := f.readOn
		if !f.model.isReady() {
			read = f.catchUp
		}
		last, err := read(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			continue // the bell rang
		case errors.Is(err, eventlog.ErrMisfit):
			f.beginAnew(ctx, err)
			way = approach{began: time.Now()}
			continue
		case err != nil:
			if !failing && (way.known || time.Since(way.began) >= quietStart) {
				slog.WarnContext(ctx, "can't read the event log, trying on", "at", f.model.at(), "error", err)
				failing = true
			}
			select {
			case <-time.After(retryDelay):
			case <-ctx.Done():
			}
			continue
		case failing:
			slog.InfoContext(ctx, "reading the event log again", "at", f.model.at())
			failing = false
		}
		if !way.known {
			way.goal, way.known = last, true
			if last < way.from { // only the version before (3b4f435) does not say that it is a misfit
				f.beginAnew(ctx, fmt.Errorf("%w: it ends at %d", eventlog.ErrMisfit, last))
				way = approach{began: time.Now()}
				continue
			}
		}
		f.arrive(ctx, way)
	}
}

// arrive makes the model ready once it stands at its goal.
func (f *follower) arrive(ctx context.Context, way approach) {
	at := f.model.at()
	if at < way.goal || f.model.isReady() {
		return
	}
	// Said first, so that who sees it ready finds it said.
	slog.InfoContext(ctx, "caught up", "at", at, "snapshot", way.from, "replayed", at-way.from, "took", time.Since(way.began).Round(time.Millisecond))
	f.model.setReady()
	debug.FreeOSMemory() // what the replay needed and the model doesn't
}

// beginAnew drops what was read of a log that is not there any more, and the snapshot of
// it.
func (f *follower) beginAnew(ctx context.Context, why error) {
	slog.WarnContext(ctx, "the event log is another one, or has lost its end: reading it from its start", "position", f.model.standing().at.String(), "error", why)
	f.model.reset()
	f.snapshots.distrust()
}

// loadSnapshot loads the snapshot and returns its number, or 0 if there is none of use.
// One that does not say which log it is of (3b4f435) is compared by what is in it.
func (f *follower) loadSnapshot(ctx context.Context) uint64 {
	from := f.snapshots.load(ctx, f.model)
	if from == 0 || f.model.standing().at.Event != "" {
		return from // the first read compares it
	}
	for ctx.Err() == nil {
		err := f.compareNewest(ctx)
		if err == nil {
			return from
		}
		if errors.Is(err, eventlog.ErrMisfit) {
			f.beginAnew(ctx, err)
			return 0
		}
		slog.WarnContext(ctx, "can't compare the snapshot with the event log, trying on", "error", err)
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
	return 0
}

// compareNewest returns an eventlog.ErrMisfit if the log's event of what was changed last in the
// model is another one.
func (f *follower) compareNewest(ctx context.Context) error {
	number, id := f.model.newest()
	if number == 0 {
		return fmt.Errorf("%w: there is nothing in the snapshot to compare", eventlog.ErrMisfit)
	}
	if err := eventlog.Compare(ctx, f.log, eventlog.Position{Sequence: f.model.at()}); err != nil {
		return err
	}
	e, err := eventlog.EventAt(ctx, f.log, number)
	if err == nil && e.Subject != id.String() {
		err = fmt.Errorf("%w: event %d is of %s, and of %s in the snapshot", eventlog.ErrMisfit, number, e.Subject, id)
	}
	return err
}

// batchesAhead is how many batches may be read, or wait to be folded, behind the one
// whose turn it is.
const batchesAhead = 4

// errShort ends a replay's reads after a batch that isn't full: the replica of the
// event log that gave it knew no more, so what others gave does not follow.
var errShort = errors.New("the batch is not full")

// catchUp reads and applies what the log has after the model's position: while one
// batch is folded those after it are read and decoded. It returns the number of the
// log's last event when the reading began.
func (f *follower) catchUp(ctx context.Context) (last uint64, err error) {
	from := f.model.standing().at
	at := from.Sequence
	first, end, err := f.log.Read(ctx, from, eventlog.ReadLimit, 0)
	if err != nil {
		return 0, err
	}
	f.model.setLog(end.Log)
	last = end.Sequence
	group, ctx := errgroup.WithContext(ctx)
	reads := make(chan chan []event.Event, batchesAhead)
	group.Go(func() error {
		defer close(reads)
		for after := at; after == at || after < last; after += eventlog.ReadLimit {
			batch := make(chan []event.Event, 1)
			select {
			case reads <- batch: // in their order, whichever is answered first
			case <-ctx.Done():
				return ctx.Err()
			}
			if after == at {
				batch <- first
				continue
			}
			group.Go(func() error {
				events, _, err := f.log.Read(ctx, eventlog.Position{Sequence: after, Log: end.Log}, eventlog.ReadLimit, 0)
				if err == nil {
					batch <- events
				}
				return err
			})
		}
		return nil
	})
	group.Go(func() error {
		for batch := range reads {
			var events []event.Event
			select {
			case events = <-batch:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.model.apply(events); err != nil {
				return err
			}
			if len(events) < eventlog.ReadLimit {
				return errShort
			}
		}
		return nil
	})
	if err = group.Wait(); errors.Is(err, errShort) {
		err = nil
	}
	return last, err
}

// readOn waits for what comes after the model's position, and applies it.
func (f *follower) readOn(ctx context.Context) (last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := f.beginRead(cancel)
	defer f.endWait()
	began := time.Now()
	events, end, err := f.log.Read(ctx, f.model.standing().at, eventlog.ReadLimit, wait)
	if err != nil {
		return 0, err
	}
	f.model.setLog(end.Log)
	if err := f.model.apply(events); err != nil {
		return 0, err
	}
	if wait == 0 {
		f.sawEnd(end, len(events), began)
	}
	return end.Sequence, nil
}

// sawEnd notes where the log ends, by the answer to a read that did not wait.
func (f *follower) sawEnd(end eventlog.Position, brought int, began time.Time) {
	if brought > 0 {
		began = began.Add(-eventlog.MaxAge)
	} else {
		f.mu.Lock()
		f.looking = false
		f.mu.Unlock()
	}
	f.model.sawEnd(end.Sequence, began)
}

// beginRead returns for how long the read that begins may wait. Until endWait the
// bell cancels one that waits. One that the bell asked for brings what there is, and
// isn't ended: otherwise a bell that rings faster than the log answers would end every
// read.
func (f *follower) beginRead(cancel context.CancelFunc) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rung || f.looking {
		f.rung = false
		return 0
	}
	f.waiting = cancel
	return eventlog.ReadWait
}

func (f *follower) endWait() {
	f.mu.Lock()
	f.waiting = nil
	f.mu.Unlock()
}
