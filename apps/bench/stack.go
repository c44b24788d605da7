package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/postbus/postbus/apps/e2e/system"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// stack is a whole Postbus, as the end-to-end tests start it, with the program of
// the references beside it as one more app of the same kind.
type stack struct {
	*system.System
	redis *system.Redis
	// restarted are apps that were started again: `dapr run` knows nothing of them.
	restarted map[string]*system.Process
	dir       string
	log       *os.File
	suffix    string
}

// tools are what stacks are made of.
type tools struct {
	checkout system.Checkout
	dapr     system.Dapr
	binaries string
	// profiles is a folder for CPU profiles, or empty.
	profiles string
}

const reference = "reference"

func prepare(ctx context.Context, dir string) (t tools, err error) {
	if t.checkout, err = system.FindCheckout(); err != nil {
		return t, err
	}
	if t.dapr, err = t.checkout.BuildDapr(ctx); err != nil {
		return t, err
	}
	t.binaries = filepath.Join(dir, "bin")
	if err = t.checkout.CompileServices(ctx, t.binaries); err != nil {
		return t, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(t.binaries, reference), "./apps/bench/reference") //nolint:gosec // the arguments are ours
	build.Dir = t.checkout.Root
	if out, err := build.CombinedOutput(); err != nil {
		return t, fmt.Errorf("building the reference: %w\n%s", err, out)
	}
	return t, nil
}

// profilePort is that of an app's pprof listener, and of its sidecar's.
func profilePort(a system.App) (app, sidecar int) { return a.MetricsPort + 500, a.MetricsPort + 600 }

// start starts a stack in a folder of its own and waits until it is ready.
func (t tools) start(ctx context.Context, dir string) (_ *stack, err error) {
	redisPort, err := system.FreePort()
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir, restarted: map[string]*system.Process{}, suffix: fmt.Sprintf("-b%d", os.Getpid())}
	if s.redis, err = system.StartRedis(ctx, filepath.Join(dir, "redis"), redisPort); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.redis.Stop())
		}
	}()
	for shift := 10_000; ; shift += 1000 {
		runFile, err := t.checkout.Derive(system.Derivation{Into: dir, Suffix: s.suffix, Shift: shift, Redis: s.redis.Address(), Binaries: t.binaries})
		if err != nil {
			return nil, err
		}
		if err := t.addReference(s, runFile, shift); err != nil {
			return nil, err
		}
		if s.System, err = system.Load(t.dapr, runFile); err != nil {
			return nil, err
		}
		if system.AllFree(s.Ports()) {
			break
		}
		if shift > 27_000 {
			return nil, errors.New("no range of ports is free")
		}
	}
	if s.log, err = os.Create(filepath.Join(dir, "run.log")); err != nil { //nolint:gosec // our own folder
		return nil, err
	}
	if err := s.Start(ctx, s.log); err != nil {
		return nil, err
	}
	return s, nil
}

// addReference adds the reference, its bus, which is like the system's own, its
// subscriptions, and the profilers if they are wanted.
func (t tools) addReference(s *stack, runFile string, shift int) error {
	docs, err := system.ReadYAML(runFile)
	if err != nil {
		return err
	}
	apps, _ := docs[0]["apps"].([]any)
	dir := filepath.Join(s.dir, reference)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	own := system.Document{}
	for key, value := range apps[0].(system.Document) { //nolint:errcheck,forcetypeassert // Derive has read it so
		own[key] = value
	}
	own["appID"], own["appDirPath"], own["command"] = reference+s.suffix, dir, []string{filepath.Join(t.binaries, reference)}
	own["env"] = system.Document{"PORT": strconv.Itoa(4090 + shift)}
	for port, n := range map[string]int{"appPort": 4190, "daprHTTPPort": 3590, "daprGRPCPort": 3690, "daprInternalGRPCPort": 3790, "metricsPort": 3890} {
		own[port] = n + shift
	}
	apps = append(apps, own)
	docs[0]["apps"] = apps
	if t.profiles != "" {
		for _, a := range apps {
			app := a.(system.Document) //nolint:errcheck,forcetypeassert // as above
			ports := system.App{MetricsPort: app["metricsPort"].(int)}
			appPort, sidecarPort := profilePort(ports)
			app["enableProfiling"], app["profilePort"] = true, sidecarPort
			app["env"].(system.Document)["PPROF_PORT"] = strconv.Itoa(appPort)
		}
	}
	if err := writeYAML(runFile, docs[0]); err != nil {
		return err
	}
	resources := filepath.Join(s.dir, "components")
	bus, err := system.ReadYAML(filepath.Join(resources, "bus.yaml"))
	if err != nil {
		return err
	}
	bus[0]["metadata"] = system.Document{"name": reference + "-bus"}
	bus[0]["scopes"] = []string{reference + s.suffix}
	spec := bus[0]["spec"].(system.Document) //nolint:errcheck,forcetypeassert // a component has one
	var fields []any
	for _, f := range spec["metadata"].([]any) { //nolint:errcheck,forcetypeassert // as above
		if name := fmt.Sprint(f.(system.Document)["name"]); !strings.HasSuffix(name, "Scopes") && !strings.HasSuffix(name, "Topics") {
			fields = append(fields, f)
		}
	}
	spec["metadata"] = fields
	if err := writeYAML(filepath.Join(resources, "reference-bus.yaml"), bus[0]); err != nil {
		return err
	}
	subscriptions, err := system.ReadYAML(filepath.Join(resources, "subscriptions.yaml"))
	if err != nil {
		return err
	}
	hop := subscriptions[0]
	for _, candidate := range subscriptions { // as a comment's own hops are
		if candidate["metadata"].(system.Document)["name"] == "moderation-comment-created" { //nolint:errcheck,forcetypeassert // a subscription has one
			hop = candidate
		}
	}
	spec = hop["spec"].(system.Document) //nolint:errcheck,forcetypeassert // as above
	hop["scopes"], spec["pubsubname"] = []string{reference + s.suffix}, reference+"-bus"
	for _, topic := range []string{reference + "-bulk-hop", reference + "-hop"} {
		hop["metadata"] = system.Document{"name": topic}
		spec["topic"], spec["routes"] = topic, system.Document{"default": "/deliver/" + topic}
		if err := writeYAML(filepath.Join(resources, topic+".yaml"), hop); err != nil {
			return err
		}
		delete(spec, "bulkSubscribe") // the other one is as Dapr has it by itself
		delete(spec, "metadata")
	}
	return nil
}

