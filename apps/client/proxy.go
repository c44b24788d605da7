package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/web"
)

// forwarded are the headers of a request that reach a service. So a visitor can
// send none that means something to Dapr: an app id, a caller, a token, nor an
// Authorization, in which the sidecar would look for an app id, too.
var forwarded = []string{
	"Accept", "Accept-Language", "Content-Type", command.KeyHeader, "If-None-Match", "Last-Event-Id", "User-Agent", web.RequestID,
}

// dropped are headers of an answer that are the sidecars' own.
var dropped = []string{"Server", "Traceparent", "Tracestate"}

// segment is what an id in a path may be. Whatever else is there, and however it
// is encoded, no path leads to another route.
var segment = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// proxy forwards the API's own routes to the services, by Dapr service invocation.
type proxy struct {
	sidecar  *url.URL
	token    string
	stopping context.Context
	streams  web.Streams
	sending  http.RoundTripper
	buffers  *buffers
}

func newProxy(stopping context.Context, sidecar string, streams web.Streams) *proxy {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	transport.Proxy = nil
	transport.DisableCompression = true // it is for the visitor to ask for it
	transport.MaxIdleConnsPerHost = 100
	target, err := url.Parse(sidecar)
	if err != nil {
		panic(err) // the service package made it
	}
	return &proxy{
		streams: streams, sidecar: target, token: os.Getenv("DAPR_API_TOKEN"), stopping: stopping,
		sending: tries{transport}, buffers: &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}},
	}
}

func (p *proxy) routes(r gin.IRoutes) {
	posts := p.to("posts", service.Env("POSTS_APP_ID", "posts"))
	comments := p.to("comments", service.Env("COMMENTS_APP_ID", "comments"))
	query := p.to("query", service.Env("QUERY_APP_ID", "query"))
	read := []string{http.MethodGet, http.MethodHead}
	r.POST("/posts/create", posts)
	r.POST("/posts/:id/comments", comments)
	r.Match(read, "/posts/:id/comments", comments)
	r.Match(read, "/posts/:id/comments/:commentId", comments)
	r.Match(read, "/posts", query)
	r.Match(read, "/posts/:id", query)
}

// to forwards to the app of that id.
func (p *proxy) to(name, appID string) gin.HandlerFunc {
	return func(c *gin.Context) {
		target := *p.sidecar
		target.Path = "/v1.0/invoke/" + appID + "/method" + c.FullPath()
		for _, param := range c.Params {
			if !segment.MatchString(param.Value) {
				web.Fail(c, web.NewProblem(http.StatusNotFound, "There is nothing at "+c.Request.URL.Path+"."))
				return
			}
			target.Path = strings.Replace(target.Path, ":"+param.Key, param.Value, 1)
		}
		if err := buffer(c); err != nil {
			web.Fail(c, err)
			return
		}
		ctx := c.Request.Context()
		forward := httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				target.RawQuery = r.Out.URL.RawQuery
				r.Out.URL, r.Out.Host = &target, target.Host
				r.Out.Header = p.headers(r.In.Header, web.TraceParent(ctx))
			},
			Transport:     p.sending,
			FlushInterval: -1, // the stream, as it comes
			ModifyResponse: func(r *http.Response) error {
				for _, name := range dropped {
					r.Header.Del(name)
				}
				for name := range c.Writer.Header() { // what the host has set is its own to say
					r.Header.Del(name)
				}
				if web.HasMediaType(r.Header, "text/event-stream") {
					end, err := p.streams.Begin()
					if err != nil {
						return err
					}
					r.Body = endedAt(p.stopping, r.Body, end)
				}
				return nil
			},
			ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
				slog.WarnContext(ctx, "no answer", "app", appID, "error", err)
				web.Fail(c, unanswered(name, c.Request.Method, err))
			},
			ErrorLog:   quiet, // it tells of visitors who leave
			BufferPool: p.buffers,
		}
		forward.ServeHTTP(c.Writer, c.Request)
	}
}

// unanswered is the problem of a request that the service of that name has not answered.
func unanswered(name, method string, err error) *web.Problem {
	var refused *refusedError
	var problem *web.Problem
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &refused):
		return web.NewProblem(refused.status, "The request can't be passed on to the "+name+" service as it is: repeating it changes nothing.")
	case method == http.MethodPost:
		return web.Unavailable("The " + name + " service does not answer, so it is not known whether this happened. Repeat the request with the same Idempotency-Key.")
	}
	return web.Unavailable("The " + name + " service does not answer. Try again.")
}

// buffer reads the request's body, to refuse a large one here and to be able to
// send it twice. Only a POST has one.
func buffer(c *gin.Context) error {
	r := c.Request
	if r.Method != http.MethodPost {
		r.Body, r.ContentLength = http.NoBody, 0
		return nil
	}
	body, err := web.ReadBody(c)
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil
	return nil
}

// headers are those of a call of the app.
func (p *proxy) headers(in http.Header, traceParent string) http.Header {
	out := http.Header{}
	for _, name := range forwarded {
		if values, ok := in[name]; ok {
			out[name] = values
		}
	}
	// The sidecars treat a request for an event stream and nothing else in a way of
	// their own (dapr/pkg/sse), in which a refusal becomes a 500 without its reason.
	// Any other answer they stream as well.
	if accept := strings.Join(out.Values("Accept"), ", "); strings.Contains(strings.ToLower(accept), "text/event-stream") {
		out.Set("Accept", accept+", application/problem+json")
	}
	if p.token != "" {
		out.Set("Dapr-Api-Token", p.token)
	}
	if traceParent != "" {
		out.Set("Traceparent", traceParent)
	}
	return out
}

// endedAt ends a body when ctx is done, as if it were complete. It calls ended once, when
// the body is closed.
func endedAt(ctx context.Context, body io.ReadCloser, ended func()) io.ReadCloser {
	stop := context.AfterFunc(ctx, func() { _ = body.Close() })
	return &ending{body, ctx, sync.OnceFunc(func() { stop(); ended() })}
}

type ending struct {
	io.ReadCloser
	ctx   context.Context
	ended func()
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.ReadCloser.Read(b)
	if err != nil && e.ctx.Err() != nil {
		err = io.EOF
	}
	return n, err
}

func (e *ending) Close() error {
	e.ended()
	return e.ReadCloser.Close()
}

// buffers are for copying answers.
type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte  { return b.Pool.Get().(*[32 << 10]byte)[:] } //nolint:errcheck,forcetypeassert // New's
func (b *buffers) Put(s []byte) { b.Pool.Put((*[32 << 10]byte)(s)) }

var quiet = log.New(io.Discard, "", 0)
