package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// raw sends a request exactly as it is written, which Go's client would not do, and
// returns the answer.
func raw(t *testing.T, port int, request string) response {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, body, 0}
}

// A client's mistake is a 4xx that says what is wrong, at every port.
func TestAClientsErrorsAre4xx(t *testing.T) {
	path := map[string]string{"client": "/posts", "query": "/posts", "eventlog": "/events", "posts": "/", "comments": "/", "moderation": "/"}
	for _, a := range shared.Services() {
		get := func(rest string) string { return "GET " + path[a.Name] + rest }
		for name, test := range map[string]struct {
			request string
			status  int
		}{
			"a User-Agent in Latin 1":     {get(" HTTP/1.1\nHost: localhost\nUser-Agent: M\xfcller\n\n"), 400},
			"an Idempotency-Key likewise": {get(" HTTP/1.1\nHost: localhost\nIdempotency-Key: \xfc\n\n"), 400},
			"a query likewise":            {get("?cursor=\xfc HTTP/1.1\nHost: localhost\n\n"), 400},
			"a header of 16,000 bytes":    {get(" HTTP/1.1\nHost: localhost\nX: " + strings.Repeat("x", 16_000) + "\n\n"), 431},
			"a query of 16,000 bytes":     {get("?x=" + strings.Repeat("x", 16_000) + " HTTP/1.1\nHost: localhost\n\n"), 431},
			"another machine's name":      {get(" HTTP/1.1\nHost: evil.example\n\n"), 421},
		} {
			r := raw(t, a.Port, test.request)
			if r.status != test.status || r.header.Get("Content-Type") != "application/problem+json" || r.header.Get("Retry-After") != "" {
				t.Errorf("%s, %s: %s, want %d", a.Name, name, r, test.status)
			}
		}
	}
}

// A request that a service's own port accepts also passes through sidecars.
func TestAHeadOfTheLargestSizePassesThroughTheSidecars(t *testing.T) {
	const most = 8 << 10
	for _, app := range []string{"query", "client"} {
		for extra, status := range map[int]int{0: 200, 1: 431} {
			// The host forwards this header. Its name and value have 19 bytes and the
			// rest.
			size := most - len("/posts") - len("Host: localhost\r\n") - len("Accept-Language: \r\n") + extra
			r := raw(t, shared.App(app).Port, "GET /posts HTTP/1.1\nHost: localhost\nAccept-Language: "+strings.Repeat("x", size)+"\n\n")
			if r.status != status {
				t.Errorf("%s, %d bytes more: %s, want %d", app, extra, r, status)
			}
		}
	}
}

func TestEveryPortBindsTheBrowser(t *testing.T) {
	for _, a := range shared.Services() {
		for _, path := range []string{"/healthz", "/readyz", "/", "/nothing"} {
			r, err := do("GET", a.URL()+path, "")
			if err != nil {
				t.Fatal(err)
			}
			h := r.header
			if r.status != http.StatusOK && path != "/nothing" {
				t.Errorf("%s%s: %s", a.Name, path, r)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" ||
				!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Request-Id") == "" {
				t.Errorf("%s%s: %v", a.Name, path, h)
			}
			for name, values := range h {
				if len(values) > 1 && name != "Vary" {
					t.Errorf("%s%s: %s is there %d times", a.Name, path, name, len(values))
				}
			}
		}
	}
	r := want(t, 200, "GET", shared.url("client", "/posts"), "")
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "X-Request-Id", "Cross-Origin-Resource-Policy"} {
		if len(r.header[name]) != 1 {
			t.Errorf("through the host %s is %q", name, r.header[name])
		}
	}
}

func TestTheMediaTypeIsNegotiatedAlikeOnEveryPort(t *testing.T) {
	for _, app := range []string{"query", "client"} {
		for accept, stream := range map[string]bool{
			"text/event-stream;q=0, application/json": false, "application/json": false, "*/*": false, "text/html": false,
			"x/text/event-stream": false, "text/event-stream": true, "application/json;q=0.1, Text/Event-Stream": true,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.url(app, "/posts"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if got := strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream"); got != stream {
				t.Errorf("%s, %s: %s", app, accept, res.Header.Get("Content-Type"))
			}
		}
	}
}

