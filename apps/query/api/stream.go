package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// heartbeat is how often a quiet stream shows that it lives.
const heartbeat = 15 * time.Second

// stream sends every change after the one in Last-Event-ID, or from now on, as
// server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// Their ids are positions. A stream that begins anew says so with the event "reset": what
// its reader has is not of this log, or no longer.
func (a *API) stream(c *gin.Context) {
	end, err := a.streams.Begin()
	if err != nil {
		web.Fail(c, err)
		return
	}
	defer end()
	from, err := a.resume(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	// A proxy that compresses (such as Express's compression) would hold events back
	// until it has enough of them, and one that buffers (nginx), too.
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	from.at.SetHeaders(h)
	c.Status(http.StatusOK)

	// An id without data: a reader that is cut off before the first change knows where it
	// stood.
	first := fmt.Appendf(nil, "id: %s\n\n", from.at)
	if from.isAnew {
		first = fmt.Appendf(nil, "id: %s\nevent: reset\ndata: {\"position\":%q}\n\n", from.at, from.at)
	}
	if send(c, first) {
		a.sendChanges(c, from)
	}
}

// start is where a stream goes on from, and in which life of the model.
type start struct {
	at   eventlog.Position
	life context.Context //nolint:containedctx // it is the model's
	// isAnew says that it is not where the reader stood.
	isAnew bool
}

// resume returns where a stream starts: at the position in Last-Event-ID, or now. One that
// is not in the log has the stream begin anew, now. A number alone, which the version
// before positions (3b4f435) gave, is taken unless it is ahead of the log: it does not say
// which log it is of.
func (a *API) resume(c *gin.Context) (start, error) {
	text := c.GetHeader("Last-Event-ID")
	if text == "" {
		return a.startNow(false)
	}
	at, err := eventlog.ParsePosition(text)
	if err != nil {
		return start{}, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("Last-Event-ID is %.40q; the id of an event of this stream is expected.", text))
	}
	life, err := a.reach(c.Request.Context(), at)
	if err == nil {
		err = a.compare(c.Request.Context(), at)
	}
	problem := new(web.Problem)
	switch {
	case errors.As(err, &problem) && problem.Status == http.StatusConflict:
		return a.startNow(true)
	case life != nil:
		return start{at: at, life: life}, nil // what can't be compared now is compared when it is read
	}
	return start{}, err
}

func (a *API) startNow(isAnew bool) (start, error) {
	now := a.model.Status()
	if !now.Ready {
		return start{}, errCatchingUp
	}
	return start{now.At, now.Life, isAnew}, nil
}

// sendChanges sends all changes after the start, until the reader goes away, the service
// stops, the model begins anew, or a change can't be read: a reader that comes back goes
// on from the last id that it got.
func (a *API) sendChanges(c *gin.Context, from start) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	defer context.AfterFunc(from.life, cancel)()
	for cursor := from.at; ; {
		frames, now, inMemory := a.model.ChangesAfter(cursor.Sequence)
		upTo := now.At
		if !inMemory {
			var err error
			if frames, upTo, err = a.changesFromLog(ctx, cursor, now.At.Sequence); err != nil {
				return
			}
		}
		if from.life.Err() != nil || len(frames) > 0 && !send(c, frames...) {
			return
		}
		cursor = upTo
		if !inMemory {
			continue
		}
		select {
		case <-now.Changed:
		case <-beat.C:
			if !send(c, []byte(": still here\n\n")) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// changesFromLog returns the frames of events after a position that are no longer in
// memory, and the position that they go up to. None is beyond last, where the model
// stands.
func (a *API) changesFromLog(ctx context.Context, from eventlog.Position, last uint64) ([][]byte, eventlog.Position, error) {
	if err := a.reading.Acquire(ctx, 1); err != nil {
		return nil, from, err
	}
	defer a.reading.Release(1)
	limit := int(min(eventlog.ReadLimit, last-from.Sequence)) //nolint:gosec // at most ReadLimit
	events, _, err := a.log.Read(ctx, from, limit, 0)
	if err == nil && len(events) == 0 {
		err = errors.New("the log has no events that the model has")
	}
	if err != nil {
		return nil, from, err
	}
	frames, upTo := a.model.Frames(events)
	return frames, upTo, nil
}

// send sends parts of a stream to its reader at once, and says whether it took them.
func send(c *gin.Context, parts ...[]byte) bool {
	for _, b := range parts {
		if _, err := c.Writer.Write(b); err != nil {
			return false
		}
	}
	return http.NewResponseController(c.Writer).Flush() == nil
}
