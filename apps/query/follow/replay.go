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

// errShort ends a replay after a batch that is not full: the replica of the event log that
// gave it knew no more, so what others gave does not follow.
var errShort = errors.New("the batch is not full")

// replay reads and folds what the log has after the model's position. It returns the
// number of the log's last event when it began.
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

// replayRest reads and folds what the log has after the model's position up to end, in
// batches that are read at once and folded in turn.
//
// Each batch begins with the last event of the one before it. So the model sees if the log
// has lost its end, and grown again, in between.
func (f *Follower) replayRest(ctx context.Context, end eventlog.Position) error {
	const limit = 1 + eventlog.ReadLimit
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	turn := make(chan struct{})
	close(turn)
	for at := f.model.Status().At.Sequence; at < end.Sequence && ctx.Err() == nil; at += eventlog.ReadLimit {
		mine, next := turn, make(chan struct{})
		turn = next
		group.Go(func() error {
			events, _, err := f.log.Read(ctx, eventlog.Position{Sequence: at - 1, Log: end.Log}, limit, 0)
			if err != nil {
				return err
			}
			select {
			case <-mine:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.model.Apply(end.Log, events); err != nil {
				return err
			}
			if len(events) < limit {
				return errShort
			}
			close(next)
			return nil
		})
	}
	if err := group.Wait(); !errors.Is(err, errShort) {
		return err
	}
	return nil
}
