package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/eventlog/log"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// blog is an eventlog behind its sidecar.
type blog struct {
	*testing.T
	log     *log.Log
	store   *statetest.Memory
	sidecar string

	mu sync.Mutex
	// broken, if set, answers instead of the nth import.
	broken  func(n int, serve func()) (isAnswered bool)
	imports int
}

func newBlog(t *testing.T) *blog {
	t.Helper()
	b := &blog{T: t, store: statetest.NewOpaque()}
	b.log = log.New(log.Config{Store: b.store, Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.log.Run(ctx) })
	engine := web.NewEngine()
	engine.GET(eventlog.EventsPath, log.Serve(ctx, b.log))
	engine.POST(eventlog.ImportPath, log.ServeImport(b.log))
	server := httptest.NewServer(http.StripPrefix("/v1.0/invoke/eventlog/method", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != eventlog.ImportPath {
			engine.ServeHTTP(w, r)
			return
		}
		b.mu.Lock()
		b.imports++
		n, broken := b.imports, b.broken
		b.mu.Unlock()
		if broken == nil || !broken(n, func() { engine.ServeHTTP(httptest.NewRecorder(), r) }) {
			engine.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	})))
	b.sidecar = server.URL
	t.Cleanup(func() {
		server.Close()
		cancel()
		running.Wait()
	})
	for b.log.Ready() != nil {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(b.log.Ready())
		}
	}
	return b
}

// with appends n posts, some with comments.
func (b *blog) with(n int) *blog {
	b.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range n {
		p := event.Post{ID: event.NewID(), Title: fmt.Sprintf("<b> & \u2028 %d", i), Body: strings.Repeat("ä", i*7), CreatedAt: now, Revision: 1}
		e, err := event.OfPost(event.PostCreated, "posts", p, now, "")
		if err != nil {
			b.Fatal(err)
		}
		c := event.Comment{ID: event.NewID(), PostID: p.ID, Content: "a", Status: event.Pending, CreatedAt: now, Revision: 1}
		reply, err := event.OfComment(event.CommentCreated, "comments", c, now, "")
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(b.log.Append(b.Context(), []event.Event{e, reply})...); err != nil {
			b.Fatal(err)
		}
	}
	return b
}

// transfer runs the program.
func (b *blog) transfer(status int, args ...string) (out string) {
	b.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(b.Context(), append([]string{"-eventlog", b.sidecar}, args...), &stdout, &stderr); got != status {
		b.Fatalf("transfer %q ends with %d, want %d: %s%s", args, got, status, &stdout, &stderr)
	}
	return stdout.String() + stderr.String()
}

// exported is what the log looks like in a file.
func (b *blog) exported() string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "exported")
	b.transfer(0, "export", path)
	raw, err := os.ReadFile(path) //nolint:gosec // our own
	if err != nil {
		b.Fatal(err)
	}
	return string(raw)
}

func fileWith(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blog")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnImportedLogIsExportedToTheSameBytes(t *testing.T) {
	for _, posts := range []int{0, 1, eventlog.SegmentSize, 3*eventlog.SegmentSize + 5} {
		from, to := newBlog(t).with(posts), newBlog(t)
		file := from.exported()
		if n := strings.Count(file, "\n"); n != 2*posts {
			t.Fatalf("the file has %d lines, want %d", n, 2*posts)
		}
		path := fileWith(t, file)
		if out := to.transfer(0, "import", path); !strings.Contains(out, fmt.Sprintf(" has the %d events", 2*posts)) {
			t.Errorf("it says %q", out)
		}
		if got := to.exported(); got != file {
			t.Errorf("%d posts: the imported log is exported otherwise", posts)
		}
		imports := to.imports
		to.transfer(0, "import", path) // again
		if to.imports != imports {
			t.Error("an import of what is there appends something")
		}
	}
}

