package web

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
)

// oneClient accepts one connection without buffers: a write waits until the other side
// reads.
type oneClient chan net.Conn

func (v oneClient) Accept() (net.Conn, error) {
	if conn, ok := <-v; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (v oneClient) Close() error { close(v); return nil }
func (oneClient) Addr() net.Addr { return &net.TCPAddr{} }

// visit serves one client. ended is closed when the server is done with the connection.
func visit(t *testing.T, h http.Handler) (client net.Conn, ended <-chan struct{}) {
	t.Helper()
	here, there := net.Pipe()
	done, listener := make(chan struct{}), oneClient(make(chan net.Conn, 1))
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

func TestTheConnectionOfAClientThatDoesNotReadIsEnded(t *testing.T) {
	for _, request := range []string{
		"GET /", "HEAD /", "GET /nothing", "POST /", "GET /string", "GET /flushed",
	} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := NewEngine()
				e.Match([]string{"GET", "HEAD"}, "/", func(c *gin.Context) { c.String(http.StatusOK, "small") })
				e.GET("/string", func(c *gin.Context) { _, _ = c.Writer.WriteString(strings.Repeat("x", 64<<10)) })
				e.GET("/flushed", func(c *gin.Context) { c.Writer.Flush() })
				client, ended := visit(t, e)
				if _, err := io.WriteString(client, request+" HTTP/1.1\r\nHost: postbus\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				select {
				case <-ended:
				case <-time.After(time.Hour):
				}
				if took := time.Since(start); took != writeTimeout {
					t.Errorf("ended after %s", took)
				}
			})
		})
	}
}

// The timeout is for each part, and the next request has its own.
func TestTheConnectionOfAClientThatReadsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEngine()
		e.GET("/slow", func(c *gin.Context) {
			for range 3 {
				_, _ = c.Writer.WriteString("part,")
				c.Writer.Flush()
				time.Sleep(writeTimeout - time.Second)
				_, _ = c.Writer.Write([]byte("part,"))
			}
			time.Sleep(time.Hour) // nothing to write, and then the end
		})
		client, _ := visit(t, e)
		answers := bufio.NewReader(client)
		for range 2 {
			if _, err := io.WriteString(client, "GET /slow HTTP/1.1\r\nHost: postbus\r\n\r\n"); err != nil {
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

// A client that accepts the answer piece by piece may take any time.
func TestTheConnectionOfAClientThatReadsSlowlyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEngine()
		e.GET("/long", func(c *gin.Context) { c.Data(http.StatusOK, "text/plain", make([]byte, 8*writeBytes)) })
		client, _ := visit(t, e)
		if _, err := io.WriteString(client, "GET /long HTTP/1.1\r\nHost: postbus\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReaderSize(client, 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		piece, read := make([]byte, writeBytes/2), 0
		for {
			n, err := io.ReadFull(res.Body, piece)
			read += n
			if err != nil {
				break
			}
			time.Sleep(writeTimeout/2 - time.Second)
		}
		if read != 8*writeBytes {
			t.Errorf("read %d bytes of %d", read, 8*writeBytes)
		}
	})
}

// head is a request with that many bytes in its address and header fields.
func head(size int) http.Header {
	const name = "X"
	return http.Header{name: {strings.Repeat("x", size-len("/")-len(name+": \r\n"))}}
}

func TestTheAddressAndTheHeadersHaveAtMostMaxHeadBytes(t *testing.T) {
	ok := func(e *gin.Engine) {
		e.GET("/", WellFormedHead, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
	engine := NewEngine()
	ok(engine)
	for _, test := range []struct {
		target string
		header http.Header
		status int
	}{
		{"/", head(MaxHead), http.StatusNoContent},
		{"/", http.Header{"Host": {strings.Repeat("x", MaxHead-len("/")-len("Host: \r\n"))}}, http.StatusNoContent},
		{"/", http.Header{"Host": {strings.Repeat("x", MaxHead-len("/")-len("Host: \r\n")+1)}}, http.StatusRequestHeaderFieldsTooLarge},
		{"/", head(MaxHead + 1), http.StatusRequestHeaderFieldsTooLarge},
		{"/?" + strings.Repeat("x", MaxHead-2), nil, http.StatusNoContent},
		{"/?" + strings.Repeat("x", MaxHead-1), nil, http.StatusRequestHeaderFieldsTooLarge},
		{"/", http.Header{"A": {strings.Repeat("x", MaxHead/2), strings.Repeat("x", MaxHead/2)}}, http.StatusRequestHeaderFieldsTooLarge},
	} {
		req := httptest.NewRequest(http.MethodGet, test.target, nil)
		req.Host = "" // unless the test has one
		for name, values := range test.header {
			if req.Header[name] = values; name == "Host" { // net/http keeps it beside
				req.Host = values[0]
				req.Header.Del(name)
			}
		}
		res := httptest.NewRecorder()
		engine.ServeHTTP(res, req)
		if res.Code != test.status {
			t.Errorf("%.10s with %d bytes of address: %d, want %d", test.target, len(test.target), res.Code, test.status)
		}
	}
	wantProblem(t, serve(http.MethodGet, "/", head(2*MaxHead), ok), http.StatusRequestHeaderFieldsTooLarge)
}

func TestStreamsAtOnceAreBounded(t *testing.T) {
	streams := make(Streams, 2)
	var ends []func()
	for range cap(streams) {
		end, err := streams.Begin()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	var problem *Problem
	if _, err := streams.Begin(); !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable {
		t.Errorf("one more is answered %v", err)
	}
	ends[0]()
	if _, err := streams.Begin(); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

func TestBytesThatAreNotUTF8AreRefusedByName(t *testing.T) {
	ok := func(e *gin.Engine) {
		e.GET("/", WellFormedHead, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
	for _, name := range []string{"User-Agent", "Idempotency-Key", "X-Other"} {
		members := wantProblem(t, serve(http.MethodGet, "/", http.Header{name: {"M\xfcller"}}, ok), http.StatusBadRequest)
		if !strings.Contains(members["detail"].(string), name) { //nolint:forcetypeassert,errcheck // a problem has one
			t.Errorf("the problem does not name %s: %v", name, members)
		}
	}
	if res := serve(http.MethodGet, "/", http.Header{"User-Agent": {"Müller"}}, ok); res.Code != http.StatusNoContent {
		t.Errorf("UTF-8 is refused: %d", res.Code)
	}
	engine := NewEngine()
	ok(engine)
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.RequestURI = "/?cursor=\xfc"
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, req)
	wantProblem(t, res, http.StatusBadRequest)
}

func TestAQueryThatCanNotBeReadIsRefused(t *testing.T) {
	ok := func(e *gin.Engine) {
		e.GET("/", WellFormedQuery, func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
	for _, query := range []string{"limit=1;cursor=x", "limit=%", "cursor=%zz", "limit=1&limit=2", "a=1&b=2&a=1"} {
		wantProblem(t, serve(http.MethodGet, "/?"+query, nil, ok), http.StatusBadRequest)
	}
	for _, query := range []string{"", "limit=1&cursor=x", "limit", "a=%3b", "unknown=1"} {
		if res := serve(http.MethodGet, "/?"+query, nil, ok); res.Code != http.StatusNoContent {
			t.Errorf("%q is answered %d", query, res.Code)
		}
	}
}
