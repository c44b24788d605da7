package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/postbus/postbus/apps/internal/event"
)

// serve answers one request with an engine of these routes.
func serve(method, target string, header http.Header, routes func(*gin.Engine)) *httptest.ResponseRecorder {
	engine := NewEngine()
	routes(engine)
	req := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		req.Header[name] = values
	}
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	return res
}

// wantProblem checks that res is a problem document of that status and returns its members.
func wantProblem(t *testing.T, res *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	if res.Code != status {
		t.Errorf("status %d, want %d", res.Code, status)
	}
	if got := res.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	var members map[string]any
	if err := json.Unmarshal(res.Body.Bytes(), &members); err != nil {
		t.Fatalf("%s: %v", res.Body, err)
	}
	if members["status"] != float64(status) || members["title"] != http.StatusText(status) {
		t.Errorf("the problem is %s, want status %d and its title", res.Body, status)
	}
	return members
}

// silenced keeps the log out of the tests' output, and returns it.
func silenced(t *testing.T) *bytes.Buffer {
	t.Helper()
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(TraceLog(slog.NewTextHandler(&log, nil))))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

func failing(err error) func(*gin.Engine) {
	return func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) { Fail(c, err) }, func(c *gin.Context) { c.String(http.StatusOK, "the next handler ran") })
	}
}

func TestFailWritesAProblemAsItIs(t *testing.T) {
	res := serve(http.MethodGet, "/", nil, failing(fmt.Errorf("wrapped: %w", NewProblem(http.StatusNotFound, "Not <here>."))))
	members := wantProblem(t, res, http.StatusNotFound)
	if !strings.HasSuffix(res.Body.String(), "}\n") {
		t.Errorf("a terminal goes on in the line of %q", res.Body)
	}
	if members["detail"] != "Not <here>." || !strings.Contains(res.Body.String(), "<here>") {
		t.Errorf("the problem is %s", res.Body)
	}
	for _, absent := range []string{"field", "RetryAfter", "retryAfter"} {
		if _, there := members[absent]; there {
			t.Errorf("%s is in %s", absent, res.Body)
		}
	}
	if got := res.Header().Get("Retry-After"); got != "" {
		t.Errorf("Retry-After is %q", got)
	}
}

func TestFailMakesAFieldOutOfBoundsUnprocessable(t *testing.T) {
	members := wantProblem(t, serve(http.MethodGet, "/", nil, failing((&event.Post{}).ValidateText())), http.StatusUnprocessableEntity)
	if members["field"] != "title" || members["detail"] != "title must not be empty" {
		t.Errorf("the problem is %v", members)
	}
}

// A secret in an error of the store must not reach a client.
func TestFailHidesOtherErrorsFromTheClient(t *testing.T) {
	log := silenced(t)
	res := serve(http.MethodGet, "/", nil, failing(errors.New("password of redis")))
	wantProblem(t, res, http.StatusInternalServerError)
	if strings.Contains(res.Body.String(), "redis") {
		t.Errorf("the client gets %s", res.Body)
	}
	if !strings.Contains(log.String(), "password of redis") {
		t.Errorf("the log does not say it: %s", log)
	}
}

func TestUnavailableAsksToComeBackAfterASecond(t *testing.T) {
	res := serve(http.MethodGet, "/", nil, failing(Unavailable("Down.")))
	wantProblem(t, res, http.StatusServiceUnavailable)
	if got := res.Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q", got)
	}
}

func TestRetryAfterIsInSeconds(t *testing.T) {
	p := NewProblem(http.StatusTooManyRequests, "Slow down.")
	p.RetryAfter = 2 * time.Minute
	if got := serve(http.MethodGet, "/", nil, failing(p)).Header().Get("Retry-After"); got != "120" {
		t.Errorf("Retry-After is %q", got)
	}
}

// A handler may have set the type of the answer before it failed.
func TestAProblemReplacesAnEarlierContentType(t *testing.T) {
	wantProblem(t, serve(http.MethodGet, "/", nil, func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) {
			c.Header("Content-Type", "text/event-stream")
			Fail(c, Unavailable("Down."))
		})
	}), http.StatusServiceUnavailable)
}