// An answer may be lost, and an import may be cut off.
func TestAnImportGoesOnWhereItWas(t *testing.T) {
	from := newBlog(t).with(300)
	file := from.exported()
	path := fileWith(t, file)
	for name, broken := range map[string]func(n int, serve func()) bool{
		"an answer is lost": func(n int, serve func()) bool {
			if n == 2 {
				serve()
			}
			return n == 2
		},
		"a request is lost": func(n int, _ func()) bool { return n == 2 },
	} {
		t.Run(name, func(t *testing.T) {
			to := newBlog(t)
			to.broken = broken
			to.transfer(0, "import", path)
			if got := to.exported(); got != file {
				t.Error("the imported log is exported otherwise")
			}
		})
	}
	t.Run("it was cut off", func(t *testing.T) {
		to := newBlog(t)
		half := strings.Join(strings.SplitAfter(file, "\n")[:250], "")
		to.transfer(0, "import", fileWith(t, half))
		to.transfer(0, "import", path)
		if got := to.exported(); got != file {
			t.Error("the imported log is exported otherwise")
		}
	})
}

// Nothing is appended.
func TestAFileThatIsNoLogIsRefused(t *testing.T) {
	file := newBlog(t).with(3).exported()
	lines := strings.SplitAfter(file, "\n")
	for name, test := range map[string]struct{ file, says string }{
		"a line is missing":   {strings.Join(append(lines[:1:1], lines[2:]...), ""), "line 2: it has number 3"},
		"lines change places": {lines[1] + lines[0], "line 1: it has number 2"},
		"a line is cut off":   {lines[0] + lines[1][:40], "line 2: malformed event"},
		"a line has two":      {strings.TrimSpace(lines[0]) + "," + lines[1], "line 1: a line has one event"},
		"no JSON":             {"hello\n", "line 1: malformed event"},
		"an empty line":       {"\n" + lines[0], "line 1: a line has one event"},
		"another title":       {strings.Replace(file, `"title":"`, `"title":5,"x":"`, 1), "line 1: malformed event"},
		"a line is too long":  {lines[0] + strings.Repeat("x", 2*event.MaxBytes+2), "line 2: bufio.Scanner: token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			to := newBlog(t)
			if out := to.transfer(1, "import", fileWith(t, test.file)); !strings.Contains(out, test.says) {
				t.Errorf("it says %q, want %q", out, test.says)
			}
			if to.imports > 0 || to.exported() != "" {
				t.Errorf("%d imports, and the log has %q", to.imports, to.exported())
			}
		})
	}
}

func TestALogThatHasSomethingElseIsLeftAlone(t *testing.T) {
	file := newBlog(t).with(2).exported()
	for name, to := range map[string]*blog{
		"another blog":    newBlog(t).with(1),
		"a longer one":    newBlog(t).with(5),
		"the same and on": newBlog(t),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "the same and on" {
				to.transfer(0, "import", fileWith(t, file))
				to.with(1)
			}
			before := to.exported()
			if out := to.transfer(1, "import", fileWith(t, file)); !strings.Contains(out, "into a log that is empty") {
				t.Errorf("it says %q", out)
			}
			if after := to.exported(); after != before {
				t.Error("the log has changed")
			}
		})
	}
}

func TestWhatIsAppendedDuringAnImportIsNoticed(t *testing.T) {
	file := newBlog(t).with(200).exported()
	to := newBlog(t)
	to.broken = func(n int, _ func()) bool {
		if n == 2 {
			to.with(1)
		}
		return false
	}
	if out := to.transfer(1, "import", fileWith(t, file)); !strings.Contains(out, "The log ends at event 102 and not at 100") {
		t.Errorf("it says %q", out)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	b := newBlog(t)
	there := fileWith(t, "")
	if out := b.transfer(1, "export", there); !strings.Contains(out, "is there already: name another file") {
		t.Errorf("a file that is there: %q", out)
	}
	if out := b.transfer(1, "import", there+"-not"); !strings.Contains(out, "no such file") {
		t.Errorf("no file: %q", out)
	}
	for _, args := range [][]string{{}, {"export"}, {"export", ""}, {"move", there}, {"import", there, there}} {
		if out := b.transfer(2, args...); !strings.Contains(out, "Usage:") {
			t.Errorf("%q: %q", args, out)
		}
	}
	b.sidecar = "http://127.0.0.1:1"
	for _, command := range []string{"export", "import"} {
		path := there
		if command == "export" {
			path += "-new"
		}
		if out := b.transfer(1, command, path); !strings.Contains(out, "is Postbus running?") {
			t.Errorf("%s without eventlog: %q", command, out)
		}
	}
	if _, err := os.Stat(there + "-new.unfinished"); err == nil {
		t.Error("an export that failed leaves a file")
	}
}
