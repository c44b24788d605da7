package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// refreshTimeout bounds one such look.
const refreshTimeout = time.Second

// compressFrom is how many events an answer has at least to be compressed, for
// readers that take zstd: a replay's bytes pass through two sidecars, which is most
// of what it costs. The few events of a read that waited are not worth it.
const compressFrom = 256

type api struct {
	log      *eventLog
	stopping context.Context
}

// question is what a reader asks for.
type question struct {
	// from is the position that it goes on from, as far as it says.
	from  eventlog.Position
	limit uint64
	wait  time.Duration
}

func questionOf(c *gin.Context) (q question, err error) {
	var wait uint64
	for _, p := range []struct {
		name            string
		into            *uint64
		otherwise, most uint64
	}{{"after", &q.from.Sequence, 0, 1 << 62}, {"limit", &q.limit, eventlog.DefaultLimit, eventlog.MaxLimit}, {"wait", &wait, 0, eventlog.MaxWait}} {
		if *p.into, err = web.Number(c, p.name, p.otherwise, 0, p.most); err != nil {
			return question{}, err
		}
	}
	q.wait = time.Duration(wait) * time.Second //nolint:gosec // at most eventlog.MaxWait
	q.from.Log, q.from.Event = c.Query("log"), c.Query("event")
	return q, nil
}

// events answers with the events after a number, in order and without gaps, as a
// batch of CloudEvents (JSON event format, section 4). It waits for at most
// `wait` seconds until there is one. A reader that says which log it has read, and
// which event it read last, is refused with 409 when they are not this log's.
func (a *api) events(c *gin.Context) {
	q, err := questionOf(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx := c.Request.Context()
	known, err := a.log.end()
	if errors.Is(err, errLost) { // it may be gone as a whole now, and begin anew
		err = a.refresh(ctx)
	}
	if err != nil {
		a.broken(c, err)
		return
	}
	// A reader that does not wait is told where the log stands, whatever of it it gets.
	mustLook := known.Sequence <= q.from.Sequence || q.isElsewhere(known)
	if mustLook || q.wait == 0 && known.Sequence < q.from.Sequence+q.limit && a.log.unlooked() > eventlog.MaxAge {
		if err := a.await(ctx, q); err != nil && mustLook {
			a.broken(c, err)
			return
		}
	}
	end, err := a.log.end()
	if err == nil {
		err = a.fits(ctx, q.from, end)
	}
	if misfit := new(web.Problem); errors.As(err, &misfit) {
		end.SetHeaders(c.Writer.Header())
		web.Fail(c, misfit)
		return
	}
	if err != nil {
		a.broken(c, err)
		return
	}
	end.SetHeaders(c.Writer.Header())
	a.write(c, end.Log, q.from.Sequence, min(end.Sequence, q.from.Sequence+q.limit))
}

// isElsewhere says whether the position is in no part of the log up to end.
func (q question) isElsewhere(end eventlog.Position) bool {
	return q.from.Sequence > end.Sequence || q.from.Log != "" && q.from.Log != end.Log
}

// fits returns a *web.Problem, 409, for a position that is not one of the log that ends
// at end: nothing of the log follows it.
func (a *api) fits(ctx context.Context, from, end eventlog.Position) error {
	refuse := func(format string, args ...any) error {
		return web.NewProblem(http.StatusConflict, fmt.Sprintf(format+" Read the log from its start.", args...))
	}
	switch {
	case from.Log != "" && from.Log != end.Log:
		return refuse("This is not log %.40q but %s, which ends at event %d.", from.Log, end.Log, end.Sequence)
	case from.Sequence > end.Sequence:
		return refuse("There is no event %d: log %s ends at event %d.", from.Sequence, end.Log, end.Sequence)
	case from.Event == "":
		return nil
	}
	id, err := a.log.idAt(ctx, end, from.Sequence)
	if err == nil && id != from.Event {
		err = refuse("Event %d of log %s is not %.40q but %q; the log has lost its end, and has grown to %d again.", from.Sequence, end.Log, from.Event, id, end.Sequence)
	}
	return err
}

// await waits until the log goes beyond the position, or the position is in no part of
// it, for at most as long as the reader waits. For one that does not wait it looks
// whether there is more.
func (a *api) await(ctx context.Context, q question) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	for deadline := time.Now().Add(q.wait); ; {
		end, err := a.log.end()
		if err != nil {
			return err
		}
		pause := eventlog.MaxAge - a.log.unlooked()
		if q.wait == 0 || pause <= 0 || q.isElsewhere(end) {
			if err := a.refresh(ctx); err != nil && (ctx.Err() == nil || q.isElsewhere(end)) {
				return err // nobody is refused by what this replica knows alone
			}
			pause = eventlog.MaxAge
			if end, err = a.log.end(); err != nil {
				return err
			}
		}
		left := time.Until(deadline)
		if left <= 0 || end.Sequence > q.from.Sequence || q.isElsewhere(end) || ctx.Err() != nil {
			return nil
		}
		waiting, stop := context.WithTimeout(ctx, min(left, pause))
		a.log.wait(waiting, q.from.Sequence)
		stop()
		if a.log.last() > q.from.Sequence {
			return nil
		}
	}
}

