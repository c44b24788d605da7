package service

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// pipes is a listener in memory, for tests whose clock is virtual.
type pipes struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func newPipes() *pipes {
	return &pipes{connections: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.connections:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }
func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) connect() net.Conn {
	here, there := net.Pipe()
	p.connections <- there
	return here
}

// posting is an engine with one route that reads a body and one that reads none.
func posting() *gin.Engine {
	e := web.NewEngine()
	e.POST("/posts/create", func(c *gin.Context) {
		var in struct{ Title string }
		if _, err := web.Decode(c, &in); err != nil {
			web.Fail(c, err)
			return
		}
		c.Status(http.StatusCreated)
	})
	e.GET("/posts", func(c *gin.Context) { c.String(http.StatusOK, "posts") })
	return e
}

// A client that sends its body slowly, or never, keeps its connection no longer than
// requestTimeout, however the request is answered.
func TestASlowRequestIsEndedForEveryHandler(t *testing.T) {
	for name, test := range map[string]struct {
		head string
		// prompt means that the answer does not wait for the body.
		prompt bool
		status int
	}{
		"a body that drips":          {"POST /posts/create HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5000", false, 400},
		"a chunked body that drips":  {"POST /posts/create HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked", false, 400},
		"a GET that announces one":   {"GET /posts HTTP/1.1\r\nContent-Length: 5000", true, 200},
		"a path that is not there":   {"POST /nothing HTTP/1.1\r\nContent-Length: 5000", true, 404},
		"a method that is not taken": {"POST /posts HTTP/1.1\r\nContent-Length: 5000", true, 405},
		"another media type":         {"POST /posts/create HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 5000", true, 415},
		"a content coding":           {"POST /posts/create HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 5000", true, 415},
		"headers that drip":          {"GET /posts HTTP/1.1\r\nX: ", false, 408},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipes()
				s := newServer(l, posting())
				go func() { _ = s.serve() }()
				defer func() { _ = s.stop() }()
				client, start := l.connect(), time.Now()
				var sending sync.WaitGroup
				defer sending.Wait()
				defer func() { _ = client.Close() }()
				sending.Go(func() { // a byte a second, for as long as the server takes them
					head := test.head + "\r\nHost: localhost\r\n\r\n"
					if test.status == 408 {
						head = test.head
					}
					_, err := io.WriteString(client, head)
					for err == nil {
						time.Sleep(time.Second)
						_, err = io.WriteString(client, "1")
					}
				})
				answers := bufio.NewReader(client)
				res, err := http.ReadResponse(answers, nil)
				answered := time.Since(start)
				if test.status == 408 {
					if took := time.Since(start); took != headTimeout || err == nil && res.StatusCode != 408 {
						t.Errorf("ended after %s, %v", took, err)
					}
					return
				}
				if err != nil || res.StatusCode != test.status {
					t.Fatalf("answered %v, %v, want %d", res, err, test.status)
				}
				if prompt := answered < time.Second; prompt != test.prompt {
					t.Errorf("answered after %s", answered)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_, _ = io.Copy(io.Discard, answers) // until the server closes the connection
				if took := time.Since(start); took > requestTimeout+time.Second {
					t.Errorf("the connection was open for %s", took)
				}
			})
		})
	}
}

// The deadline is for requests. An answer may take longer.
func TestALongAnswerIsNotEndedByTheReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		e := web.NewEngine()
		e.GET("/stream", func(c *gin.Context) {
			for range 10 {
				time.Sleep(requestTimeout / 2)
				if c.Request.Context().Err() != nil {
					return
				}
				_, _ = c.Writer.WriteString("part,")
				c.Writer.Flush()
			}
		})
		s := newServer(l, e)
		go func() { _ = s.serve() }()
		defer func() { _ = s.stop() }()
		client := l.connect()
		defer func() { _ = client.Close() }()
		if _, err := io.WriteString(client, "GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != strings.Repeat("part,", 10) {
			t.Errorf("read %q, %v", body, err)
		}
	})
}

// A request that never ends delays a stop by stopTimeout, and only this request is cut
// off: each server has a timeout of its own.
func TestASlowRequestCutsOffNoOtherRequestAtAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public, channel := newPipes(), newPipes()
		answer := func(c *gin.Context) { time.Sleep(stopTimeout - time.Second); c.String(http.StatusOK, "answered") }
		e := posting()
		e.GET("/slow", answer)
		servers := []*server{newServer(public, e), newServer(channel, e)}
		for _, s := range servers {
			go func() { _ = s.serve() }()
		}
		dripping := public.connect()
		if _, err := io.WriteString(dripping, "POST /posts/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		answers := make(chan error, 2)
		for _, l := range []*pipes{public, channel} {
			wait := time.Duration(0)
			if l == channel {
				wait = stopTimeout - time.Second // under way when the public server has cut it off
			}
			go func() {
				time.Sleep(wait)
				client := l.connect()
				defer func() { _ = client.Close() }()
				_, err := io.WriteString(client, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
				var res *http.Response
				if err == nil {
					res, err = http.ReadResponse(bufio.NewReader(client), nil)
				}
				if err == nil && res.StatusCode != http.StatusOK {
					err = errors.New(res.Status)
				}
				answers <- err
			}()
		}
		synctest.Wait()
		start := time.Now()
		for i, s := range servers {
			if err := s.stop(); (err != nil) != (i == 0) {
				t.Errorf("server %d stops with %v", i, err)
			}
		}
		if took := time.Since(start); took > 2*stopTimeout {
			t.Errorf("the stop takes %s", took)
		}
		for range 2 {
			if err := <-answers; err != nil {
				t.Errorf("another request was cut off: %v", err)
			}
		}
		_ = dripping.Close()
	})
}

