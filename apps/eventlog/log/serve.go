package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// refreshTimeout bounds a read of the events that other replicas appended.
const refreshTimeout = time.Second

// compressFrom is the least number of events for which an answer is compressed, if the
// reader accepts zstd. Most of the cost of a replay is that its bytes pass through two
// sidecars. The few events of a read that waited are not worth compressing.
const compressFrom = 256

// reader answers GET /events.
type reader struct {
	log      *Log
	stopping context.Context
}

// Serve answers with the events of a log after a position, in order and without gaps, as
// a batch of CloudEvents. Once stopping is done no answer waits any more.
//
// The answer waits for at most ?wait= seconds until there is an event. A reader may say
// which log it has read (?log=) and which event it read last (?event=). It is refused with
// 409 if they are not of this log.
func Serve(stopping context.Context, log *Log) gin.HandlerFunc {
	return reader{log, stopping}.serve
}

// request is what a reader asks for.
type request struct {
	// from is the position to read after. Fields that the reader does not give are empty.
	from  eventlog.Position
	limit uint64
	wait  time.Duration
}

func parseRequest(c *gin.Context) (q request, err error) {
	if q.from.Sequence, err = web.Number(c, "after", uint64(0), 0, 1<<62); err != nil {
		return q, err
	}
	if q.limit, err = web.Number(c, "limit", uint64(eventlog.DefaultLimit), 0, eventlog.MaxLimit); err != nil {
		return q, err
	}
	wait, err := web.Number(c, "wait", 0, 0, eventlog.MaxWait)
	q.wait = time.Duration(wait) * time.Second
	q.from.Log, q.from.Event = c.Query("log"), c.Query("event")
	return q, err
}

func (r reader) serve(c *gin.Context) {
	q, err := parseRequest(c)
	if err != nil {
		web.Fail(c, err)
		return
	}
	ctx := c.Request.Context()
	err = r.catchUp(ctx, q)
	var end eventlog.Position
	var misfit string
	if err == nil {
		end, misfit, err = r.compare(ctx, q.from)
	}
	if err != nil {
		fail(c, err)
		return
	}
	end.SetHeaders(c.Writer.Header())
	if misfit != "" {
		web.Fail(c, web.NewProblem(http.StatusConflict, misfit+" Read the log from its start."))
		return
	}
	r.answer(c, end.Log, q.from.Sequence, min(end.Sequence, q.from.Sequence+q.limit))
}

// catchUp reads from the store what this replica must know for the answer.
func (r reader) catchUp(ctx context.Context, q request) error {
	end, err := r.log.End()
	if errors.Is(err, errEventsMissing) || err == nil && isElsewhere(q.from, end) {
		// By now the whole log may be missing, or another replica may have appended more.
		if err = r.refresh(ctx, 0); err == nil {
			end, err = r.log.End()
		}
	}
	isBehind := end.Sequence > q.from.Sequence
	switch {
	case err != nil || isElsewhere(q.from, end):
		return err
	case !isBehind && q.wait == 0:
		return r.refresh(ctx, 0)
	case !isBehind:
		return r.await(ctx, q)
	case q.wait == 0 && end.Sequence < q.from.Sequence+q.limit:
		// So that the reader learns where the log ends. A failure is no reason not to answer.
		_ = r.refresh(ctx, eventlog.MaxAge)
	}
	return nil
}

// await waits until the log has an event after the position, for at most as long as the
// reader waits. Events that this replica appends wake it up. For those of other replicas it
// polls the store.
func (r reader) await(ctx context.Context, q request) error {
	ctx, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	defer context.AfterFunc(r.stopping, cancel)()
	for ctx.Err() == nil {
		if err := r.refresh(ctx, eventlog.MaxAge); err != nil && ctx.Err() == nil {
			return err
		}
		now := r.log.view()
		if now.last > q.from.Sequence || now.broken != nil {
			return now.broken
		}
		select {
		case <-now.grown:
		case <-time.After(now.endSeen.Add(eventlog.MaxAge).Sub(r.log.Now())):
		case <-ctx.Done():
		}
	}
	return nil
}

func (r reader) refresh(ctx context.Context, maxAge time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return r.log.Refresh(ctx, maxAge)
}

// isElsewhere says whether the position is of another log, or after the end.
func isElsewhere(p, end eventlog.Position) bool {
	return p.Sequence > end.Sequence || p.Log != "" && p.Log != end.Log
}

