package main

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
)

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	e := engineOf(t, builtSite())
	for _, target := range []string{"/", script, "/nothing"} {
		h := ask(e, "GET", target).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		if got := h.Get("Permissions-Policy"); !strings.Contains(got, "camera=()") {
			t.Errorf("%s: Permissions-Policy is %q", target, got)
		}
		csp := h.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, directive) {
				t.Errorf("%s: the policy has no %s: %s", target, directive, csp)
			}
		}
		for _, unsafe := range []string{"unsafe", "http", "*", "blob:", "data:"} {
			if strings.Contains(csp, unsafe) {
				t.Errorf("%s: the policy has %s: %s", target, unsafe, csp)
			}
		}
	}
}

func TestARequestHasAnID(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(before) })

	e := engineOf(t, builtSite())
	for _, sent := range []string{"abc-1.2_3", strings.Repeat("x", 128)} {
		if got := ask(e, "GET", "/", "X-Request-Id: "+sent).Header().Get("X-Request-Id"); got != sent {
			t.Errorf("%q becomes %q", sent, got)
		}
		if !strings.Contains(log.String(), "request="+sent) {
			t.Errorf("%q is not in the log: %s", sent, &log)
		}
	}
	made := map[string]bool{}
	for _, sent := range []string{"", "a b", "a\tb", `"`, "é", "<script>", strings.Repeat("x", 129)} {
		got := ask(e, "GET", "/", "X-Request-Id: "+sent).Header().Get("X-Request-Id")
		if len(got) != 36 || made[got] {
			t.Errorf("%q becomes %q", sent, got)
		}
		made[got] = true
	}
}

// oneVisitor accepts one connection, which holds nothing: what is written to it
// waits for the other side to read.
type oneVisitor chan net.Conn

func (v oneVisitor) Accept() (net.Conn, error) {
	if conn, ok := <-v; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (v oneVisitor) Close() error { close(v); return nil }
func (oneVisitor) Addr() net.Addr { return &net.TCPAddr{} }

// visit serves one visitor. Ended is when the host has done with the connection.
func visit(t *testing.T, h http.Handler) (visitor net.Conn, ended <-chan struct{}) {
	t.Helper()
	here, there := net.Pipe()
	done, listener := make(chan struct{}), oneVisitor(make(chan net.Conn, 1))
	server := &http.Server{Handler: h, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(done)
		}
	}}
	listener <- there
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _, _ = here.Close(), server.Close() })
	return here, done
}

func TestAVisitorWhoDoesNotReadIsGivenUp(t *testing.T) {
	for _, request := range []string{
		"GET /", "HEAD /", "GET /nothing", "POST /", "GET /healthz", "GET /readyz", "GET /string", "GET /flushed",
	} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEdge(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }))
				e.Match([]string{"GET", "HEAD"}, "/", func(c *gin.Context) { c.String(http.StatusOK, "small") })
				e.GET("/string", func(c *gin.Context) { _, _ = c.Writer.WriteString(strings.Repeat("x", 64<<10)) })
				e.GET("/flushed", func(c *gin.Context) { c.Writer.Flush() })
				visitor, ended := visit(t, e)
				if _, err := io.WriteString(visitor, request+" HTTP/1.1\r\nHost: postbus\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				select {
				case <-ended:
				case <-time.After(time.Hour):
				}
				if took := time.Since(start); took != frameTimeout {
					t.Errorf("given up after %s", took)
				}
			})
		})
	}
}

// The time is for each part, and the next request has its own.
func TestAVisitorWhoReadsIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(http.NotFoundHandler())
		e.GET("/slow", func(c *gin.Context) {
			for range 3 {
				_, _ = c.Writer.WriteString("part,")
				c.Writer.Flush()
				time.Sleep(frameTimeout - time.Second)
				_, _ = c.Writer.Write([]byte("part,"))
			}
			time.Sleep(time.Hour) // nothing to write, and then the end
		})
		visitor, _ := visit(t, e)
		answers := bufio.NewReader(visitor)
		for range 2 {
			if _, err := io.WriteString(visitor, "GET /slow HTTP/1.1\r\nHost: postbus\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != strings.Repeat("part,", 6) {
				t.Errorf("read %q, %v", body, err)
			}
			time.Sleep(time.Hour)
		}
	})
}
