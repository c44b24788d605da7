// Package e2e tests the real system: started with `dapr run -f`, with real
// sidecars and a Redis of its own, beside whatever else runs on the machine; or, with
// the build tag k8s, deployed on a Kubernetes.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/e2e/system"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// soon bounds how long the tests wait for what happens within milliseconds, on a
// machine that may be busy.
const soon = time.Minute

// stack is a whole system with what it stands on.
type stack struct {
	*system.System
	dir     string
	redis   *system.Redis
	log     *os.File
	mu      sync.Mutex
	started []*system.Process // by tests, beside what `dapr run` started
	// replicas are the second instances of services, while there are any.
	replicas []system.App
	// posts are the ids of those that earlier faults' loads wrote, earlier is the rest
	// of their books.
	posts   map[string]bool
	earlier books
	// redisAt is where its Redis is.
	redisAt redis.Options
	// replicasOf, if set, finds all replicas of a service, in place of replicas.
	replicasOf func(name string) []system.App
}

// onTheBus are the services that hold the blog: each hears events and has a store.
// The client has neither, so that there is nothing to lose in it; what it promises
// is tested in client_test.go.
var onTheBus = slices.DeleteFunc(slices.Clone(system.Services), func(name string) bool { return name == "client" })

// shared is the system that most tests use, one after the other.
var shared *stack

// built are the tools and services, for further stacks.
var built struct {
	checkout system.Checkout
	dapr     system.Dapr
	binaries string
}

// running is how to stop what runs outside this process.
var running struct {
	sync.Mutex
	stops map[any]func()
}

// stopsBy notes how to stop something, or with nil that it has stopped.
func stopsBy(what any, stop func()) {
	running.Lock()
	defer running.Unlock()
	if running.stops == nil {
		running.stops = map[any]func(){}
	}
	if running.stops[what] = stop; stop == nil {
		delete(running.stops, what)
	}
}

// plainly are the services without the race detector, for the tests of what it
// would slow down.
var plainly = sync.OnceValues(func() (string, error) {
	into := filepath.Join(filepath.Dir(built.binaries), "plain")
	return into, built.checkout.BuildServices(context.Background(), into)
})

// plain is the folder of the services without the race detector.
func plain(t *testing.T) string {
	t.Helper()
	into, err := plainly()
	if err != nil {
		t.Fatal(err)
	}
	return into
}

// stacks counts the systems started, so that each has app ids and ports of its own.
var stacks int

// start starts a system of the binaries, with resources edited by edit, if that
// isn't nil, and env added to the environment of `dapr run`.
func start(ctx context.Context, dir, binaries string, edit func(system.Document), env ...string) (*stack, error) {
	stacks++
	s := &stack{dir: dir, posts: map[string]bool{}}
	redisPort, err := system.FreePort()
	if err != nil {
		return nil, err
	}
	if s.redis, err = system.StartRedis(ctx, filepath.Join(dir, "redis"), redisPort); err != nil {
		return nil, err
	}
	s.redisAt.Addr = s.redis.Address()
	stopsBy(s, func() { _ = s.redis.Stop() })
	suffix := fmt.Sprintf("-t%d-%d", os.Getpid(), stacks)
	for shift := 10_000; ; shift += 1000 {
		runFile, err := built.checkout.Derive(system.Derivation{
			Into: dir, Suffix: suffix, Shift: shift, Redis: s.redis.Address(), Binaries: binaries, Edit: edit,
			Env: map[string]string{"SNAPSHOT_EVERY": "200ms"},
		})
		if err != nil {
			return nil, err
		}
		if s.System, err = system.Load(built.dapr, runFile); err != nil {
			return nil, err
		}
		if system.AllFree(s.Ports()) {
			break
		}
		if shift > 27_000 {
			return nil, fmt.Errorf("no range of ports is free")
		}
	}
	if s.log, err = os.Create(filepath.Join(dir, "run.log")); err != nil { //nolint:gosec // our own folder
		return nil, err
	}
	stopsBy(s, func() { _ = s.end() })
	s.Env = env
	if err := s.Start(ctx, s.log); err != nil {
		_ = s.redis.Stop()
		return nil, err
	}
	if err := s.awaitTold(ctx); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// awaitTold waits until the CLI has told each sidecar of its app, which is the last
// that it does. A CLI whose sidecars are stopped before tries it again for minutes, and
// only then ends.
func (s *stack) awaitTold(ctx context.Context) error {
	return system.Until(ctx, soon, func() error {
		for _, a := range s.Apps {
			var metadata struct{ Extended map[string]string }
			if _, err := get(a.Sidecar()+"/v1.0/metadata", &metadata); err != nil {
				return err
			}
			if metadata.Extended["appPID"] == "" {
				return fmt.Errorf("the sidecar of %s has not been told of its app", a.Name)
			}
		}
		return nil
	})
}

func (s *stack) stop() error {
	err := s.end()
	stopsBy(s, nil)
	_ = s.log.Close()
	return errors.Join(err, s.noRaces())
}

// end stops all processes of the system.
func (s *stack) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.started {
		_ = p.Kill(context.Background())
	}
	return errors.Join(s.Stop(), s.redis.Stop())
}