func TestAListenersConnectionsAreBounded(t *testing.T) {
	const most = 3
	s, err := listen("127.0.0.1", 0, most, posting())
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.serve() }()
	t.Cleanup(func() { _ = s.stop() })
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ask := func(c net.Conn, within time.Duration) error {
		if err := c.SetDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "GET /posts HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		return err
	}
	var held []net.Conn
	for i := range most {
		c := dial()
		held = append(held, c)
		if err := ask(c, time.Minute); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	waiting := dial()
	if err := ask(waiting, 50*time.Millisecond); err == nil {
		t.Errorf("%d connections are answered at once", most+1)
	}
	_ = held[0].Close()
	next := dial()
	_ = waiting.Close()
	if err := ask(next, time.Minute); err != nil {
		t.Errorf("when one has ended the next is not answered: %v", err)
	}
}

func TestThePublicPortIsThisMachinesUnlessHostSaysOtherwise(t *testing.T) {
	for host, want := range map[string]string{"": "127.0.0.1:", "127.0.0.2": "127.0.0.2:", "localhost": "127.0.0.1:", "*": "[::]:", "::1": "[::1]:"} {
		asProcess(t, map[string]string{"HOST": host}, "-port=0", "-app-port=0")
		s := New("test", "tests", 0)
		l, err := listen(s.settings.host, 0, 1, s.Public)
		if err != nil {
			if host == "::1" || host == "localhost" { // on a machine without it
				t.Logf("%s: %v", host, err)
				continue
			}
			t.Fatal(err)
		}
		got := l.listener.Addr().String()
		if host == "*" { // of IPv4 alone, on a machine without the other
			got = strings.Replace(got, "0.0.0.0:", "[::]:", 1)
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("HOST=%s listens at %s", host, got)
		}
		_ = l.listener.Close()
	}
}

func TestAPortOfThisMachineAnswersUnderItsNamesAlone(t *testing.T) {
	for _, test := range []struct {
		host, allowed, asked string
		status               int
	}{
		{"", "", "localhost:4000", 200}, {"", "", "evil.example:4000", 421}, {"", "blog.example", "blog.example", 200}, {"", "a.example, Blog.example", "blog.example:1", 200},
		{"Localhost", "", "evil.example", 421}, {"LOCALHOST", "", "localhost", 200}, {"127.9.9.9", "", "evil.example", 421}, {"::1", "", "evil.example", 421},
		{"127.0.0.1", "Blog.example.:3000", "blog.example", 200},
		{"*", "", "posts.com", 200}, {"*", "posts.com", "posts.com", 200}, {"*", "posts.com", "evil.example", 421}, {"*", "posts.com", "localhost", 200},
	} {
		asProcess(t, map[string]string{"HOST": test.host, "ALLOWED_HOSTS": test.allowed})
		s := New("test", "tests", 0)
		s.API(func(gin.IRoutes) {})
		for _, path := range []string{"/", "/healthz", "/nothing"} {
			want := test.status
			if path == "/nothing" && want == 200 {
				want = 404
			}
			if res := get(s.Public, path, http.Header{}, test.asked); res.Code != want {
				t.Errorf("%+v: %s is answered %d", test, path, res.Code)
			}
		}
		// The app channel always answers under this machine's names only.
		if res := get(s.Channel, "/nothing", nil, "posts.com"); res.Code != 421 {
			t.Errorf("the channel answers %d", res.Code)
		}
	}
}

func TestStreamsLeaveConnectionsForTheRest(t *testing.T) {
	for connections, streams := range map[string]int{"": 1536, "8": 6, "1": 1} {
		asProcess(t, map[string]string{"MAX_CONNECTIONS": connections})
		if s := New("test", "tests", 0); cap(s.Streams) != streams {
			t.Errorf("of %q connections %d are for streams, want %d", connections, cap(s.Streams), streams)
		}
	}
}

func TestAServiceSaysWhatItIs(t *testing.T) {
	asProcess(t, nil)
	s := New("test", "tests things", 0)
	s.API(func(r gin.IRoutes) { r.GET("/things/:id", func(*gin.Context) {}) })
	res := get(s.Public, "/", nil)
	for _, part := range []string{`"service": "test"`, `"purpose": "tests things"`, "GET /things/:id", "GET /readyz"} {
		if !strings.Contains(res.Body.String(), part) {
			t.Errorf("no %s in %s", part, res.Body)
		}
	}
	if res := get(s.Channel, "/", nil); res.Code != http.StatusNotFound {
		t.Errorf("the channel says it, too: %d", res.Code)
	}
}

func TestAnAPIRefusesAQueryThatCanNotBeRead(t *testing.T) {
	asProcess(t, nil)
	s := New("test", "tests", 0)
	s.API(func(r gin.IRoutes) { r.GET("/things", func(c *gin.Context) { c.Status(http.StatusNoContent) }) })
	for name, e := range map[string]*gin.Engine{"public": s.Public, "channel": s.Channel} {
		if res := get(e, "/things?limit=1;cursor=x", nil); res.Code != http.StatusBadRequest {
			t.Errorf("%s: answered %d", name, res.Code)
		}
		if res := get(e, "/things?limit=1&cursor=x", nil); res.Code != http.StatusNoContent {
			t.Errorf("%s: answered %d", name, res.Code)
		}
	}
}
