package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
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

// refreshEvery is how often a read that waits looks for what other replicas appended.
const refreshEvery = 500 * time.Millisecond

// refreshTimeout bounds one such look.
const refreshTimeout = time.Second

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
	if a.log.last() <= after {
		if err := a.await(ctx, after, time.Duration(wait)*time.Second); err != nil { //nolint:gosec // at most maxWait
			a.broken(c, err)
			return
		}
	}
	last := a.log.last()
	c.Header(sequenceHeader, strconv.FormatUint(last, 10))
	a.write(c, after, min(last, after+limit))
}

// await waits until the log goes beyond after, for at most that long.
func (a *api) await(ctx context.Context, after uint64, atMost time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.stopping, cancel)()
	for deadline := time.Now().Add(atMost); ; {
		if err := a.refresh(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		left := time.Until(deadline)
		if left <= 0 || a.log.last() > after || ctx.Err() != nil {
			return nil
		}
		waiting, stop := context.WithTimeout(ctx, min(left, refreshEvery))
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
	before := opening
	for after < upTo {
		number := int(after / segmentSize)              //nolint:gosec // the log is smaller than that
		count := int((upTo-1)/segmentSize) - number + 1 //nolint:gosec // as above
		read, err := a.log.read(c.Request.Context(), number, count)
		if err == nil && read[0].last() <= after {
			err = fmt.Errorf("the log has no event %d", after+1)
		}
		if err != nil {
			a.broken(c, err)
			return
		}
		for _, s := range read {
			for _, part := range [][]byte{before, s.between(after, upTo)} {
				if _, err := c.Writer.Write(part); err != nil {
					return // the reader is gone
				}
			}
			before, after = separator, min(s.last(), upTo)
		}
	}
	_, _ = c.Writer.WriteString("\n]\n")
}

// broken ends an answer that can't be completed. What was sent is then no JSON,
// so that nobody takes a part for the whole.
func (a *api) broken(c *gin.Context, err error) {
	slog.WarnContext(c.Request.Context(), "can't read the log", "error", err)
	if !c.Writer.Written() {
		web.Fail(c, web.Unavailable("The event log can't be read: "+err.Error()+"."))
	}
}
