package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// calls answers the calls in their order. After the last answer it answers nothing.
type calls struct {
	answers []func(*http.Request) (*http.Response, error)
	bodies  []string
}

func (c *calls) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		c.bodies = append(c.bodies, string(body))
	}
	i := len(c.bodies) - 1
	if i < len(c.answers) {
		return c.answers[i](req)
	}
	return hangs(req)
}

func hangs(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func after(wait time.Duration, status int) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(wait):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		header := http.Header{"Content-Type": {"application/problem+json"}}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("answer"))}, nil
	}
}

// refuses answers like a sidecar that cannot make the call.
func refuses(status int) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		header := http.Header{"Content-Type": {"text/plain"}}
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: header, Body: io.NopCloser(strings.NewReader("no"))}, nil
	}
}

func fails(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func TestRetries(t *testing.T) {
	type answers = []func(*http.Request) (*http.Response, error)
	for name, test := range map[string]struct {
		method, key string
		answers     answers
		calls       int
		took        time.Duration
		err         string
	}{
		"at once":                      {"GET", "", answers{after(0, 200)}, 1, 0, ""},
		"an error of the service":      {"GET", "", answers{after(0, 503)}, 1, 0, ""},
		"just in time":                 {"GET", "", answers{after(999*time.Millisecond, 200)}, 1, 999 * time.Millisecond, ""},
		"a dead replica":               {"GET", "", answers{fails, after(0, 200)}, 2, 0, ""},
		"a dead replica, HEAD":         {"HEAD", "", answers{fails, after(0, 200)}, 2, 0, ""},
		"a silent replica":             {"GET", "", answers{hangs, after(0, 200)}, 2, time.Second, ""},
		"a service that takes its 2 s": {"GET", "", answers{after(2200*time.Millisecond, 503), after(2200*time.Millisecond, 503)}, 2, 3200 * time.Millisecond, ""},
		"a command that takes its 2 s": {"POST", "k", answers{after(2200*time.Millisecond, 503), after(2200*time.Millisecond, 503)}, 2, 3200 * time.Millisecond, ""},
		"four dead replicas":           {"GET", "", answers{fails, fails, fails, fails, after(0, 200)}, 5, 0, ""},
		"down":                         {"GET", "", answers{fails, fails, fails, fails, fails, after(0, 200)}, 5, 0, "connection refused"},
		"silent":                       {"GET", "", nil, 2, 3500 * time.Millisecond, "in time"},
		"a command, down":              {"POST", "", answers{fails, after(0, 201)}, 1, 0, "connection refused"},
		"a command, silent":            {"POST", "", nil, 1, 3500 * time.Millisecond, "in time"},
		"a slow command":               {"POST", "", answers{after(2*time.Second, 503)}, 1, 2 * time.Second, ""},
		"a command with a key, down":   {"POST", "k", answers{fails, after(0, 201)}, 2, 0, ""},
		"a command with a key, silent": {"POST", "k", answers{hangs, after(0, 201)}, 2, time.Second, ""},
		"refused, the head":            {"GET", "", answers{refuses(431), after(0, 200)}, 1, 0, "the sidecar says 431: no"},
		"refused, the address":         {"GET", "", answers{refuses(414), after(0, 200)}, 1, 0, "the sidecar says 414: no"},
		"refused, the body":            {"POST", "k", answers{refuses(413), after(0, 201)}, 1, 0, "the sidecar says 413: no"},
		"refused, a header":            {"POST", "k", answers{refuses(400), after(0, 201)}, 1, 0, "the sidecar says 400: no"},
		"the sidecar fails":            {"GET", "", answers{refuses(500), after(0, 200)}, 2, 0, ""},
		"no way to the service":        {"GET", "", answers{refuses(503), after(0, 200)}, 2, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				c := &calls{answers: test.answers}
				req, err := http.NewRequestWithContext(t.Context(), test.method, "http://sidecar/", strings.NewReader("the body"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Idempotency-Key", test.key)
				res, err := retrying{"posts", c}.RoundTrip(req)
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
				if len(c.bodies) != test.calls {
					t.Errorf("%d calls, want %d", len(c.bodies), test.calls)
				}
				for _, body := range c.bodies {
					if body != "the body" {
						t.Errorf("a body is %q", body)
					}
				}
				if test.err != "" {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Errorf("the error is %v, want %s", err, test.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour) // a body may take as long as it likes
				if res.Request = nil; res.Body == nil {
					t.Fatal("no body")
				}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "answer" {
					t.Errorf("the body is %q, %v", body, err)
				}
				if err := res.Body.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestNothingIsRepeatedForAVisitorWhoHasLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &calls{answers: []func(*http.Request) (*http.Response, error){
		func(*http.Request) (*http.Response, error) { cancel(); return nil, ctx.Err() },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://sidecar/", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (retrying{"posts", c}).RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if len(c.bodies) != 1 {
		t.Errorf("%d calls", len(c.bodies))
	}
}
