// Package e2e tests the real system, started with `dapr run -f`, with real sidecars and
// its own Redis. It does not disturb other programs on the machine. With the build tag
// k8s the system is deployed on a Kubernetes.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/system"
)

// soon bounds the wait for something that takes milliseconds, on a machine that may be
// busy.
const soon = time.Minute

// stack is a whole system, with its Redis.
type stack struct {
	*system.System
	// alone is the system with its own Redis and ports; nil on Kubernetes.
	alone *system.Alone
	dir   string
	redis *system.Redis
	// bus is the Redis of the event bus, if the stores have another one.
	bus *system.Redis
	log *os.File
	// replicas are the second instances of services, while there are any. A load reads
	// them as it runs.
	replicas  []system.App
	replicaMu sync.Mutex
	// posts are the ids of the posts of earlier faults' loads. earlier is the rest of
	// their books.
	posts   map[string]bool
	earlier books
	// engine is what it runs on.
	engine system.Engine
	// redisAt is the address of its Redis, if it has one.
	redisAt redis.Options
	// isModerated says that moderators decide under load.
	isModerated bool
	// isMixed says that some replica may be of the first version. It knows no positions, only
	// numbers of the log, and shows the text of comments that are not approved.
	isMixed bool
	// replicasOf, if set, returns all replicas of a service, and replaces replicas.
	replicasOf func(name string) []system.App
}

// onTheBus are the services that receive events. The client receives none, so it can lose none.
// client_test.go tests what it promises.
var onTheBus = slices.DeleteFunc(slices.Clone(system.Services), func(name string) bool { return name == "client" })

// shared is the system that most tests use, one after the other.
var shared *stack

// built are the tools and services that further stacks use.
var built struct {
	checkout system.Checkout
	dapr     system.Dapr
	binaries string
}

// running stops what runs outside this process.
var running struct {
	sync.Mutex
	stops map[any]func()
}

// stopsBy registers how to stop something. With nil it registers that it has stopped.
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

// plainly builds the services without the race detector, for tests that it would slow
// down.
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

// engine is what all systems run on.
var engine = system.Engine(os.Getenv("ENGINE"))

// stacks counts the systems started, so that each has app ids and ports of its own.
var stacks int

// start starts a system of the binaries. edit, if not nil, changes the resources. env is
// added to the environment of `dapr run`.
func start(ctx context.Context, dir, binaries string, edit func(system.Document), env ...string) (*stack, error) {
	return startOn(ctx, system.Derivation{Into: dir, Engine: engine, Binaries: binaries, Edit: edit}, env...)
}

// startOn starts a system as d says, with app ids of its own.
func startOn(ctx context.Context, d system.Derivation, env ...string) (*stack, error) {
	stacks++
	d.Suffix = fmt.Sprintf("-t%d-%d", os.Getpid(), stacks)
	d.Env = map[string]string{"SNAPSHOT_EVERY": "200ms"}
	alone, err := built.checkout.Alone(ctx, built.dapr, d)
	if err != nil {
		return nil, err
	}
	s := &stack{System: alone.System, alone: alone, dir: d.Into, redis: alone.Redis, engine: d.Engine, log: alone.Log, posts: map[string]bool{}, isModerated: true}
	if s.redis != nil {
		s.redisAt.Addr = s.redis.Address()
	}
	s.Env = append(append(s.Env, "LIMITS=off"), env...)
	stopsBy(s, func() { _ = alone.Stop() })
	if err := alone.Start(ctx); err != nil {
		return nil, errors.Join(err, alone.Stop())
	}
	if err := s.awaitAppsInMetadata(ctx); err != nil {
		return nil, errors.Join(err, alone.Stop())
	}
	return s, nil
}

// awaitAppsInMetadata waits until the CLI has written each app's process into the
// metadata of its sidecar, which it does last. If a sidecar is stopped before that, the
// CLI retries for minutes before it ends (dapr/cli#327, open). It can go when that is
// closed.
func (s *stack) awaitAppsInMetadata(ctx context.Context) error {
	return system.Until(ctx, soon, func() error {
		for _, a := range s.Apps {
			var metadata struct{ Extended map[string]string }
			if _, err := get(a.Sidecar()+"/v1.0/metadata", &metadata); err != nil {
				return err
			}
			if metadata.Extended["appPID"] == "" {
				return fmt.Errorf("the metadata of %s's sidecar does not have the app yet", a.Name)
			}
		}
		return nil
	})
}

func (s *stack) stop() error {
	err := s.alone.Stop()
	stopsBy(s, nil)
	return errors.Join(err, s.noRaces())
}

// noRaces returns the reports of the race detector, with which the services are built,
// and of the runtime.
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
	s, err := start(t.Context(), folderOf(t), binaries, edit, env...)
	return s.ofTest(t, err)
}

// folderOf is the folder of a test's own system. It is beside the shared one, so that the logs of
// a failed test are kept. A comma in the path would make two configurations of one.
func folderOf(t *testing.T) string {
	t.Helper()
	return filepath.Join(filepath.Dir(shared.dir), notInPaths.ReplaceAllString(t.Name(), "-"))
}

