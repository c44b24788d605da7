package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

var screenshots = flag.Bool("screenshots", false, "make the README's screenshots instead of testing in the browser")

// TestTheClientInABrowser runs the browser tests of apps/client/web against a whole
// system of their own. Each of them counts as a test.
func TestTheClientInABrowser(t *testing.T) {
	chromium, err := system.Chromium(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := built.checkout.InstallWeb(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := another(t, nil, plain(t))
	c := &control{stack: s, killed: map[string]*system.Process{}}
	control := httptest.NewServer(c.routes())
	t.Cleanup(control.Close)

	script, out := "test:e2e", filepath.Join(s.dir, "browser")
	if *screenshots {
		script, out = "screenshots", filepath.Join(built.checkout.Root, "apps", "client", "screenshots")
	}
	report := filepath.Join(s.dir, "playwright.json")
	cmd := built.checkout.NPM(t.Context(), "run", script, "--", "--reporter=list,json")
	cmd.Env = append(cmd.Env, "POSTBUS_URL="+s.App("client").URL(), "CONTROL="+control.URL, "CHROMIUM="+chromium, "OUT="+out,
		"PLAYWRIGHT_JSON_OUTPUT_FILE="+report, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1", "CI=1", "FORCE_COLOR=0")
	var said bytes.Buffer
	cmd.Stdout = io.MultiWriter(&said, os.Stdout)
	cmd.Stderr = cmd.Stdout
	// The browsers are in its process group, or end with the process that drives them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopsBy(cmd, func() { _ = cmd.Cancel() })
	runErr := cmd.Wait()
	stopsBy(cmd, nil)
	if *screenshots {
		if runErr != nil {
			t.Fatal(runErr)
		}
		return
	}

	raw, err := os.ReadFile(report) //nolint:gosec // written just now
	if err != nil {
		t.Fatalf("%v, %v\n%s", runErr, err, &said)
	}
	var results struct {
		Suites []suite
		Errors []struct{ Message string }
	}
	if err := json.Unmarshal(raw, &results); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	for _, e := range results.Errors {
		t.Error(e.Message)
	}
	for _, suite := range results.Suites {
		suite.report(t)
	}
	if runErr != nil && !t.Failed() {
		t.Error(runErr)
	}
}

// suite is a part of Playwright's JSON report: a file, or a group of tests in it.
type suite struct {
	Title  string
	Suites []suite
	Specs  []struct {
		Title string
		Tests []struct {
			Status  string // expected, unexpected, flaky or skipped
			Results []struct {
				Errors []struct{ Message string }
			}
		}
	}
}

func (s suite) report(t *testing.T) {
	for _, inner := range s.Suites {
		t.Run(inner.Title, inner.report)
	}
	for _, spec := range s.Specs {
		t.Run(spec.Title, func(t *testing.T) {
			for _, test := range spec.Tests {
				switch test.Status {
				case "expected":
					continue
				case "skipped":
					t.Skip("skipped in the browser")
				}
				for _, result := range test.Results {
					for _, e := range result.Errors {
						t.Error(e.Message)
					}
				}
				if !t.Failed() {
					t.Error(test.Status)
				}
			}
		})
	}
}

// control lets the browser tests break the system, and fill it:
//
//	POST /kill/:service               kills the service at once
//	POST /start/:service              starts it again, and waits until it is ready
//	POST /seed?posts=N&comments=M     writes N posts, the newest with M comments
//	POST /flush                       empties all stores
type control struct {
	*stack
	mu     sync.Mutex
	killed map[string]*system.Process
}

func (c *control) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := do(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	handle("POST /kill/{service}", c.kill)
	handle("POST /start/{service}", c.start)
	handle("POST /seed", c.seed)
	handle("POST /flush", func(r *http.Request) (any, error) {
		return struct{}{}, c.loseAll(r.Context())
	})
	return mux
}

// app is the service that a request names.
func (c *control) app(r *http.Request) (system.App, error) {
	name := r.PathValue("service")
	if !slices.Contains(system.Services, name) {
		return system.App{}, fmt.Errorf("there is no service %q", name)
	}
	return c.App(name), nil
}

func (c *control) kill(r *http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.app(r)
	if err != nil {
		return nil, err
	}
	p, err := system.ProcessOn(a.Port)
	if err != nil {
		return nil, err
	}
	c.killed[a.Name] = p
	return struct{}{}, p.Kill(r.Context())
}

func (c *control) start(r *http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.app(r)
	if err != nil {
		return nil, err
	}
	p, ok := c.killed[a.Name]
	if !ok {
		return nil, fmt.Errorf("%s was not killed", a.Name)
	}
	delete(c.killed, a.Name)
	if err := c.alone.Launch(p); err != nil {
		return nil, err
	}
	return struct{}{}, system.Until(r.Context(), soon, a.Ready)
}

// seeded is the result of a seed, the newest post first.
type seeded struct {
	Posts  []string `json:"posts"`
	Newest string   `json:"newest"`
}

// seed returns when every reader sees everything that it wrote, moderated.
func (c *control) seed(r *http.Request) (any, error) {
	var posts, comments int
	if _, err := fmt.Sscan(r.FormValue("posts")+" "+r.FormValue("comments"), &posts, &comments); err != nil || posts < 1 || comments < 0 {
		return nil, errors.New("seed?posts=N&comments=M: numbers are expected, and at least one post")
	}
	var mu sync.Mutex
	ids := make([]string, 0, posts)
	write := func(service, path string, body any) (string, error) {
		raw, err := json.Marshal(body)
		if err != nil {
			return "", err
		}
		res, err := do("POST", c.url(service, path), string(raw))
		if err != nil {
			return "", err
		}
		var made struct{ ID string }
		if err := json.Unmarshal(res.body, &made); err != nil || res.status != http.StatusCreated {
			return "", fmt.Errorf("%s, %w", res, err)
		}
		return made.ID, nil
	}
	post := func(n int) error {
		id, err := write("posts", "/posts/create", map[string]string{
			"title": fmt.Sprintf("Post %d: %s", n, phrase(n)), "body": strings.Repeat(phrase(n+1)+". ", 1+n%7),
		})
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return err
	}
	if err := many(r.Context(), posts-1, func(n int) error { return post(n + 1) }); err != nil {
		return nil, err
	}
	if err := post(posts); err != nil {
		return nil, err
	}
	newest := ids[len(ids)-1]
	err := many(r.Context(), comments, func(n int) error {
		content := strings.Repeat(phrase(n)+". ", 1+n%4)
		if n%20 == 19 {
			content += "It was orange."
		}
		_, err := write("comments", "/posts/"+newest+"/comments", map[string]string{"content": content, "author": fmt.Sprint("Reader ", n%50+1)})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) // UUIDv7 sort by time
	return seeded{ids, newest}, system.Until(r.Context(), 2*time.Minute, func() error { return c.shows(ids, newest, comments) })
}

// shows returns nil when query has all of the posts, and the newest post has that many
// moderated comments.
func (c *control) shows(ids []string, newest string, comments int) error {
	missing := map[string]bool{}
	for _, id := range ids {
		missing[id] = true
	}
	for path := "/posts?limit=100"; path != "" && len(missing) > 0; {
		var page map[string]json.RawMessage
		r, err := get(c.url("query", path), &page)
		if err != nil {
			return err
		}
		for id := range page {
			delete(missing, id)
		}
		path = r.next()
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d posts are not shown yet", len(missing))
	}
	shown := 0
	for path := "/posts/" + newest + "?limit=100"; path != ""; {
		var page struct{ Comments []comment }
		r, err := get(c.url("query", path), &page)
		if err != nil {
			return err
		}
		for _, comment := range page.Comments {
			if comment.Status != "pending" {
				shown++
			}
		}
		path = r.next()
	}
	if shown != comments {
		return fmt.Errorf("%d of %d comments are shown moderated", shown, comments)
	}
	return nil
}

// many calls f with 0 to n-1, several at a time, until one fails.
func many(ctx context.Context, n int, f func(int) error) error {
	const atOnce = 16
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// phrase is a text. The same number gives the same text.
func phrase(n int) string {
	words := strings.Fields("quiet rivers carry small boats past old stone bridges while evening light turns every window into a lantern and somebody reads aloud")
	return strings.Join([]string{words[n%len(words)], words[(n*7+3)%len(words)], words[(n*5+11)%len(words)], words[(n*3+2)%len(words)]}, " ")
}
