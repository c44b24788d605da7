package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/client/signin"
	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/web"
)

// forwarded are the request headers that reach a service, beside a bearer token. Others may mean
// something to Dapr: an app id, a caller, a token, and other credentials in Authorization, in
// which the sidecar also looks for an app id.
var forwarded = []string{
	"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", command.KeyHeader, "If-Match", "If-None-Match", "Last-Event-Id", "User-Agent", web.Receipt, web.RequestID,
}

// dropped are headers that the sidecars add to an answer.
var dropped = []string{"Server", "Traceparent", "Tracestate"}

// validID matches an id in a path. Such an id cannot lead to another route, however it is
// encoded.
var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// quiet drops what httputil logs: that visitors have left.
var quiet = log.New(io.Discard, "", 0)

// NewTransport returns a transport for requests to the sidecar.
func NewTransport() http.RoundTripper {
	return &http.Transport{
		DisableCompression:  true, // query compresses as the visitor asks for it
		MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second,
	}
}

// forward passes requests on to the service of that name.
func (h *Host) forward(name, appID string) gin.HandlerFunc {
	transport := retrying{name, h.Transport}
	return func(c *gin.Context) {
		call, err := h.call(c, appID)
		if err != nil {
			web.Fail(c, err)
			return
		}
		proxy := httputil.ReverseProxy{
			Rewrite:        func(*httputil.ProxyRequest) {}, // call has built the whole request
			Transport:      transport,
			ModifyResponse: func(r *http.Response) error { return h.modify(r, c.Writer.Header()) },
			ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
				slog.WarnContext(call.Context(), "no answer", "app", appID, "error", err)
				web.Fail(c, problemOf(err, name, call.Method))
			},
			ErrorLog: quiet,
		}
		proxy.ServeHTTP(c.Writer, call)
	}
}

// call returns the call of an app for a visitor's request. It reads the body here: a
// large body is refused, and any other can be sent twice. The error is a *web.Problem.
func (h *Host) call(c *gin.Context, appID string) (call *http.Request, err error) {
	in := c.Request
	if slices.ContainsFunc(c.Params, func(p gin.Param) bool { return !validID.MatchString(p.Value) }) {
		return nil, web.NewProblem(http.StatusNotFound, "There is nothing at "+in.URL.Path+".")
	}
	var body []byte
	if in.Method == http.MethodPost || in.Method == http.MethodPut { // no other method has a body
		if body, err = web.ReadBody(c); err != nil {
			return nil, err
		}
	}
	address := h.Sidecar + "/v1.0/invoke/" + appID + "/method" + in.URL.Path
	if call, err = http.NewRequestWithContext(in.Context(), in.Method, address, bytes.NewReader(body)); err != nil {
		return nil, err
	}
	call.URL.RawQuery = in.URL.RawQuery
	for _, name := range forwarded {
		if values, ok := in.Header[name]; ok {
			call.Header[name] = values
		}
	}
	// The sidecars handle a request that accepts only an event stream separately
	// (dapr/pkg/sse in 1.18.2), and turn a refusal into a 500 without its reason. They
	// stream any other answer as well. No issue found; it can go when a refusal passes
	// through.
	if accept := strings.Join(in.Header.Values("Accept"), ", "); strings.Contains(strings.ToLower(accept), "text/event-stream") {
		call.Header.Set("Accept", accept+", application/problem+json")
	}
	if err := bearer(call.Header, in.Header["Authorization"]); err != nil {
		c.Header("WWW-Authenticate", `Bearer error="invalid_request"`)
		return nil, err
	}
	call.Header.Set(web.ClientHeader, c.ClientIP())
	if guest := signin.Guest(c); guest != "" {
		call.Header.Set(web.GuestHeader, guest)
	}
	if h.Token != "" {
		call.Header.Set("Dapr-Api-Token", h.Token)
	}
	if trace := web.TraceParent(in.Context()); trace != "" {
		call.Header.Set("Traceparent", trace)
	}
	return call, nil
}

// bearer passes on a bearer token. Other credentials are none of ours. Two of them are refused, so
// that nobody who is signed in becomes a guest.
func bearer(header http.Header, credentials []string) error {
	switch {
	case !slices.ContainsFunc(credentials, identity.IsBearer):
		return nil
	case len(credentials) > 1:
		return web.NewProblem(http.StatusUnauthorized, "There are several Authorization headers. Send one.")
	}
	header["Authorization"] = credentials
	return nil
}

// modify removes the headers of the sidecars from an answer, and those that the host sets
// itself. It counts a stream, and ends it when the host stops. The error is a
// *web.Problem for a stream beyond the bound.
func (h *Host) modify(r *http.Response, own http.Header) error {
	for _, name := range dropped {
		r.Header.Del(name)
	}
	for name := range own {
		r.Header.Del(name)
	}
	if !web.HasMediaType(r.Header, "text/event-stream") {
		return nil
	}
	end, err := h.Streams.Begin()
	if err != nil {
		return err
	}
	body := r.Body
	forget := context.AfterFunc(h.Stopping, func() { _ = body.Close() })
	r.Body = stream{body, h.Stopping, sync.OnceFunc(func() { forget(); end() })}
	return nil
}

// problemOf is the problem of a request that the named service has not answered.
func problemOf(err error, name, method string) *web.Problem {
	problem := web.Unavailable("The " + name + " service does not answer. Try again.")
	if method == http.MethodPost || method == http.MethodPut {
		problem = web.Unavailable("The " + name + " service does not answer, so it is not known whether this happened. Repeat the request with the same Idempotency-Key.")
	}
	_ = errors.As(err, &problem) // keeps an error that is a problem itself
	return problem
}

// stream is a body that ends when the host stops, as if it were complete.
type stream struct {
	io.ReadCloser
	stopping context.Context
	closed   func()
}

// Read reads the body.
func (s stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && s.stopping.Err() != nil {
		err = io.EOF
	}
	return n, err
}

// Close closes the body.
func (s stream) Close() error {
	defer s.closed()
	return s.ReadCloser.Close()
}