// slowly sends head, then a byte a second until the connection is closed. It returns how
// long that took.
func slowly(port int, head string) (time.Duration, error) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")); err != nil {
		return time.Since(start), nil // closed before all of it was sent
	}
	go func() {
		for tick := time.NewTicker(time.Second); ; <-tick.C {
			if _, err := io.WriteString(conn, "1"); err != nil {
				tick.Stop()
				return
			}
		}
	}()
	if err := conn.SetReadDeadline(start.Add(soon)); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, fmt.Errorf("still open after %s", soon)
	}
	return time.Since(start), nil
}

// A request that does not end holds a connection for 15 s, whatever the answer is.
func TestAConnectionThatSendsSlowlyIsEnded(t *testing.T) {
	var all sync.WaitGroup
	for _, a := range shared.Services() {
		for _, port := range []int{a.Port, a.AppPort} {
			for name, head := range map[string]string{
				"a body":               "POST /posts/create HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 5000\n\n",
				"a GET's body":         "GET /posts HTTP/1.1\nHost: localhost\nContent-Length: 5000\n\n",
				"a body for nothing":   "POST /nothing HTTP/1.1\nHost: localhost\nContent-Length: 5000\n\n",
				"another method":       "PUT /posts HTTP/1.1\nHost: localhost\nContent-Length: 5000\n\n",
				"another media type":   "POST /posts/create HTTP/1.1\nHost: localhost\nContent-Type: text/plain\nContent-Length: 5000\n\n",
				"a delivery":           "POST /deliver/PostCreated HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 5000\n\n",
				"headers, and no more": "GET /posts HTTP/1.1\nX: ",
			} {
				all.Go(func() {
					if took, err := slowly(port, head); err != nil {
						t.Errorf("%s, port %d, %s: %v after %s", a.Name, port, name, err, took)
					}
				})
			}
		}
	}
	all.Wait()
}

// peakMemory is the largest resident set of a process, in KiB.
func peakMemory(t *testing.T, p *system.Process) (kib int) {
	t.Helper()
	bytes, err := p.PeakMemory()
	if err != nil || bytes == 0 {
		t.Fatal(bytes, err)
	}
	return int(bytes / 1024)
}

// On Kubernetes the limit is 256 MiB.
func TestLargeHeadsAndBodiesTakeABoundedMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "160MiB") // as there
	s := another(t, nil, plain(t))
	a := s.App("posts")
	header := "GET / HTTP/1.1\nHost: localhost\nX: " + strings.Repeat("x", 1<<20)
	var all sync.WaitGroup
	for range 250 {
		all.Go(func() {
			if _, err := slowly(a.Port, header); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// As many incomplete bodies as there are connections.
	body := "POST /posts/create HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 65500\n\n" + strings.Repeat(" ", 65_000)
	for range 2_048 {
		all.Go(func() {
			if _, err := slowly(a.Port, body); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	channel := fmt.Sprintf("http://127.0.0.1:%d/deliver/PostCreated", a.AppPort)
	for size, n := range map[int64]int{200 << 20: 1, 31 << 20: 10} {
		for range n {
			all.Go(func() {
				large := io.MultiReader(strings.NewReader(`{"entries":[{"event":"`), io.LimitReader(zeros{}, size))
				res, err := http.Post(channel, "application/json", large)
				if err != nil {
					return // the service has closed the connection meanwhile, which is an answer as well
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusRequestEntityTooLarge && res.StatusCode != http.StatusBadRequest {
					t.Errorf("a delivery of %d MiB is answered %s", size>>20, res.Status)
				}
			})
		}
	}
	all.Wait()
	if got := peakMemory(t, s.process(t, a.Port)); got > 256<<10 {
		t.Errorf("it took %d MiB", got>>10)
	}
	s.createPost(t, "it is still there")
}

// zeros reads as an endless text of digits.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}
