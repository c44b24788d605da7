// Package traffic sends HTTP requests, at a fixed rate or as fast as a number of
// connections gets answers, and measures how long the answers take.
package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

// Load says what is sent, and how.
type Load struct {
	// Connections bounds the requests under way at once.
	Connections int
	// Rate is the number of requests that begin a second (open loop). If it is 0, each
	// connection sends its next request when it has its answer (closed loop).
	Rate float64
	// Duration is the time in which requests become due. An open loop whose answers take
	// too long sends the remaining ones late.
	Duration time.Duration
	// Prepare makes the n-th request, counted from 0, on a connection of that
	// number. It must be safe for concurrent use.
	Prepare func(n uint64, req *fasthttp.Request)
	// Want is the status of a success.
	Want int
	// Answered, if set, is called with every successful answer, and the time at which its
	// request was due.
	Answered func(due time.Time, res *fasthttp.Response)
	// Progress, if set, gets a line a second.
	Progress io.Writer
}

// Result is the outcome of a load.
type Result struct {
	// OK counts the answers with the wanted status, Failed everything else.
	OK, Failed uint64
	// Took is the time from the first request to the last answer.
	Took time.Duration
	// Latency is that of successful requests, in microseconds. In an open loop it counts
	// from the time at which a request was due. In a closed loop it is corrected as if
	// each connection had one request due every median latency. Either way a slow answer
	// also counts for the requests that it delayed (coordinated omission).
	Latency *hdrhistogram.Histogram
	// FirstFailure describes the first failed request.
	FirstFailure error
}

// PerSecond is the rate of success.
func (r Result) PerSecond() float64 { return float64(r.OK) / r.Took.Seconds() }

// Quantile is the latency that q percent of the requests do not exceed.
func (r Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q)) * time.Microsecond
}

// The range of latencies in microseconds, and their precision in digits.
const (
	shortest, longest = 1, int64(60 * time.Second / time.Microsecond)
	digits            = 3
)

const requestTimeout = 10 * time.Second

// Run sends the load. Cancelling ctx ends it early.
func (l Load) Run(ctx context.Context) Result {
	// net/http would use more CPU than what it measures, and the generator shares the
	// machine with the system.
	client := &fasthttp.Client{MaxConnsPerHost: l.Connections, ReadTimeout: requestTimeout, NoDefaultUserAgentHeader: true,
		StreamResponseBody: true, // see readBody
		// A request is never repeated, because it may have happened.
		RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false }}
	defer client.CloseIdleConnections()

	run := running{Load: l, client: client, start: time.Now()}
	if l.Progress != nil {
		defer l.report(run.start, &run.ok, &run.failed)()
	}
	latencies := make([]*hdrhistogram.Histogram, l.Connections)
	var all sync.WaitGroup
	for i := range latencies {
		latency := hdrhistogram.New(shortest, longest, digits)
		latencies[i] = latency
		all.Go(func() { run.connection(ctx, latency) })
	}
	all.Wait()
	r := Result{OK: run.ok.Load(), Failed: run.failed.Load(), Took: time.Since(run.start), Latency: hdrhistogram.New(shortest, longest, digits)}
	for _, latency := range latencies {
		r.Latency.Merge(latency)
	}
	if l.Rate == 0 {
		r.Latency = corrected(r.Latency)
	}
	if err := run.firstFailure.Load(); err != nil {
		r.FirstFailure = *err
	} else if r.OK == 0 {
		r.FirstFailure = errors.New("there was no answer")
	}
	return r
}

// running is a load that is being sent.
type running struct {
	Load
	client *fasthttp.Client
	start  time.Time
	// next is the number of the next request. The others count answers.
	next, ok, failed atomic.Uint64
	firstFailure     atomic.Pointer[error]
}

// connection sends one request after the other until the load is over.
func (r *running) connection(ctx context.Context, latency *hdrhistogram.Histogram) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	var body bytes.Buffer
	for {
		n := r.next.Add(1) - 1
		due := time.Now()
		if r.Rate > 0 {
			due = r.start.Add(time.Duration(float64(n) / r.Rate * float64(time.Second)))
		}
		if due.Sub(r.start) >= r.Duration || !sleepUntil(ctx, due) {
			return
		}
		req.Reset()
		r.Prepare(n, req)
		err := r.client.DoTimeout(req, res, requestTimeout)
		if err == nil {
			err = readBody(res, &body)
		}
		took := time.Since(due)
		if err == nil && res.StatusCode() != r.Want {
			err = fmt.Errorf("%d %.200s", res.StatusCode(), res.Body())
		}
		if err != nil {
			r.failed.Add(1)
			r.firstFailure.CompareAndSwap(nil, &err)
			continue
		}
		r.ok.Add(1)
		_ = latency.RecordValue(min(max(took.Microseconds(), shortest), longest))
		if r.Answered != nil {
			r.Answered(due, res)
		}
	}
}

// readBody reads the answer into the connection's own buffer, where it stays until the
// next answer. Fasthttp shares its buffers and drops those that are larger than most. For
// answers of different sizes that would measure the generator, not the server.
func readBody(res *fasthttp.Response, body *bytes.Buffer) error {
	body.Reset()
	if stream := res.BodyStream(); stream != nil {
		if _, err := body.ReadFrom(stream); err != nil {
			if s, ok := stream.(fasthttp.ReadCloserWithError); ok {
				_ = s.CloseWithError(err) // closes the connection, too
			}
			return err
		}
		res.SetBodyRaw(body.Bytes())
	}
	return nil
}

// sleepUntil returns false when ctx ended before the time came.
func sleepUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// corrected adds to the latencies of a closed loop those of the requests that were not
// sent because an answer took longer than the median.
func corrected(h *hdrhistogram.Histogram) *hdrhistogram.Histogram {
	interval := max(h.ValueAtQuantile(50), 1)
	out := hdrhistogram.New(shortest, longest, digits)
	for _, bar := range h.Distribution() {
		for range bar.Count {
			_ = out.RecordCorrectedValue(min(bar.To, longest), interval)
		}
	}
	return out
}

// report prints the progress once a second, until the returned function is called.
func (l Load) report(start time.Time, ok, failed *atomic.Uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for last := uint64(0); ; {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			now := ok.Load()
			_, _ = fmt.Fprintf(l.Progress, "%3.0f s: %d a second, %d in all, %d failed\n", time.Since(start).Seconds(), now-last, now, failed.Load())
			last = now
		}
	}()
	return func() { close(done); <-ended }
}
