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

// Load is what is sent, and how.
type Load struct {
	// Connections is how many requests are under way at once, at most.
	Connections int
	// Rate is how many requests begin a second (open loop), or 0: each connection
	// sends its next request when it has its answer (closed loop).
	Rate float64
	// Duration is how long requests become due. In an open loop whose answers take
	// longer than the connections can bear, what is still due then is sent late.
	Duration time.Duration
	// Prepare makes the n-th request, counted from 0, on a connection of that
	// number. It must be safe for concurrent use.
	Prepare func(n uint64, req *fasthttp.Request)
	// Want is the status that counts as success.
	Want int
	// Answered, if set, gets every successful answer, and when its request was due.
	Answered func(due time.Time, res *fasthttp.Response)
	// Progress, if set, gets a line a second.
	Progress io.Writer
}

// Result is what became of a load.
type Result struct {
	// OK and Failed count the answers with the status that was wanted, and all else.
	OK, Failed uint64
	// Took is the time from the first request's beginning to the last answer.
	Took time.Duration
	// Latency is that of successful requests, in microseconds. In an open loop it
	// counts from when a request was due, in a closed one it is corrected as if on
	// each connection one were due every median latency: either way, an answer that
	// takes long also counts for the requests that it held up (coordinated omission).
	Latency *hdrhistogram.Histogram
	// FirstFailure says what was wrong with the first failed request.
	FirstFailure error
}

// PerSecond is the rate of success.
func (r Result) PerSecond() float64 { return float64(r.OK) / r.Took.Seconds() }

// Quantile is the latency that q percent of the requests don't exceed.
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
	// net/http would cost more than what it measures: the generator shares the
	// machine with the system.
	client := &fasthttp.Client{MaxConnsPerHost: l.Connections, ReadTimeout: requestTimeout, NoDefaultUserAgentHeader: true,
		StreamResponseBody: true, // see readBody
		// A request that was sent is never sent again: it may have happened.
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
	// next is the number of the request that is sent next; the others count answers.
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
// next. Fasthttp's buffers are shared, and those that are larger than most are thrown
// away: where sizes differ, the generator would be measured and not the server.
func readBody(res *fasthttp.Response, body *bytes.Buffer) error {
	body.Reset()
	if stream := res.BodyStream(); stream != nil {
		if _, err := body.ReadFrom(stream); err != nil {
			if s, ok := stream.(fasthttp.ReadCloserWithError); ok {
				_ = s.CloseWithError(err) // with its connection, which is of no use any more
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

// corrected adds to a closed loop's latencies those of the requests that were
// not sent because an answer took longer than the median.
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

// report prints what happens, once a second, until the returned function is called.
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
