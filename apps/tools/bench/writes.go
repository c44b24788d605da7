package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"github.com/postbus/postbus/apps/tools/bench/traffic"
)

const (
	connections = 16
	// text is the content of a comment, 60 characters.
	text = "Sixty characters of what people tend to say below a post: ok"
	body = `{"content":"` + text + `"}`
	// eventsPerComment is the number of events in the log: created, moderated, updated.
	eventsPerComment = 3
	// sustained is how many times longer the load is that is measured until its last
	// comment is visible.
	sustained = 5
	// settleWithin bounds the time until all accepted comments are visible.
	settleWithin = 3 * time.Minute
)

func post(url string, headers ...func(*fasthttp.Request)) func(uint64, *fasthttp.Request) {
	return func(_ uint64, req *fasthttp.Request) {
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetContentType("application/json")
		req.SetRequestURI(url)
		req.SetBodyString(body)
		for _, h := range headers {
			h(req)
		}
	}
}

func keyed(req *fasthttp.Request) { req.Header.Set("Idempotency-Key", uuid.NewString()) }

// written is the outcome of a load of comments.
type written struct {
	traffic.Result
	// visible is how many comments a second became visible, from the first request to the
	// last visible comment.
	visible float64
	cpu     usage
	// calls are Redis's commands a comment.
	calls calls
}

// cpuEach is the CPU of one comment, in microseconds: of apps and sidecars, and of the servers.
func (w written) cpuEach() (others, servers float64) {
	for name, spent := range w.cpu {
		each := spent.Seconds() * 1e6 / float64(w.OK)
		switch name {
		case redisProcess, serverProcesses:
			servers += each
		case loadGenerator, daprRun:
		default:
			others += each
		}
	}
	return others, servers
}

// write loads comments onto posts and waits until all of them are visible.
func (b *bench) write(ctx context.Context, s *stack, ids []string, load traffic.Load, headers ...func(*fasthttp.Request)) (written, error) {
	var w written
	before, err := sequence(s.App("query").URL() + "/posts?limit=1")
	if err != nil {
		return w, err
	}
	used, err := s.usage()
	if err != nil {
		return w, err
	}
	called, err := s.calls(ctx)
	if err != nil {
		return w, err
	}
	prefix := s.App("comments").URL() + "/posts/"
	load.Prepare = func(n uint64, req *fasthttp.Request) {
		post(prefix+ids[n%uint64(len(ids))]+"/comments", headers...)(n, req)
	}
	load.Want = fasthttp.StatusCreated
	start := time.Now()
	w.Result = load.Run(ctx)
	if w.FirstFailure != nil {
		return w, fmt.Errorf("%d of %d comments failed, the first: %w", w.Failed, w.Failed+w.OK, w.FirstFailure)
	}
	if err := s.awaitSequence(ctx, before+eventsPerComment*w.OK, settleWithin); err != nil {
		return w, err
	}
	w.visible = float64(w.OK) / time.Since(start).Seconds()
	after, err := s.usage()
	if err != nil {
		return w, err
	}
	w.cpu = after.since(used)
	calledAfter, err := s.calls(ctx)
	w.calls = calledAfter.since(called, w.OK)
	return w, err
}

// inTurn measures the comments accepted a second without and with an Idempotency-Key, in
// the order without, with, with, without. So a machine that becomes slower meanwhile is as
// slow for both.
func (b *bench) inTurn(ctx context.Context, s *stack, ids []string, load traffic.Load) (without, with float64, err error) {
	for _, headers := range [][]func(*fasthttp.Request){nil, {keyed}, {keyed}, nil} {
		if err := s.quiet(ctx); err != nil {
			return 0, 0, err
		}
		w, err := b.write(ctx, s, ids, load, headers...)
		if err != nil {
			return 0, 0, err
		}
		if headers == nil {
			without += w.PerSecond() / 2
		} else {
			with += w.PerSecond() / 2
		}
	}
	return without, with, nil
}

// accepted measures the commands: comments accepted a second, and comments visible a
// second.
func (b *bench) accepted(ctx context.Context, s *stack) error {
	ids, err := s.createPosts(200)
	if err != nil {
		return err
	}
	load := traffic.Load{Connections: connections, Duration: b.each}
	bare, long := load, load
	long.Duration = sustained * b.each
	bare.Prepare, bare.Want = post(s.App(reference).URL()+"/publish"), fasthttp.StatusCreated
	var refs, spread, one, withKey, without, visible figures
	warm, warmBare := load, bare
	warm.Duration, warmBare.Duration = time.Second, time.Second
	warmBare.Run(ctx)
	if _, err := b.write(ctx, s, ids, warm); err != nil {
		return err
	}
	for i := range b.rounds {
		if err := s.quiet(ctx); err != nil {
			return err
		}
		ref := bare.Run(ctx)
		if ref.FirstFailure != nil {
			return fmt.Errorf("the reference: %w", ref.FirstFailure)
		}
		stopProfiles := b.profile(s, "accepted", i)
		w, err := b.write(ctx, s, ids, long)
		stopProfiles()
		if err != nil {
			return err
		}
		b.addCost(w)
		o, err := b.write(ctx, s, ids[:1], load)
		if err != nil {
			return err
		}
		keyless, key, err := b.inTurn(ctx, s, ids, load)
		if err != nil {
			return err
		}
		refs, spread, one = append(refs, ref.PerSecond()), append(spread, w.PerSecond()), append(one, o.PerSecond())
		without, withKey, visible = append(without, keyless), append(withKey, key), append(visible, w.visible)
		say("  round %d: a bare publish %.0f/s; comments %.0f/s, on one post %.0f/s, in turn %.0f/s and with a key %.0f/s; visible %.0f/s (one post %.0f/s)",
			i+1, ref.PerSecond(), w.PerSecond(), o.PerSecond(), keyless, key, w.visible, o.visible)
	}
	ratio := spread.over(refs)
	b.add(row{"comments accepted a second, 16 connections, 200 posts", spread.format("/s"),
		"a bare gin handler that makes one Dapr publish", refs.format("/s"), ratio.format(""), "≥ 0.8", verdict(ratio.median() >= 0.8)})
	ratio = withKey.over(without)
	b.add(row{"the same, each with an `Idempotency-Key`", withKey.format("/s"), "without keys, in turn", without.format("/s"), ratio.format(""), "≥ 0.85", verdict(ratio.median() >= 0.85)})
	ratio = one.over(spread)
	b.add(row{"the same, all on one post", one.format("/s"), "the same over 200 posts", spread.format("/s"), ratio.format(""), "≥ 0.9", verdict(ratio.median() >= 0.9)})
	ratio = visible.over(spread)
	b.add(row{fmt.Sprintf("comments moderated and visible a second, for %s and until the last one is", long.Duration), visible.format("/s"), "comments accepted a second", spread.format("/s"), ratio.format(""),
		"≥ 0.5, and ≥ 1,500/s", verdict(ratio.median() >= 0.5 && visible.median() >= 1500)})
	return nil
}