func writeYAML(path string, doc system.Document) error {
	raw, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

func (s *stack) stop() error {
	var err error
	for _, p := range s.restarted {
		err = errors.Join(err, p.Kill(context.Background()))
	}
	err = errors.Join(err, s.Stop(), s.redis.Stop())
	return errors.Join(err, s.log.Close())
}

// processes are the pids of all that belongs to the system: the apps and their
// sidecars by name, Redis, and the load generator. The reference is left out.
func (s *stack) processes() (map[string]int, error) {
	found := map[string]int{"redis": s.redis.PID(), "load generator": os.Getpid()}
	for _, a := range s.Apps {
		if a.Name == reference {
			continue
		}
		for name, port := range map[string]int{a.Name: a.Port, a.Name + "'s sidecar": a.HTTPPort} {
			pid, ok := system.Holder(port)
			if !ok {
				return nil, fmt.Errorf("%s does not listen on port %d", name, port)
			}
			found[name] = pid
		}
	}
	// It copies what the apps log to files and to its own output.
	parent, err := parentOf(found["query"])
	found["dapr run"] = parent
	return found, err
}

// parentOf is the process that started another (proc_pid_stat(5)).
func parentOf(pid int) (int, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[1])
}

// stat is /proc/PID/stat from the third field on: the second, in parentheses, may
// have spaces (proc_pid_stat(5)).
func stat(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:])), nil
}

// ticksPerSecond is the unit of /proc/PID/stat: sysconf(_SC_CLK_TCK) is 100 on
// every Linux that Go runs on.
const ticksPerSecond = 100

// cpu is the CPU time that a process has used, user and system.
func cpu(pid int) (time.Duration, error) {
	fields, err := stat(pid)
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// memory is a process's resident set, in bytes.
func memory(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// peakMemory is the largest resident set that a process has had, in bytes (VmHWM in
// proc_pid_status(5)).
func peakMemory(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	var kib int64
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	return kib * 1024, err
}

// usage is the CPU time of every process, by name.
type usage map[string]time.Duration

func (s *stack) usage() (usage, error) {
	pids, err := s.processes()
	if err != nil {
		return nil, err
	}
	u := usage{}
	for name, pid := range pids {
		if u[name], err = cpu(pid); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (u usage) since(before usage) usage {
	spent := usage{}
	for name := range u {
		spent[name] = u[name] - before[name]
	}
	return spent
}

// restart kills a service's app, not its sidecar, and starts it again after
// between, if that isn't nil. It returns the time from the start until the
// service is ready.
func (s *stack) restart(ctx context.Context, name string, between func() error) (time.Duration, error) {
	a := s.App(name)
	p, err := system.ProcessOn(a.Port)
	if err != nil {
		return 0, err
	}
	if err := p.Kill(ctx); err != nil {
		return 0, err
	}
	if between != nil {
		if err := between(); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	if err := p.Start(s.log); err != nil {
		return 0, err
	}
	s.restarted[name] = p
	err = system.Until(ctx, 5*time.Minute, a.Ready)
	return time.Since(start), err
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// get returns the body and headers of a 200.
func get(url string) ([]byte, http.Header, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s %.200s", url, res.Status, body)
	}
	return body, res.Header, err
}

// sequence is the number at which a service stands.
func sequence(url string) (uint64, error) {
	_, h, err := get(url)
	if err != nil {
		return 0, err
	}
	end, err := eventlog.FromHeaders(h)
	return end.Sequence, err
}

// awaitSequence waits until query stands at least there, saying how far it is.
func (s *stack) awaitSequence(ctx context.Context, goal uint64, atMost time.Duration) error {
	url := s.App("query").URL() + "/posts?limit=1"
	said := time.Now()
	return system.Until(ctx, atMost, func() error {
		at, err := sequence(url)
		if err == nil && at < goal {
			err = fmt.Errorf("query stands at %d, not yet at %d", at, goal)
		}
		if err != nil && time.Since(said) > 5*time.Second {
			said = time.Now()
			say("  %v", err)
		}
		return err
	})
}

// getAny fails unless the answer is a success.
func getAny(url string) error {
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return errors.New(res.Status)
	}
	return nil
}