// compare returns where the log ends, and in misfit why a position is not in the log. If it
// is in the log, misfit is empty.
func (r reader) compare(ctx context.Context, from eventlog.Position) (end eventlog.Position, misfit string, err error) {
	end, err = r.log.End()
	switch {
	case err != nil:
		return end, "", err
	case from.Log != "" && from.Log != end.Log:
		return end, fmt.Sprintf("This is not log %.40q but %s, which ends at event %d.", from.Log, end.Log, end.Sequence), nil
	case from.Sequence > end.Sequence:
		return end, fmt.Sprintf("There is no event %d: log %s ends at event %d.", from.Sequence, end.Log, end.Sequence), nil
	case from.Event == "":
		return end, "", nil
	}
	id, err := r.idAt(ctx, end.Log, from.Sequence)
	if err != nil || id == from.Event {
		return end, "", err
	}
	return end, fmt.Sprintf("Event %d of log %s is not %.40q but %q; the log has lost its end, and has grown to %d again.", from.Sequence, end.Log, from.Event, id, end.Sequence), nil
}

// idAt returns the id of the event with the number. It is empty for number 0.
func (r reader) idAt(ctx context.Context, log string, number uint64) (string, error) {
	if number == 0 {
		return "", nil
	}
	segments, err := r.log.read(ctx, log, segmentOf(number), 1)
	if err != nil {
		return "", err
	}
	ids, err := identitiesOf(segments[0].Segment, number-1)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("the log has no event %d", number)
	}
	if err != nil {
		return "", err
	}
	return ids[0].ID, nil
}

// segmentOf returns the number of the segment that has the event.
func segmentOf(number uint64) int {
	return int((number - 1) / eventlog.SegmentSize) //nolint:gosec // the log is smaller than that
}

// answer sends the log's events with numbers in (after, upTo].
func (r reader) answer(c *gin.Context, log string, after, upTo uint64) {
	c.Header("Content-Type", eventlog.ContentType)
	if after >= upTo {
		_, _ = c.Writer.WriteString("[]\n")
		return
	}
	isPacked := upTo-after >= compressFrom && web.AcceptsEncoding(c.Request, "zstd")
	if isPacked {
		c.Header("Content-Encoding", "zstd")
	}
	for before := eventlog.Opening; after < upTo; {
		segments, err := r.log.read(c.Request.Context(), log, segmentOf(after+1), segmentOf(upTo)-segmentOf(after+1)+1)
		if err != nil {
			fail(c, err)
			return
		}
		for _, s := range segments {
			part, err := partOf(s.Segment, before, after, upTo, isPacked)
			if err != nil {
				fail(c, err)
				return
			}
			if _, err := c.Writer.Write(part); err != nil {
				return // the reader has closed the connection
			}
			before, after = eventlog.Separator, min(s.Last(), upTo)
		}
	}
	end := []byte(eventlog.Closing + "\n")
	if isPacked {
		end = eventlog.Pack(end)
	}
	_, _ = c.Writer.Write(end)
}

// partOf returns the part of an answer that has a segment's events with numbers in
// (after, upTo]. It begins with before: the answer's opening, or a separator. A compressed
// part is zstd frames, one after another (RFC 8878, section 3); a full segment is one frame,
// as it is stored. It is an error if the segment ends before upTo and is not full.
func partOf(s *eventlog.Segment, before string, after, upTo uint64, isPacked bool) ([]byte, error) {
	if !s.Full() && s.Last() < upTo {
		return nil, fmt.Errorf("the log has no event %d: segment %d ends before it", s.Last()+1, s.Number)
	}
	if packed := s.Packed(); isPacked && packed != nil && after <= s.Base() && s.Last() <= upTo {
		return append(eventlog.Pack([]byte(before)), packed...), nil
	}
	lines, err := s.Lines(after, upTo)
	if err != nil {
		return nil, err
	}
	part := append([]byte(before), eventlog.Join(lines)...)
	if isPacked {
		part = eventlog.Pack(part)
	}
	return part, nil
}

// fail ends an answer that can't be completed. If a part was sent, it is no valid JSON, so
// that no reader takes it for the whole answer.
func fail(c *gin.Context, err error) {
	slog.WarnContext(c.Request.Context(), "can't read the log", "error", err)
	if !c.Writer.Written() {
		c.Writer.Header().Del("Content-Encoding")
		web.Fail(c, web.Unavailable("The event log can't be read: "+err.Error()+"."))
	}
}
