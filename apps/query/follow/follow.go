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
	// retryDelay is the pause after a read that failed.
	retryDelay = 100 * time.Millisecond
	// deliveryGrace is how long after a delivery the follower is woken up, unless the read
	// that waits has brought the event by then.
	deliveryGrace = 10 * time.Millisecond
)

// Follower reads the log into a model.
type Follower struct {
	model     *model.Model
	log       eventlog.Reader
	snapshots *snapshot.Snapshots
	now       func() time.Time
	wakeup    Wakeup

	// started is when Run began. It bounds the quiet start.
	started time.Time
	// reached says that the log was read since then, so that every failure is worth a
	// warning. That stays so when the model is reset: the services do not start again.
	reached bool
}

// New returns a follower that fills m, which must be empty. From then on only the follower
// may change m.
func New(m *model.Model, log eventlog.Reader, snapshots *snapshot.Snapshots, now func() time.Time) *Follower {
	return &Follower{model: m, log: log, snapshots: snapshots, now: now}
}

func (f *Follower) at() uint64 { return f.model.Status().At.Sequence }

// Wake makes the follower read at once what is new in the log, and where the log ends.
func (f *Follower) Wake() { f.wakeup.Wake() }

// Deliver takes events off the bus, and uses them as a wake-up only. The follower reads
// their content from the log, so that every replica shows a prefix of the log. The error
// for an event that contradicts the log is a bus.ErrPoison.
func (f *Follower) Deliver(_ context.Context, events []event.Event) []error {
	errs := make([]error, len(events))
	var missing *event.Event // the last event that the model lacks; the log has most others before it
	for i, e := range events {
		switch {
		case f.model.Contradicts(e):
			errs[i] = fmt.Errorf("%w: %s is in the log with other content", bus.ErrPoison, e.Subject)
		case !f.model.Has(e):
			missing = &events[i]
		}
	}
	if missing != nil {
		time.AfterFunc(deliveryGrace, func() {
			if !f.model.Has(*missing) {
				f.Wake()
			}
		})
	}
	return errs
}

// Run loads the snapshot and reads the log from there on, until ctx is done. When the
// model's position is not in the log, it resets the model and reads the log from its start.
func (f *Follower) Run(ctx context.Context) {
	f.started = f.now()
	began := f.started
	f.snapshots.Load(ctx)
	for ctx.Err() == nil {
		err := f.follow(ctx, began)
		if errors.Is(err, eventlog.ErrMisfit) {
			slog.WarnContext(ctx, "the event log is another one, or has lost its end: reading it from its start", "position", f.model.Status().At.String(), "error", err)
			f.model.Reset()
			f.snapshots.Distrust()
			began = f.now()
		}
	}
}

// follow lets the model catch up with the log and then keeps it up to date. The attempt to
// catch up began at the given time. It returns only with an ErrMisfit, or when ctx is done.
func (f *Follower) follow(ctx context.Context, began time.Time) error {
	err := f.retry(ctx, f.compareOldSnapshot)
	if err == nil {
		err = f.catchUp(ctx, began)
	}
	for err == nil {
		err = f.retry(ctx, f.readNext)
	}
	return err
}

// retry calls read until that succeeds. It returns an error only if that is an ErrMisfit,
// or when ctx is done.
func (f *Follower) retry(ctx context.Context, read func(context.Context) error) error {
	for failing := false; ; {
		err := read(ctx)
		switch {
		case err == nil && failing:
			slog.InfoContext(ctx, "reading the event log again", "at", f.at())
			return nil
		case err == nil, errors.Is(err, eventlog.ErrMisfit), ctx.Err() != nil:
			return err
		case !failing && (f.reached || f.now().Sub(f.started) >= eventlog.QuietStart):
			slog.WarnContext(ctx, "can't read the event log, retrying", "at", f.at(), "error", err)
			failing = true
		}
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
}

// catchUp reads the log up to the end that the first read reports, and then makes the model
// ready. It does not wait for events that are appended meanwhile: with a busy log that
// would never end. It logs how long that took since began.
func (f *Follower) catchUp(ctx context.Context, began time.Time) error {
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
		if first && end < from { // a log of the version before positions (3b4f435); others answer with an ErrMisfit
			return fmt.Errorf("%w: it ends at %d", eventlog.ErrMisfit, end)
		}
		if first {
			goal, f.reached = end, true
		}
	}
	// Logged before SetReady, so that the output of a query that is ready has this line.
	slog.InfoContext(ctx, "caught up", "at", f.at(), "snapshot", from, "replayed", f.at()-from, "took", f.now().Sub(began).Round(time.Millisecond))
	f.model.SetReady()
	debug.FreeOSMemory() // what the replay needed and the model does not
	return nil
}

// readNext reads the events after the model's position and folds them. It waits for one if
// there is none, except after a wake-up. Then the answer also says where the log ends. If
// that read fails, the next one does not wait either.
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
		return f.readNext(ctx) // after the wake-up it does not wait
	}
	if err == nil {
		err = f.model.Apply(logEnd.Log, events)
	}
	if mayWait {
		return err // the answer may not say where the log ends now: a replica with new events does not check that
	}
	if err != nil {
		f.wakeup.Retry()
		return err
	}
	seen := began
	if len(events) > 0 {
		seen = began.Add(-eventlog.MaxAge) // how old the log's end may be in an answer with events
	}
	f.model.SawLogEnd(logEnd.Sequence, seen)
	return nil
}

// compareOldSnapshot returns an ErrMisfit if the model comes from a snapshot of another
// log. Snapshots of the version before positions (3b4f435) name neither their log nor
// their last event, so a read does not find that out. The entity of the model that changed
// last is compared with the subject of the log's event of the same number.
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