// latency measures the time until a comment is visible, one comment at a time.
func (b *bench) latency(ctx context.Context, s *stack) error {
	ids, err := s.createPosts(1)
	if err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	const hops, warm, count = 6, 20, 300
	var own, single, bulk delays
	for i := range b.rounds {
		var round [3]figures
		for n := range warm + count {
			took, err := oneComment(s, ids[0])
			if err != nil {
				return err
			}
			journeys := [3]time.Duration{took}
			for k, inBulk := range []bool{false, true} {
				if journeys[k+1], err = travel(s, hops, inBulk, fmt.Sprintf("journey-%d-%d-%v", i, n, inBulk)); err != nil {
					return err
				}
			}
			if n >= warm {
				for k, took := range journeys {
					round[k] = append(round[k], took.Seconds()*1000)
				}
			}
		}
		own.add(round[0])
		single.add(round[1])
		bulk.add(round[2])
		say("  round %d: a comment %s, six empty hops %s, in bulk %s (p50, ms)", i+1, short(own.p50[i]), short(single.p50[i]), short(bulk.p50[i]))
	}
	ratio := own.p50.over(single.p50)
	b.add(row{fmt.Sprintf("from a comment's 201 to its approval in `GET /posts?limit=1`, %d one at a time", count), own.format(),
		"six empty hops through the bus, delivered one by one", single.format(), "of the p50s " + ratio.format(""), "≤ 1.5; p50 ≤ 15 ms, p99 ≤ 40 ms",
		verdict(ratio.median() <= 1.5 && own.p50.median() <= 15 && own.p99.median() <= 40)})
	ratio = own.p50.over(bulk.p50)
	b.add(row{"the same", own.format(), "six empty hops in bulk, as Postbus's are: a batch waits 1 ms for more", bulk.format(),
		"of the p50s " + ratio.format(""), "≤ 1.5", verdict(ratio.median() <= 1.5)})
	return nil
}

// oneComment returns the time from a comment's 201 until GET /posts has it approved.
func oneComment(s *stack, id string) (time.Duration, error) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	post(s.App("comments").URL()+"/posts/"+id+"/comments")(0, req)
	if err := fasthttp.Do(req, res); err != nil {
		return 0, err
	}
	start := time.Now()
	if res.StatusCode() != fasthttp.StatusCreated {
		return 0, fmt.Errorf("%d %.200s", res.StatusCode(), res.Body())
	}
	comment, _, _ := strings.Cut(strings.TrimPrefix(string(res.Body()), `{"id":"`), `"`)
	approved := `{"id":"` + comment + `","content":"` + text + `","status":"approved"`
	req.Reset()
	req.SetRequestURI(s.App("query").URL() + "/posts?limit=1")
	for time.Since(start) < 10*time.Second {
		if err := fasthttp.Do(req, res); err != nil {
			return 0, err
		}
		if strings.Contains(string(res.Body()), approved) {
			return time.Since(start), nil
		}
		time.Sleep(200 * time.Microsecond) // the reader's own share of the CPU stays small
	}
	return 0, fmt.Errorf("comment %s is not approved after 10 s: %.300s", comment, res.Body())
}

func travel(s *stack, hops int, bulk bool, id string) (time.Duration, error) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	post(fmt.Sprintf("%s/hops/%d?id=%s&bulk=%v", s.App(reference).URL(), hops, id, bulk))(0, req)
	start := time.Now()
	if err := fasthttp.DoTimeout(req, res, 10*time.Second); err != nil {
		return 0, fmt.Errorf("the reference's hops: %w", err)
	}
	if res.StatusCode() != fasthttp.StatusOK {
		return 0, fmt.Errorf("the reference's hops: %d %.200s", res.StatusCode(), res.Body())
	}
	return time.Since(start), nil
}

// quiet waits until nothing reaches the log for half a second.
func (s *stack) quiet(ctx context.Context) error {
	url := s.App("query").URL() + "/posts?limit=1"
	last, since := uint64(0), time.Now()
	for {
		at, err := sequence(url)
		switch {
		case err != nil:
			return err
		case at != last:
			last, since = at, time.Now()
		case time.Since(since) > 500*time.Millisecond:
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
