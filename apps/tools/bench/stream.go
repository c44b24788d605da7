package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// readers are connections to the live stream of changes.
type readers struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	// changed is called with the comment's id for every CommentUpdated that one reader
	// gets.
	changed func(id string)
}

// connect connects that many readers and returns when all are connected.
func connect(ctx context.Context, s *stack, count int, changed func(id string)) (*readers, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &readers{cancel: cancel, changed: changed}
	streams := &http.Client{Transport: &http.Transport{}}
	url := s.App("query").URL() + "/posts"
	failed := make(chan error, count)
	var connected sync.WaitGroup
	connected.Add(count)
	limit := make(chan struct{}, 32) // connections being made at once
	for range count {
		r.all.Go(func() {
			limit <- struct{}{}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			var res *http.Response
			if err == nil {
				req.Header.Set("Accept", "text/event-stream")
				res, err = streams.Do(req) //nolint:bodyclose // closed by read
			}
			<-limit
			connected.Done()
			if err != nil {
				failed <- err
				return
			}
			r.read(res)
		})
	}
	connected.Wait()
	select {
	case err := <-failed:
		r.close()
		return nil, err
	default:
		return r, nil
	}
}

var (
	updated   = []byte("event: CommentUpdated")
	dataField = []byte("data: ")
	idMember  = []byte(`,"id":"`)
)

func (r *readers) read(res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 4096), 1<<20)
	for ours := false; lines.Scan(); {
		line := lines.Bytes()
		switch {
		case bytes.HasPrefix(line, updated):
			ours = true
		case ours && bytes.HasPrefix(line, dataField):
			ours = false
			if _, rest, found := bytes.Cut(line, idMember); found && len(rest) > 36 {
				r.changed(string(rest[:36]))
			}
		}
	}
}

func (r *readers) close() {
	r.cancel()
	r.all.Wait()
}

// stream measures the time until a change has reached 1,000 readers.
func (b *bench) stream(ctx context.Context, s *stack) error {
	const many, changes, warm = 1000, 100, 5
	ids, err := s.createPosts(1)
	if err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	var one, all delays
	for range b.rounds {
		for count, into := range map[int]*delays{1: &one, many: &all} {
			took, err := reach(ctx, s, ids[0], count, changes, warm)
			if err != nil {
				return err
			}
			into.add(took)
		}
	}
	b.add(row{"from a comment's 201 to its approval at all of 1,000 connected readers (SSE)", all.format(), "at one reader", one.format(),
		"of the p99s " + all.p99.over(one.p99).format(""), "p99 ≤ 250 ms", verdict(all.p99.median() <= 250)})
	return nil
}

// reach returns, in milliseconds, the time from each comment's 201 until all readers have
// it moderated.
func reach(ctx context.Context, s *stack, id string, count, changes, warm int) (figures, error) {
	var left atomic.Int64
	done := make(chan struct{}, 1)
	r, err := connect(ctx, s, count, func(string) {
		if left.Add(-1) == 0 {
			done <- struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	defer r.close()
	var took figures
	for n := range warm + changes {
		left.Store(int64(count))
		req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		post(s.App("comments").URL()+"/posts/"+id+"/comments")(0, req)
		err := fasthttp.Do(req, res)
		start, status := time.Now(), res.StatusCode()
		fasthttp.ReleaseRequest(req)
		fasthttp.ReleaseResponse(res)
		if err != nil {
			return nil, err
		}
		if status != fasthttp.StatusCreated {
			return nil, fmt.Errorf("a comment got a %d", status)
		}
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("%d of %d readers have not seen a change after 10 s", left.Load(), count)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if n >= warm {
			took = append(took, time.Since(start).Seconds()*1000)
		}
	}
	return took, nil
}