// anotherOn starts a system of its own for a test, on an engine.
func anotherOn(t *testing.T, engine system.Engine) *stack {
	t.Helper()
	s, err := startOn(t.Context(), system.Derivation{Into: folderOf(t) + "-" + string(engine), Engine: engine, Binaries: built.binaries})
	return s.ofTest(t, err)
}

// ofTest stops a system, which was started, at the end of a test.
func (s *stack) ofTest(t *testing.T, err error) *stack {
	t.Helper()
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

// launch starts a process, which ends with the system at the latest.
func (s *stack) launch(t *testing.T, p *system.Process) {
	t.Helper()
	if err := s.alone.Launch(p); err != nil {
		t.Fatal(err)
	}
}

// awaitReady waits for a service.
func awaitReady(t *testing.T, a system.App) {
	t.Helper()
	eventually(t, a.Ready)
}

// replica starts a second instance of a service with its sidecar, under the same app id
// and on other ports. It ends with the test.
func (s *stack) replica(t *testing.T, name string, env ...string) system.App {
	t.Helper()
	b, sidecar, app := s.shifted(t, name)
	app.Env = append(app.Env, env...)
	for _, p := range []*system.Process{sidecar, app} {
		s.launch(t, p)
		t.Cleanup(func() { _ = p.Kill(context.Background()) })
	}
	awaitReady(t, b)
	s.replicaMu.Lock()
	defer s.replicaMu.Unlock()
	s.replicas = append(s.replicas, b)
	t.Cleanup(func() {
		s.replicaMu.Lock()
		defer s.replicaMu.Unlock()
		s.replicas = slices.DeleteFunc(s.replicas, func(a system.App) bool { return a.Port == b.Port })
	})
	return b
}

// shifted returns what a second instance of a service would be, with its sidecar, on
// other ports.
func (s *stack) shifted(t *testing.T, name string) (b system.App, sidecar, app *system.Process) {
	t.Helper()
	const by = 50
	a := s.App(name)
	b = a
	b.Port, b.AppPort, b.HTTPPort, b.GRPCPort, b.InternalPort, b.MetricsPort = a.Port+by, a.AppPort+by, a.HTTPPort+by, a.GRPCPort+by, a.InternalPort+by, a.MetricsPort+by
	ports := []int{a.Port, a.AppPort, a.HTTPPort, a.GRPCPort, a.InternalPort, a.MetricsPort}
	return b, s.process(t, a.HTTPPort).Shifted(ports, by), s.process(t, a.Port).Shifted(ports, by)
}

// all are the replicas of a service.
func (s *stack) all(name string) []system.App {
	if s.replicasOf != nil {
		return s.replicasOf(name)
	}
	apps := []system.App{s.App(name)}
	s.replicaMu.Lock()
	defer s.replicaMu.Unlock()
	for _, b := range s.replicas {
		if b.Name == name {
			apps = append(apps, b)
		}
	}
	return apps
}

// store is a client of the system's Redis, with which a test reads and damages it.
func (s *stack) store(t *testing.T) *redis.Client {
	t.Helper()
	c := s.redisClient()
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *stack) redisClient() *redis.Client {
	if group, ok := serverOf[*system.RedisGroup](s); ok {
		return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: system.SentinelMaster, SentinelAddrs: strings.Split(group.Connection(), ",")})
	}
	at := s.redisAt
	return redis.NewClient(&at)
}

// streams is a client of the Redis that has the topics: the bus's own, if there is one.
func (s *stack) streams(t *testing.T) *redis.Client {
	t.Helper()
	if s.bus == nil {
		return s.store(t)
	}
	c := redis.NewClient(&redis.Options{Addr: s.bus.Address()})
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
	start := time.Now()
	a, err := system.Ask(client, method, url, body, headers...)
	return response{a.Status, a.Header, a.Body, time.Since(start)}, err
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

// comment and post are the answers of the API, as a client sees them.
type comment struct {
	ID, PostID, Content, Author, Status, Reason string
	// Revision and DecidedBy are in the log, and in the answers to moderators.
	Revision  int
	DecidedBy string
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

// settled returns nil when each of the comments has its final status at a.
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
	all, err := eventsAfter(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// eventsAfter reads the log at a from an event's number to its end.
func eventsAfter(a system.App, after int) ([]logEvent, error) {
	return readPages[logEvent](a, eventlog.EventsPath, after, eventlog.MaxLimit)
}

// readPages reads all that eventlog has at a path after a number, in pages of at most limit.
func readPages[T any](a system.App, path string, after, limit int) ([]T, error) {
	log := eventlog.NewClient(a.URL()+path, "")
	log.HTTP = client // a machine under load may take longer than a service waits
	var all []T
	for {
		from := eventlog.Position{Sequence: uint64(after + len(all))} //nolint:gosec // never negative
		batch, _, err := log.ReadBatch(context.Background(), from, limit, 0)
		if err != nil {
			return nil, err
		}
		var page []T
		if err := json.Unmarshal(batch, &page); err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
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

// sequence is the log's number of an answer.
func sequence(t *testing.T, r response) uint64 {
	t.Helper()
	at, err := eventlog.FromHeaders(r.header)
	if err != nil {
		t.Fatal(err)
	}
	return at.Sequence
}

// logged returns the lines with text that the system's processes have logged after the
// offset.
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
