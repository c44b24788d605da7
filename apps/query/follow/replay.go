package follow

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// readsAtOnce is how many batches of a replay are read, or wait for their turn, at once:
// decoding them is most of its CPU time. With 4 a replay took a fifth longer.
const readsAtOnce = 6

// errShort ends a replay after a batch that is not full. The last batch is usually not full.
// Before that, the batch comes from a replica of the event log that knew no more events, and
// later batches, from other replicas, would leave a gap.
var errShort = errors.New("the batch is not full")

// replay reads and folds the log's events after the model's position. It returns the number
// of the last event that the log had when the replay began.
func (f *Follower) replay(ctx context.Context) (end uint64, err error) {
	events, at, err := f.log.Read(ctx, f.model.Status().At, eventlog.ReadLimit, 0)
	if err != nil {
		return 0, err
	}
	err = f.model.Apply(at.Log, events)
	if err == nil && len(events) == eventlog.ReadLimit {
		err = f.replayRest(ctx, at)
	}
	return at.Sequence, err
}

// replayRest reads and folds the log's events from the model's position up to end. It reads
// several batches at the same time, and folds them one after another.
//
// Each batch begins with the last event of the one before it. So the model notices if the
// log lost its end and grew again between two reads.
func (f *Follower) replayRest(ctx context.Context, end eventlog.Position) error {
	const limit = 1 + eventlog.ReadLimit
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	lastFolded := make(chan struct{}) // closed when the batch before the next one is folded
	close(lastFolded)
	for at := f.model.Status().At.Sequence; at < end.Sequence && ctx.Err() == nil; at += eventlog.ReadLimit {
		previousFolded, folded := lastFolded, make(chan struct{})
		lastFolded = folded
		group.Go(func() error {
			events, _, err := f.log.Read(ctx, eventlog.Position{Sequence: at - 1, Log: end.Log}, limit, 0)
			if err != nil {
				return err
			}
			select {
			case <-previousFolded:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.model.Apply(end.Log, events); err != nil {
				return err
			}
			if len(events) < limit {
				return errShort
			}
			close(folded)
			return nil
		})
	}
	if err := group.Wait(); !errors.Is(err, errShort) {
		return err
	}
	return nil
}
