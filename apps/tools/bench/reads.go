package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/postbus/postbus/apps/tools/bench/traffic"
	"github.com/postbus/postbus/apps/tools/system"
)

const (
	fewComments, manyComments, manyEvents = 1000, 1_000_000, 1_000_000
	// moreReads are additional rounds for reads, which are short.
	moreReads = 2
)

// readsOverSize measures the first page and a middle page while the log grows to a
// million comments, beside a query that stays at a thousand.
func (b *bench) readsOverSize(ctx context.Context, s *stack) error {
	f, err := newFiller(ctx, s)
	if err != nil {
		return err
	}
	b.filler = f
	first, middle, bare := series{name: "first page (20 posts)"}, series{name: "a middle page (10 posts)"}, series{name: "the first page's bytes, bare gin"}
	var small *frozen
	var smallMiddle string // the address of its middle page
	for _, comments := range []int{fewComments, 10_000, 100_000, manyComments} {
		if err := f.fill(ctx, comments); err != nil {
			return err
		}
		if err := f.shown(ctx, s); err != nil {
			return err
		}
		if small == nil {
			if small, err = s.freeze(ctx); err != nil {
				return err
			}
			smallMiddle = small.url + middlePage(f.posts)
			defer small.stop(context.WithoutCancel(ctx))
		}
		pages, err := b.pages(ctx, s, s.App("query").URL(), f)
		if err != nil {
			return err
		}
		say("  %d comments: first page %.0f/s, middle page %.0f/s, bare gin %.0f/s", f.comments,
			pages.first.median(), pages.middle.median(), pages.bare.median())
		first.add(float64(f.comments), pages.first.median())
		middle.add(float64(f.comments), pages.middle.median())
		bare.add(float64(f.comments), pages.bare.median())
		if comments == fewComments {
			ratio := pages.first.over(pages.bare)
			b.add(row{"GET /posts a second, first page (" + kilobytes(pages.body) + ")", pages.first.format("/s"), "a gin handler that answers the same bytes from memory", pages.bare.format("/s"),
				ratio.format(""), "≥ 0.8", verdict(ratio.median() >= 0.8)})
		}
	}
	for _, page := range []struct{ what, large, few string }{
		{"first page", s.App("query").URL() + "/posts", small.url + "/posts"},
		{"middle page", s.App("query").URL() + middlePage(f.posts), smallMiddle},
	} {
		if err := b.pageOverSize(ctx, f, page.what, page.large, page.few); err != nil {
			return err
		}
	}
	return b.plot("throughput-over-size.svg", "Reads over data size", "comments", "answers a second", true, false, first, middle, bare)
}

// pageOverSize adds a row that compares a page with all comments to one with few. Both
// have about the same length, because a long answer takes longer whatever the data is.
func (b *bench) pageOverSize(ctx context.Context, f *filler, what, large, few string) error {
	largePage, err := get(large)
	if err != nil {
		return err
	}
	fewPage, err := get(few)
	if err != nil {
		return err
	}
	if length := float64(len(largePage.Body)) / float64(len(fewPage.Body)); length < 0.9 || length > 1.1 {
		return fmt.Errorf("the %s has %d bytes with %d comments, and %d with %d: not to be compared", what, len(largePage.Body), f.comments, len(fewPage.Body), fewComments)
	}
	var measured, reference figures
	for range b.rounds + moreReads {
		l, err := b.rate(ctx, large)
		if err != nil {
			return err
		}
		t, err := b.rate(ctx, few)
		if err != nil {
			return err
		}
		measured, reference = append(measured, l), append(reference, t)
	}
	ratio := measured.over(reference)
	b.add(row{fmt.Sprintf("GET /posts a second, %s (%s), with %s comments on %s posts", what, kilobytes(largePage.Body), short(float64(f.comments)), short(float64(len(f.posts)))),
		measured.format("/s"), fmt.Sprintf("the same (%s) with 1,000 comments", kilobytes(fewPage.Body)), reference.format("/s"), ratio.format(""), "≥ 0.9", verdict(ratio.median() >= 0.9)})
	return nil
}

func kilobytes(page []byte) string { return fmt.Sprintf("%d KB", len(page)/1000) }

// middlePage is the path of a page that begins after the middle post. It has half as many
// posts as the first page, so there must be one among 20 posts.
func middlePage(posts []string) string {
	return fmt.Sprintf("/posts?limit=%d&cursor=%s", pageOfPosts/2, posts[len(posts)/2])
}

// pages are the rates of reads, measured in turn.
type pages struct {
	body                []byte // of the first page
	first, middle, bare figures
}

func (b *bench) pages(ctx context.Context, s *stack, base string, f *filler) (p pages, err error) {
	page, err := get(base + "/posts")
	if err != nil {
		return p, err
	}
	p.body = page.Body
	if _, err := system.Ask(client, http.MethodPut, s.App(reference).URL()+"/bytes", string(p.body)); err != nil {
		return p, err
	}
	for i := range 1 + b.rounds + moreReads { // the first round warms up and does not count
		for _, m := range []struct {
			into *figures
			url  string
		}{{&p.bare, s.App(reference).URL() + "/bytes"}, {&p.first, base + "/posts"}, {&p.middle, base + middlePage(f.posts)}} {
			rate, err := b.rate(ctx, m.url)
			if err != nil {
				return p, err
			}
			if i > 0 {
				*m.into = append(*m.into, rate)
			}
		}
	}
	return p, nil
}

// rate is the number of answers a second from an address.
func (b *bench) rate(ctx context.Context, url string) (float64, error) {
	load := traffic.Load{Connections: connections, Duration: b.each / 2, Want: fasthttp.StatusOK,
		Prepare: func(_ uint64, req *fasthttp.Request) { req.SetRequestURI(url) }}
	r := load.Run(ctx)
	if r.FirstFailure != nil {
		return 0, fmt.Errorf("%s: %w", url, r.FirstFailure)
	}
	return r.PerSecond(), nil
}

// frozen is a second query that stays at the log's number of its start.
type frozen struct {
	url     string
	process *system.Process
	sidecar *http.Server
	cut     atomic.Bool
}

// freeze starts a second query on the same sidecar. Its calls go through a proxy of this
// process, which refuses them once the query has caught up.
func (s *stack) freeze(ctx context.Context) (_ *frozen, err error) {
	a := s.App("query")
	p, err := system.ProcessOn(a.Port)
	if err != nil {
		return nil, err
	}
	port, err := system.FreePort()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(a.Sidecar())
	if err != nil {
		return nil, err
	}
	z := &frozen{process: p.Shifted([]int{a.Port, a.AppPort}, 600)}
	z.url = fmt.Sprintf("http://127.0.0.1:%d", a.Port+600)
	for i, variable := range z.process.Env {
		if strings.HasPrefix(variable, "DAPR_HTTP_PORT=") {
			z.process.Env[i] = fmt.Sprintf("DAPR_HTTP_PORT=%d", port)
		}
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	z.sidecar = &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if z.cut.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			pass.ServeHTTP(w, r)
		})}
	go func() { _ = z.sidecar.ListenAndServe() }()
	if err := z.process.Start(s.Log); err != nil {
		return nil, errors.Join(err, z.sidecar.Close())
	}
	defer func() {
		if err != nil {
			z.stop(context.WithoutCancel(ctx))
		}
	}()
	b := a
	b.Port += 600
	if err := system.Until(ctx, time.Minute, b.Ready); err != nil {
		return nil, err
	}
	z.cut.Store(true)
	return z, nil
}

func (z *frozen) stop(ctx context.Context) {
	_ = z.process.Kill(ctx)
	_ = z.sidecar.Close()
}
