package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// positionWait bounds how long a request waits for the model to reach a position, and for
// the log to say whether a position is one of it.
const positionWait = 2 * time.Second

// What readers get while query can't answer them.
var (
	errCatchingUp = web.Unavailable("Query is catching up with the event log.")
	errLogAway    = web.Unavailable("The event log can't be asked now.")
)

// reach waits until the model stands at a position or beyond it. The error is a
// *web.Problem: 503 if the model is not ready or does not get there within positionWait,
// 409 once it is known that the log does not have the position.
func (a *API) reach(ctx context.Context, p eventlog.Position) (life context.Context, err error) {
	arrived := a.now()
	timeout := time.NewTimer(positionWait)
	defer timeout.Stop()
	for {
		now := a.model.Status()
		isElsewhere := p.Log != "" && now.At.Log != "" && p.Log != now.At.Log
		// Another replica may know more than this one, so the log is asked first.
		wasAsked := now.LogEndSeen.After(arrived)
		switch {
		case !now.Ready:
			return nil, errCatchingUp
		case !isElsewhere && p.Sequence <= now.At.Sequence:
			return now.Life, nil
		case wasAsked && isElsewhere:
			return nil, web.NewProblem(http.StatusConflict, fmt.Sprintf("This is not log %s but %s, which ends at event %d.", p.Log, now.At.Log, now.LogEnd))
		case wasAsked && p.Sequence > now.LogEnd:
			return nil, web.NewProblem(http.StatusConflict, fmt.Sprintf("There is no event %d: the log ends at event %d.", p.Sequence, now.LogEnd))
		}
		a.askLog()
		select {
		case <-now.Changed:
			continue
		case <-timeout.C:
		case <-a.stopping.Done():
		case <-ctx.Done():
		}
		return nil, web.Unavailable(fmt.Sprintf("This replica stands at event %d, not yet at %d.", now.At.Sequence, p.Sequence))
	}
}

// compare returns nil if the model, which stands at a position or beyond it, has been
// there. The error is a *web.Problem: 409 if the log has another event there, 503 if the
// log can't be asked.
func (a *API) compare(ctx context.Context, p eventlog.Position) error {
	fits, known := a.model.Compare(p)
	if !known {
		ctx, cancel := context.WithTimeout(ctx, positionWait)
		defer cancel()
		if a.reading.Acquire(ctx, 1) != nil {
			return errLogAway
		}
		defer a.reading.Release(1)
		err := eventlog.Compare(ctx, a.log, p)
		if err != nil && !errors.Is(err, eventlog.ErrMisfit) {
			return errLogAway
		}
		fits = err == nil
	}
	if !fits {
		return web.NewProblem(http.StatusConflict, fmt.Sprintf("Event %d of the log is not %.40q.", p.Sequence, p.Event))
	}
	return nil
}
