package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// Bounds of GET /events.
const (
	defaultLimit = 1_000
	maxLimit     = 10_000
	maxWait      = 30 // seconds
)

// refreshEvery is for how long a read that waits leaves it at what this replica knows,
// before it looks for what other replicas appended. An append of its own tells that, too:
// a look for every read, which takes the whole tail, had the appends wait.
const refreshEvery = 500 * time.Millisecond

// refreshTimeout bounds one such look.
const refreshTimeout = time.Second

// compressFrom is how many events an answer has at least to be compressed, for
// readers that take zstd: a replay's bytes pass through two sidecars, which is most
// of what it costs. The few events of a read that waited are not worth it.
const compressFrom = 256

// contentType is that of a batch (CloudEvents JSON format 1.0, section 4).
const contentType = "application/cloudevents-batch+json"

// sequenceHeader carries the number of the last event in the log.
const sequenceHeader = "Postbus-Sequence"

type api struct {
	log      *eventLog
	stopping context.Context
}

// events answers with the events after a number, in order and without gaps, as a
// batch of CloudEvents (JSON event format, section 4). It waits for at most
// `wait` seconds until there is one.
func (a *api) events(c *gin.Context) {
	var after, limit, wait uint64
	for _, p := range []struct {
		name            string
		into            *uint64
		otherwise, most uint64
	}{{"after", &after, 0, 1 << 62}, {"limit", &limit, defaultLimit, maxLimit}, {"wait", &wait, 0, maxWait}} {
		var err error
		if *p.into, err = web.Number(c, p.name, p.otherwise, 0, p.most); err != nil {
			web.Fail(c, err)
			return
		}
	}
	if err := a.log.ready(); err != nil {
		a.broken(c, err)
		return
	}
	ctx := c.Request.Context()
	// Whoever does not wait is told where the log stands, whatever of it he gets.
	if known := a.log.last(); known <= after || wait == 0 && known < after+limit && a.log.unlooked() > refreshEvery {
		if err := a.await(ctx, after, time.Duration(wait)*time.Second); err != nil && known <= after { //nolint:gosec // at most maxWait
			a.broken(c, err)
			return
		}
	}
	last := a.log.last()
	c.Header(sequenceHeader, strconv.FormatUint(last, 10))
	a.write(c, after, min(last, after+limit))
}

// await waits until the log goes beyond after, for at most that long. With 0 it looks
// whether it does.
func (a *api) await(ctx context.Context, after uint64, atMost time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	for deadline := time.Now().Add(atMost); ; {
		pause := refreshEvery - a.log.unlooked()
		if atMost == 0 || pause <= 0 || a.log.last() < after { // or the reader knows more
			if err := a.refresh(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			pause = refreshEvery
		}
		left := time.Until(deadline)
		if left <= 0 || a.log.last() > after || ctx.Err() != nil {
			return nil
		}
		waiting, stop := context.WithTimeout(ctx, min(left, pause))
		a.log.wait(waiting, after)
		stop()
		if a.log.last() > after {
			return nil
		}
	}
}

func (a *api) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	return a.log.refresh(ctx)
}

// write sends the events with numbers in (after, upTo].
func (a *api) write(c *gin.Context, after, upTo uint64) {
	c.Header("Content-Type", contentType)
	if after >= upTo {
		_, _ = c.Writer.WriteString("[]\n")
		return
	}
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	out := answer{c.Writer, upTo-after >= compressFrom && strings.Contains(c.GetHeader("Accept-Encoding"), "zstd")}
	if out.compressed {
		c.Header("Content-Encoding", "zstd")
	}
	before := opening
	for r := range a.readAhead(ctx, after, upTo) {
		if r.err == nil && r.segments[0].last() <= after {
			r.err = fmt.Errorf("the log has no event %d", after+1)
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

// readAhead reads the segments of the events with numbers in (after, upTo]: the
// next ones while the last are sent. It ends with the first error, or with ctx.
func (a *api) readAhead(ctx context.Context, after, upTo uint64) <-chan reading {
	readings := make(chan reading)
	number, last := int(after/segmentSize), int((upTo-1)/segmentSize) //nolint:gosec // the log is smaller than that
	go func() {
		defer close(readings)
		for number <= last {
			segments, err := a.log.read(ctx, number, last-number+1)
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
