package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/postbus/postbus/apps/tools/bench/traffic"
	"github.com/postbus/postbus/apps/tools/system"
)

// latencyOverLoad plots two times at rising fixed rates: until a command is answered, and
// until the approved comment arrives at a reader of the live stream.
func (b *bench) latencyOverLoad(ctx context.Context, s *stack) error {
	ids, err := s.createPosts(200)
	if err != nil {
		return err
	}
	var plot [4]series
	for i, name := range []string{"201, p50", "201, p99", "approved at a reader, p50", "approved at a reader, p99"} {
		plot[i].name = name
	}
	for _, rate := range []float64{100, 250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2500} {
		if err := s.quiet(ctx); err != nil {
			return err
		}
		answer, visible, err := b.atRate(ctx, s, ids, rate)
		if err != nil {
			return err
		}
		say("  %.0f/s: 201 within %s (p50), %s (p99); approved within %s, %s", rate,
			answer.Quantile(50), answer.Quantile(99), at(visible, 50), at(visible, 99))
		for i, d := range []time.Duration{answer.Quantile(50), answer.Quantile(99), at(visible, 50), at(visible, 99)} {
			plot[i].add(rate, d.Seconds()*1000)
		}
		if at(visible, 50) > 2*time.Second {
			break // higher rates are beyond what the machine sustains
		}
	}
	return b.plot("latency-over-load.svg", "Latency over load", "comments a second, open loop", "milliseconds", false, true, plot[:]...)
}

func at(h *hdrhistogram.Histogram, q float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
}

// atRate sends comments at a fixed rate and watches them arrive at a reader.
func (b *bench) atRate(ctx context.Context, s *stack, ids []string, rate float64) (traffic.Result, *hdrhistogram.Histogram, error) {
	var mu sync.Mutex
	due, arrived := map[string]time.Time{}, map[string]time.Time{}
	r, err := connect(ctx, s, 1, func(id string) {
		now := time.Now()
		mu.Lock()
		arrived[id] = now
		mu.Unlock()
	})
	if err != nil {
		return traffic.Result{}, nil, err
	}
	defer r.close()
	load := traffic.Load{Connections: 256, Rate: rate, Duration: b.each, Answered: func(at time.Time, res *fasthttp.Response) {
		id, _, _ := strings.Cut(strings.TrimPrefix(string(res.Body()), `{"id":"`), `"`)
		mu.Lock()
		due[id] = at
		mu.Unlock()
	}}
	w, err := b.write(ctx, s, ids, load)
	if err != nil {
		return w.Result, nil, err
	}
	// Query has all comments, so the stream will deliver them soon.
	if err := system.Until(ctx, 5*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		missing := 0
		for id := range due {
			if _, ok := arrived[id]; !ok {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d comments have not arrived at a reader of the stream", missing, len(due))
		}
		return nil
	}); err != nil {
		return w.Result, nil, err
	}
	visible := hdrhistogram.New(1, int64(settleWithin/time.Microsecond), 3)
	mu.Lock()
	defer mu.Unlock()
	for id, from := range due {
		_ = visible.RecordValue(max(1, arrived[id].Sub(from).Microseconds()))
	}
	return w.Result, visible, nil
}
