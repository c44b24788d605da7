package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/system"
)

// stack is a whole Postbus, started as the end-to-end tests do, with the reference
// program as one more app.
type stack struct {
	*system.Alone
	dir    string
	suffix string
}

// tools are the programs that stacks need.
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
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(t.binaries, reference), "./apps/tools/bench/reference") //nolint:gosec // the arguments are ours
	build.Dir = t.checkout.Root
	if out, err := build.CombinedOutput(); err != nil {
		return t, fmt.Errorf("building the reference: %w\n%s", err, out)
	}
	return t, nil
}

// profilePort is the port of an app's pprof listener, and that of its sidecar's.
func profilePort(a system.App) (app, sidecar int) { return a.MetricsPort + 500, a.MetricsPort + 600 }

// start starts a stack with the reference, in a folder of its own, and waits until it is ready.
func (t tools) start(ctx context.Context, dir string) (*stack, error) {
	return t.startOn(ctx, system.Derivation{Into: dir, Extend: t.extend})
}

// startOn starts a stack with a derivation, which it completes, and waits until it is ready.
func (t tools) startOn(ctx context.Context, d system.Derivation) (*stack, error) {
	s := &stack{dir: d.Into, suffix: fmt.Sprintf("-b%d", os.Getpid())}
	d.Suffix, d.Binaries = s.suffix, t.binaries
	var err error
	if s.Alone, err = t.checkout.Alone(ctx, t.dapr, d); err != nil {
		return nil, err
	}
	s.Env = append(s.Env, "LIMITS=off")
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// extend adds the reference to a run file, and the profilers if they are wanted.
func (t tools) extend(d system.Derivation, runFile string) error {
	docs, err := system.ReadYAML(runFile)
	if err != nil {
		return err
	}
	apps, _ := docs[0]["apps"].([]any)
	own, err := t.referenceApp(d, apps[0].(system.Document)) //nolint:errcheck,forcetypeassert // Derive has written it so
	if err != nil {
		return err
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
	if err := system.WriteYAML(runFile, docs...); err != nil {
		return err
	}
	components := filepath.Join(d.Into, "components")
	if err := addReferenceBus(d, filepath.Join(components, "redis")); err != nil {
		return err
	}
	return addReferenceSubscriptions(d, filepath.Join(components, "shared"))
}

// referenceApp is the reference as an app in a run file, with ports of its own.
func (t tools) referenceApp(d system.Derivation, service system.Document) (system.Document, error) {
	own := maps.Clone(service)
	dir := filepath.Join(d.Into, reference)
	own["appID"], own["appDirPath"], own["command"] = reference+d.Suffix, dir, []string{filepath.Join(t.binaries, reference)}
	own["env"] = system.Document{"PORT": strconv.Itoa(4090 + d.Shift)}
	for port, n := range map[string]int{"appPort": 4190, "daprHTTPPort": 3590, "daprGRPCPort": 3690, "daprInternalGRPCPort": 3790, "metricsPort": 3890} {
		own[port] = n + d.Shift
	}
	return own, os.MkdirAll(dir, 0o750)
}

// addReferenceBus adds a bus for the reference. It is like the system's own, without its
// topics.
func addReferenceBus(d system.Derivation, dir string) error {
	bus, err := system.ReadYAML(filepath.Join(dir, "bus.yaml"))
	if err != nil {
		return err
	}
	bus[0]["metadata"] = system.Document{"name": reference + "-bus"}
	bus[0]["scopes"] = []string{reference + d.Suffix}
	spec := bus[0]["spec"].(system.Document) //nolint:errcheck,forcetypeassert // a component has one
	var fields []any
	for _, f := range spec["metadata"].([]any) { //nolint:errcheck,forcetypeassert // as above
		if name := fmt.Sprint(f.(system.Document)["name"]); !strings.HasSuffix(name, "Scopes") && !strings.HasSuffix(name, "Topics") {
			fields = append(fields, f)
		}
	}
	spec["metadata"] = fields
	return system.WriteYAML(filepath.Join(dir, "reference-bus.yaml"), bus[0])
}

// addReferenceSubscriptions adds the reference's hops: one in bulk, like a comment's own
// hops, and one with Dapr's defaults.
func addReferenceSubscriptions(d system.Derivation, dir string) error {
	subscriptions, err := system.ReadYAML(filepath.Join(dir, "subscriptions.yaml"))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(subscriptions, func(doc system.Document) bool {
		return doc["metadata"].(system.Document)["name"] == "moderation-comment-created" //nolint:errcheck,forcetypeassert // a subscription has one
	})
	if i < 0 {
		return errors.New("there is no subscription moderation-comment-created")
	}
	hop := subscriptions[i]
	spec := hop["spec"].(system.Document) //nolint:errcheck,forcetypeassert // as above
	hop["scopes"], spec["pubsubname"] = []string{reference + d.Suffix}, reference+"-bus"
	for _, topic := range []string{reference + "-bulk-hop", reference + "-hop"} {
		hop["metadata"] = system.Document{"name": topic}
		spec["topic"], spec["routes"] = topic, system.Document{"default": "/deliver/" + topic}
		if err := system.WriteYAML(filepath.Join(dir, topic+".yaml"), hop); err != nil {
			return err
		}
		delete(spec, "bulkSubscribe")
		delete(spec, "metadata")
	}
	return nil
}

// The names of processes that are neither an app nor a sidecar.
const (
	redisProcess, serverProcesses = "redis", "servers"
	loadGenerator, daprRun        = "load generator", "dapr run"
)

// processes are the pids of the system by name: apps, sidecars, Redis, and the load
// generator. The reference is not among them, and the servers of other engines are not.
func (s *stack) processes() (map[string]int, error) {
	found, err := s.services()
	if err != nil {
		return nil, err
	}
	found[loadGenerator] = os.Getpid()
	if s.Redis != nil {
		found[redisProcess] = s.Redis.PID()
	}
	// The CLI copies what the apps log to files and to its own output.
	parent, err := system.Look(found["query"]).Ppid()
	found[daprRun] = int(parent)
	return found, err
}

// services are the pids of the apps and the sidecars by name, without the reference.
func (s *stack) services() (map[string]int, error) {
	found := map[string]int{}
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
	return found, nil
}

// serverProcesses are the pids of the engine's servers and of the processes that they have started.
func (s *stack) serverProcesses() []int {
	var pids []int
	if s.Redis != nil {
		pids = append(pids, s.Redis.PID())
	}
	for _, server := range s.Servers.Started {
		for _, daemon := range server.Daemons() {
			pids = append(pids, daemon.PID())
		}
	}
	for i := 0; i < len(pids); i++ { // it grows by each one's children
		children, _ := system.Look(pids[i]).Children() // an error means that there are none
		for _, child := range children {
			pids = append(pids, int(child.Pid))
		}
	}
	return pids
}

// cpuResolution is the unit in which the operating system counts CPU time.
const cpuResolution = 10 * time.Millisecond

// cpu is the CPU time that a process has used, user and system.
func cpu(pid int) (time.Duration, error) {
	times, err := system.Look(pid).Times()
	if err != nil {
		return 0, err
	}
	return time.Duration((times.User + times.System) * float64(time.Second)).Round(cpuResolution), nil
}

// memory is a process's resident set, in bytes.
func memory(pid int) (int64, error) {
	info, err := system.Look(pid).MemoryInfo()
	if err != nil {
		return 0, err
	}
	return int64(info.RSS), nil //nolint:gosec // no machine has 2^63 bytes
}

func peakMemory(pid int) (int64, error) { return (&system.Process{PID: pid}).PeakMemory() }

// usage is the CPU time of every process, by name. All servers of an engine that is not the default
// have one name.
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
	if s.Redis == nil {
		for _, pid := range s.serverProcesses() {
			spent, err := cpu(pid)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a server's helpers come and go
				return nil, err
			}
			u[serverProcesses] += spent
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

// restart kills a service's app, but not its sidecar. It calls between, if that is not
// nil, and starts the app again. It returns the time from the start until the service is
// ready.
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
	if err := s.Launch(p); err != nil {
		return 0, err
	}
	err = system.Until(ctx, 5*time.Minute, a.Ready)
	return time.Since(start), err
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// get returns a 200.
func get(url string) (system.Answer, error) {
	a, err := system.Ask(client, http.MethodGet, url, "")
	if err == nil {
		err = a.Want(http.StatusOK)
	}
	if err != nil {
		err = fmt.Errorf("GET %s: %w", url, err)
	}
	return a, err
}

// createPosts makes that many posts and returns their ids.
func (s *stack) createPosts(count int) ([]string, error) {
	return system.CreatePosts(client, s.App("posts").URL()+"/posts/create", count)
}

// sequence is the log's number that a service has reached.
func sequence(url string) (uint64, error) {
	a, err := get(url)
	if err != nil {
		return 0, err
	}
	end, err := eventlog.FromHeaders(a.Header)
	return end.Sequence, err
}

// awaitSequence waits until query has reached the number, and prints its progress.
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