func TestFailEndsTheRequest(t *testing.T) {
	if res := serve(http.MethodGet, "/", nil, failing(NewProblem(http.StatusNotFound, ""))); strings.Contains(res.Body.String(), "next handler") {
		t.Errorf("got %s", res.Body)
	}
}

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	for _, target := range []string{"/nothing", "/posts/", "/", "/posts/x/y"} {
		res := serve(http.MethodGet, target, nil, func(e *gin.Engine) {
			e.GET("/posts", func(c *gin.Context) { c.Status(http.StatusOK) })
		})
		wantProblem(t, res, http.StatusNotFound)
	}
}

func TestAnotherMethodIsAProblemThatNamesThoseAllowed(t *testing.T) {
	res := serve(http.MethodDelete, "/posts", nil, func(e *gin.Engine) {
		e.GET("/posts", func(c *gin.Context) { c.Status(http.StatusOK) })
		e.POST("/posts", func(c *gin.Context) { c.Status(http.StatusOK) })
		e.PUT("/others", func(c *gin.Context) { c.Status(http.StatusOK) })
	})
	members := wantProblem(t, res, http.StatusMethodNotAllowed)
	allow := res.Header().Get("Allow")
	if allow != "GET, POST" && allow != "POST, GET" {
		t.Errorf("Allow is %q", allow)
	}
	if want := "/posts does not take DELETE; it takes " + allow + "."; members["detail"] != want {
		t.Errorf("the detail is %q, want %q", members["detail"], want)
	}
}

func TestAPanicIsAProblem(t *testing.T) {
	log := silenced(t)
	res := serve(http.MethodGet, "/", nil, func(e *gin.Engine) {
		e.GET("/", func(*gin.Context) { panic("a secret") })
	})
	wantProblem(t, res, http.StatusInternalServerError)
	if strings.Contains(res.Body.String(), "secret") {
		t.Errorf("the client gets %s", res.Body)
	}
	if !strings.Contains(log.String(), "a secret") || !strings.Contains(log.String(), "web_test.go") {
		t.Errorf("the log does not say what panicked where: %s", log)
	}
}

// A part of an answer must not look like the whole answer.
func TestAPanicInTheMiddleOfAnAnswerCutsItOff(t *testing.T) {
	silenced(t)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
			t.Errorf("the panic is %v, which does not cut the answer off", p)
		}
	}()
	serve(http.MethodGet, "/", nil, func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) {
			c.String(http.StatusOK, "half")
			panic("a bug")
		})
	})
	t.Error("the answer went on")
}

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "00-" + traceID + "-b7ad6b7169203331-01"
)

func TestARequestGoesOnWithItsCallersTrace(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		inside bool
	}{
		"a caller with a trace":     {parent, true},
		"a caller without":          {"", false},
		"a caller with a wrong one": {"00-xyz-01", false},
	} {
		t.Run(name, func(t *testing.T) {
			var seen string
			serve(http.MethodGet, "/", http.Header{"Traceparent": {test.header}}, func(e *gin.Engine) {
				e.GET("/", func(c *gin.Context) { seen = TraceParent(c.Request.Context()) })
			})
			if strings.Contains(seen, traceID) != test.inside {
				t.Errorf("the handler is in %q", seen)
			}
		})
	}
}

func TestOutsideATraceTraceParentIsEmpty(t *testing.T) {
	if got := TraceParent(context.Background()); got != "" {
		t.Errorf("got %q", got)
	}
}

func inTrace(t *testing.T) context.Context {
	t.Helper()
	id, err := trace.TraceIDFromHex(traceID)
	if err != nil {
		t.Fatal(err)
	}
	span, err := trace.SpanIDFromHex("b7ad6b7169203331")
	if err != nil {
		t.Fatal(err)
	}
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.FlagsSampled}))
}

func TestTraceParentIsW3CTraceContext(t *testing.T) {
	if got := TraceParent(inTrace(t)); got != parent {
		t.Errorf("got %q, want %q", got, parent)
	}
}

func TestLinesAreLoggedWithTheirTrace(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(TraceLog(slog.NewTextHandler(&out, nil)))
	for name, log := range map[string]*slog.Logger{
		"as it is":       log,
		"with attribute": log.With("service", "x"),
		"with group":     log.WithGroup("group"),
	} {
		out.Reset()
		log.InfoContext(inTrace(t), "hello")
		if !strings.Contains(out.String(), "trace="+traceID) {
			t.Errorf("%s: %s", name, out.String())
		}
		out.Reset()
		log.Info("hello")
		if strings.Contains(out.String(), "trace=") {
			t.Errorf("%s, outside a trace: %s", name, out.String())
		}
	}
}