func (a *api) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return a.log.refresh(ctx)
}

// write sends the log's events with numbers in (after, upTo].
func (a *api) write(c *gin.Context, log string, after, upTo uint64) {
	c.Header("Content-Type", eventlog.ContentType)
	if after >= upTo {
		_, _ = c.Writer.WriteString("[]\n")
		return
	}
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	out := answer{c.Writer, upTo-after >= compressFrom && web.AcceptsEncoding(c.Request, "zstd")}
	if out.compressed {
		c.Header("Content-Encoding", "zstd")
	}
	before := opening
	for r := range a.readAhead(ctx, log, after, upTo) {
		if r.err == nil {
			r.err = reach(r.segments, upTo)
		}
		if r.err != nil {
			a.broken(c, r.err)
			return
		}
		for i, s := range r.segments {
			r.segments[i] = nil // so that one is unpacked at a time
			var gone error
			if out.compressed && s.packed != nil && after <= s.base() && s.last() <= upTo {
				gone = out.stored(before, s)
			} else {
				if err := s.unpack(); err != nil {
					a.broken(c, err)
					return
				}
				gone = out.write(slices.Concat(before, s.between(after, upTo)))
			}
			if gone != nil {
				return
			}
			before, after = separator, min(s.last(), upTo)
		}
	}
	if after < upTo {
		a.broken(c, ctx.Err()) // the reader is gone, as far as the server knows
		return
	}
	_ = out.write([]byte("\n]\n"))
}

// reach returns an error unless each of the segments goes up to the number, or is full:
// what follows one that ends earlier would leave a gap.
func reach(segments []*segment, upTo uint64) error {
	for _, s := range segments {
		if !s.full() && s.last() < upTo {
			return fmt.Errorf("the log has no event %d: %s ends before it", s.last()+1, s.name())
		}
	}
	return nil
}

// answer writes a batch, for a reader that takes it as zstd frames, one after
// another (RFC 8878, section 3): a full segment is one as it is stored.
type answer struct {
	w          io.Writer
	compressed bool
}

func (a answer) write(b []byte) error {
	if a.compressed {
		b = pack(b)
	}
	_, err := a.w.Write(b)
	return err
}

// stored writes a packed segment as it is, after what comes before it.
func (a answer) stored(before []byte, s *segment) error {
	if err := a.write(before); err != nil {
		return err
	}
	_, err := a.w.Write(s.packed)
	return err
}

// reading is one read of the log.
type reading struct {
	segments []*segment
	err      error
}

// readAhead reads the segments of the log's events with numbers in (after, upTo]: the
// next ones while the last are sent. It ends with the first error, or with ctx.
func (a *api) readAhead(ctx context.Context, log string, after, upTo uint64) <-chan reading {
	readings := make(chan reading)
	number, last := int(after/segmentSize), int((upTo-1)/segmentSize) //nolint:gosec // the log is smaller than that
	go func() {
		defer close(readings)
		for number <= last {
			segments, err := a.log.read(ctx, log, number, last-number+1)
			select {
			case readings <- reading{segments, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			number += len(segments)
		}
	}()
	return readings
}

// broken ends an answer that can't be completed. What was sent is then no JSON,
// so that nobody takes a part for the whole.
func (a *api) broken(c *gin.Context, err error) {
	slog.WarnContext(c.Request.Context(), "can't read the log", "error", err)
	if !c.Writer.Written() {
		c.Writer.Header().Del("Content-Encoding")
		web.Fail(c, web.Unavailable("The event log can't be read: "+err.Error()+"."))
	}
}