// noRaces returns what the race detector and the runtime complained of: the
// services are built with it.
func (s *stack) noRaces() error {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err
	}
	for _, complaint := range []string{"WARNING: DATA RACE", "panic:", "handler panicked"} {
		if at := bytes.Index(raw, []byte(complaint)); at >= 0 {
			return fmt.Errorf("a service has complained:\n%s", raw[at:min(len(raw), at+4000)])
		}
	}
	return nil
}

var notInPaths = regexp.MustCompile(`[^A-Za-z0-9]+`)

// another starts a system of its own for a test.
func another(t *testing.T, edit func(system.Document), binaries string, env ...string) *stack {
	t.Helper()
	// Beside the shared one, so that its logs are kept if a test fails. A comma in
	// the path would make two configurations of one.
	dir := filepath.Join(filepath.Dir(shared.dir), notInPaths.ReplaceAllString(t.Name(), "-"))
	s, err := start(t.Context(), dir, binaries, edit, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// url is an address at a service's public listener.
func (s *stack) url(service, path string) string { return s.App(service).URL() + path }

// process is the service's process.
func (s *stack) process(t *testing.T, port int) *system.Process {
	t.Helper()
	p, err := system.ProcessOn(port)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// kill kills a process at once.
func kill(t *testing.T, p *system.Process) {
	t.Helper()
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// launch starts a process, again or anew; it ends with the system at the latest.
func (s *stack) launch(t *testing.T, p *system.Process) {
	t.Helper()
	if err := s.begin(p); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) begin(p *system.Process) error {
	if err := p.Start(s.log); err != nil {
		return err
	}
	s.mu.Lock()
	s.started = append(s.started, p)
	s.mu.Unlock()
	return nil
}

// awaitReady waits for a service.
func awaitReady(t *testing.T, a system.App) {
	t.Helper()
	eventually(t, a.Ready)
}

// replica starts a second instance of a service with its sidecar: the same app
// id, other ports. It ends with the test.
func (s *stack) replica(t *testing.T, name string, env ...string) system.App {
	t.Helper()
	const by = 50
	a := s.App(name)
	b := a
	b.Port, b.AppPort, b.HTTPPort, b.GRPCPort, b.InternalPort, b.MetricsPort = a.Port+by, a.AppPort+by, a.HTTPPort+by, a.GRPCPort+by, a.InternalPort+by, a.MetricsPort+by
	ports := []int{a.Port, a.AppPort, a.HTTPPort, a.GRPCPort, a.InternalPort, a.MetricsPort}
	for _, port := range []int{a.HTTPPort, a.Port} { // the sidecar, then the app
		p := s.process(t, port).Shifted(ports, by)
		if port == a.Port {
			p.Env = append(p.Env, env...)
		}
		s.launch(t, p)
		t.Cleanup(func() { _ = p.Kill(context.Background()) })
	}
	awaitReady(t, b)
	s.replicas = append(s.replicas, b)
	t.Cleanup(func() {
		s.replicas = slices.DeleteFunc(s.replicas, func(a system.App) bool { return a.Port == b.Port })
	})
	return b
}

// all are the replicas of a service.
func (s *stack) all(name string) []system.App {
	if s.replicasOf != nil {
		return s.replicasOf(name)
	}
	apps := []system.App{s.App(name)}
	for _, b := range s.replicas {
		if b.Name == name {
			apps = append(apps, b)
		}
	}
	return apps
}

// store is a client of the system's Redis, for a test to look and to damage.
func (s *stack) store(t *testing.T) *redis.Client {
	t.Helper()
	at := s.redisAt
	c := redis.NewClient(&at)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until ok returns nil.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	within(t, soon, ok)
}

func within(t *testing.T, atMost time.Duration, ok func() error) {
	t.Helper()
	if err := system.Until(t.Context(), atMost, ok); err != nil {
		t.Fatal(err)
	}
}

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (r response) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

var client = &http.Client{Timeout: 20 * time.Second}

// do sends a request; headers are "Name: value".
func do(method, url, body string, headers ...string) (response, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	start := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, raw, time.Since(start)}, err
}

// want sends a request and fails the test unless the answer has the status.
func want(t *testing.T, status int, method, url, body string, headers ...string) response {
	t.Helper()
	r, err := do(method, url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != status {
		t.Fatalf("%s %s: %s, want %d", method, url, r, status)
	}
	return r
}

func decode[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return v
}

// comment and post are what the API answers, as a client sees it.
type comment struct {
	ID, PostID, Content, Author, Status, Reason string
}

type post struct {
	ID, Title, Body string
	Comments        []comment
	CommentCount    int
}

func (s *stack) createPost(t *testing.T, title string) post {
	t.Helper()
	body, err := json.Marshal(map[string]string{"title": title})
	if err != nil {
		t.Fatal(err)
	}
	return decode[post](t, want(t, http.StatusCreated, "POST", s.url("posts", "/posts/create"), string(body)).body)
}

func (s *stack) createComment(t *testing.T, postID, content string) comment {
	t.Helper()
	body, err := json.Marshal(map[string]string{"content": content})
	if err != nil {
		t.Fatal(err)
	}
	return decode[comment](t, want(t, http.StatusCreated, "POST", s.url("comments", "/posts/"+postID+"/comments"), string(body)).body)
}

// settled returns nil when every one of the comments has its final status at a.
func settled(a system.App, postID string, statuses map[string]string) error {
	r, err := do("GET", a.URL()+"/posts/"+postID+"?limit=100", "")
	if err != nil {
		return err
	}
	if r.status != http.StatusOK {
		return fmt.Errorf("GET /posts/%s: %s", postID, r)
	}
	var p post
	if err := json.Unmarshal(r.body, &p); err != nil {
		return err
	}
	found := map[string]string{}
	for _, c := range p.Comments {
		found[c.ID] = c.Status
	}
	for id, status := range statuses {
		if found[id] != status {
			return fmt.Errorf("comment %s is %q, want %q", id, found[id], status)
		}
	}
	return nil
}

// logEvent is an event as the log serves it.
type logEvent struct {
	ID, Type, Source, Subject, Sequence string
	Data                                json.RawMessage
}

// events reads the whole log at a.
func events(t *testing.T, a system.App) []logEvent {
	t.Helper()
	return readAll[logEvent](t, a, eventlog.EventsPath, eventlog.MaxLimit)
}

// readAll reads all that eventlog has at a path, in pages of at most limit.
func readAll[T any](t *testing.T, a system.App, path string, limit int) []T {
	t.Helper()
	var all []T
	log := eventlog.NewClient(a.URL()+path, "")
	log.HTTP = client // a machine under load may take longer than a service waits
	for {
		batch, _, err := log.ReadBatch(t.Context(), eventlog.Position{Sequence: uint64(len(all))}, limit, 0)
		if err != nil {
			t.Fatal(err)
		}
		page := decode[[]T](t, batch)
		all = append(all, page...)
		if len(page) == 0 {
			return all
		}
	}
}

// checkLog fails the test if the log has a gap or an event twice.
func checkLog(t *testing.T, all []logEvent) {
	t.Helper()
	seen := map[string]bool{}
	for i, e := range all {
		if n, err := strconv.Atoi(e.Sequence); err != nil || n != i+1 {
			t.Fatalf("event %d of the log has number %q", i+1, e.Sequence)
		}
		if seen[e.ID] {
			t.Fatalf("event %s is in the log twice", e.ID)
		}
		seen[e.ID] = true
	}
}

// sequence is the number that an answer stands at.
func sequence(t *testing.T, r response) uint64 {
	t.Helper()
	at, err := eventlog.FromHeaders(r.header)
	if err != nil {
		t.Fatal(err)
	}
	return at.Sequence
}

// appLog is what the processes of the system have logged that contains text,
// from the offset on.
func (s *stack) logged(t *testing.T, offset int64, text string) []string {
	t.Helper()
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range bytes.Lines(raw[offset:]) {
		if bytes.Contains(line, []byte(text)) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

func (s *stack) logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(s.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
