// Package follow keeps query's read model up with the event log.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

const (
	// retryDelay is between reads that fail.
	retryDelay = 100 * time.Millisecond
	// deliveryGrace is how long the read that waits gets to bring an event that the bus
	// delivered, before the follower is woken up.
	deliveryGrace = 10 * time.Millisecond
)

// Follower reads the log into a model.
type Follower struct {
	model     *model.Model
	log       eventlog.Reader
	snapshots *snapshot.Snapshots
	now       func() time.Time
	wakeup    Wakeup

	began time.Time
	// reached says that the log has been read since then.
	reached bool
}

// New returns a follower that fills an empty model. Nobody else may change that.
func New(m *model.Model, log eventlog.Reader, snapshots *snapshot.Snapshots, now func() time.Time) *Follower {
	return &Follower{model: m, log: log, snapshots: snapshots, now: now}
}

func (f *Follower) at() uint64 { return f.model.Status().At.Sequence }

// Wake has the log asked at once where it ends, and what is new.
func (f *Follower) Wake() { f.wakeup.Wake() }

// Deliver takes events off the bus, as a wake-up only: what they say is read from the log,
// so that every replica shows a prefix of it. One that contradicts the log is a
// bus.ErrPoison.
func (f *Follower) Deliver(_ context.Context, events []event.Event) []error {
	errs := make([]error, len(events))
	var expected *event.Event // the last one that is to come from the log: the others come before
	for i, e := range events {
		switch {
		case f.model.Contradicts(e):
			errs[i] = fmt.Errorf("%w: %s is in the log with other content", bus.ErrPoison, e.Subject)
		case !f.model.Has(e):
			expected = &events[i]
		}
	}
	if expected != nil {
		time.AfterFunc(deliveryGrace, func() {
			if !f.model.Has(*expected) {
				f.Wake()
			}
		})
	}
	return errs
}

// Run loads the snapshot and reads the log on from there, for as long as ctx lives. When
// the model's position is not in the log it begins anew.
func (f *Follower) Run(ctx context.Context) {
	f.began = f.now()
	f.snapshots.Load(ctx)
	for ctx.Err() == nil {
		err := f.follow(ctx)
		if errors.Is(err, eventlog.ErrMisfit) {
			slog.WarnContext(ctx, "the event log is another one, or has lost its end: reading it from its start", "position", f.model.Status().At.String(), "error", err)
			f.model.Reset()
			f.snapshots.Distrust()
			f.began = f.now()
		}
	}
}

// follow has the model catch up with the log and then keeps it up. It returns only with an
// ErrMisfit, or when ctx is done.
func (f *Follower) follow(ctx context.Context) error {
	err := f.retry(ctx, f.compareOldSnapshot)
	if err == nil {
		err = f.catchUp(ctx)
	}
	for err == nil {
		err = f.retry(ctx, f.readNext)
	}
	return err
}

// retry reads the log until that succeeds. It returns an error only if that is an
// ErrMisfit, or when ctx is done.
func (f *Follower) retry(ctx context.Context, read func(context.Context) error) error {
	for failing := false; ; {
		err := read(ctx)
		switch {
		case err == nil && failing:
			slog.InfoContext(ctx, "reading the event log again", "at", f.at())
			return nil
		case err == nil, errors.Is(err, eventlog.ErrMisfit), ctx.Err() != nil:
			return err
		case !failing && (f.reached || f.now().Sub(f.began) >= eventlog.QuietStart):
			slog.WarnContext(ctx, "can't read the event log, retrying", "at", f.at(), "error", err)
			failing = true
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// catchUp reads the log up to where it ended when it was first read, and makes the model
// ready. What is appended meanwhile is not waited for: a busy log would never be caught up
// with.
func (f *Follower) catchUp(ctx context.Context) error {
	from := f.at()
	for goal, first := uint64(0), true; first || f.at() < goal; first = false {
		var end uint64
		err := f.retry(ctx, func(ctx context.Context) (err error) {
			end, err = f.replay(ctx)
			return err
		})
		if err != nil {
			return err
		}
		if first && end < from { // only the version before positions (3b4f435) answers such a read
			return fmt.Errorf("%w: it ends at %d", eventlog.ErrMisfit, end)
		}
		if first {
			goal, f.reached = end, true
		}
	}
	// Logged first, so that it is in the log of a query that is ready.
	slog.InfoContext(ctx, "caught up", "at", f.at(), "snapshot", from, "replayed", f.at()-from, "took", f.now().Sub(f.began).Round(time.Millisecond))
	f.model.SetReady()
	debug.FreeOSMemory() // what the replay needed and the model does not
	return nil
}

// readNext waits for what comes after the model's position and folds it. After a wake-up
// it does not wait, and so the answer says where the log ends. If that read fails, the next
// one does not wait either.
func (f *Follower) readNext(ctx context.Context) error {
	began, from := f.now(), f.model.Status().At
	reading, mayWait, end := f.wakeup.Begin(ctx)
	defer end()
	wait := time.Duration(0)
	if mayWait {
		wait = eventlog.ReadWait
	}
	events, logEnd, err := f.log.Read(reading, from, eventlog.ReadLimit, wait)
	if err != nil && errors.Is(context.Cause(reading), errWoken) {
		return f.readNext(ctx) // which does not wait
	}
	if err == nil {
		err = f.model.Apply(logEnd.Log, events)
	}
	switch {
	case mayWait:
	case err != nil:
		f.wakeup.Retry()
	case len(events) > 0:
		f.model.SawLogEnd(logEnd.Sequence, began.Add(-eventlog.MaxAge))
	default:
		f.model.SawLogEnd(logEnd.Sequence, began)
	}
	return err
}

// compareOldSnapshot returns an ErrMisfit if the model is from a snapshot that is not of
// this log, where no position says so: one that the version before positions (3b4f435)
// wrote. It compares what was changed last.
func (f *Follower) compareOldSnapshot(ctx context.Context) error {
	at := f.model.Status().At
	if at.Sequence == 0 || at.Event != "" {
		return nil
	}
	_, posts := f.model.Copy()
	var last model.Entry
	for _, p := range posts {
		for _, e := range append(p.Comments, p.Entry) {
			if e.Sequence > last.Sequence {
				last = e
			}
		}
	}
	if last.Sequence == 0 {
		return fmt.Errorf("%w: the snapshot has nothing to compare", eventlog.ErrMisfit)
	}
	if err := eventlog.Compare(ctx, f.log, at); err != nil {
		return err
	}
	e, err := eventlog.EventAt(ctx, f.log, last.Sequence)
	if err == nil && e.Subject != last.ID.String() {
		err = fmt.Errorf("%w: event %d is of %s, and of %s in the snapshot", eventlog.ErrMisfit, last.Sequence, e.Subject, last.ID)
	}
	return err
}
