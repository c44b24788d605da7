package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// kind groups the samples of a profile: those with a function on their stack whose name
// contains one of the parts.
type kind struct {
	what  string
	parts []string
}

// What comments and its sidecar do for a request, and for the events that comments
// receives.
var (
	request  = kind{"request", []string{"main.(*api).create", "api/grpc.(*api).PublishEvent"}}
	reaction = kind{"reaction", []string{"main.(*handlers).", "api/grpc.(*api).", "/pkg/runtime/subscription", "components-contrib/pubsub/"}}
)

// sidecarKinds group the CPU of a sidecar. The first kind that fits counts.
var sidecarKinds = []kind{
	{"`XACK`, one by one", []string{".XAck"}},
	{"`XADD`, one by one", []string{".XAdd"}},
	{"`XREADGROUP`", []string{".XReadGroup"}},
	{"what was read to the app: queue, batch, JSON, HTTP", []string{"/pkg/runtime/subscription", "/pkg/channel/http", "components-contrib/pubsub/", "net/http.(*persistConn)", "net/http.(*Transport)"}},
	{"state: `GET`s, transactions", []string{"components-contrib/state", "components-contrib/common/component/redis"}},
	{"the app's calls (gRPC), and invocation", []string{"google.golang.org/grpc", "/pkg/api/", "/pkg/messaging", "net/http.(*conn)", "golang.org/x/net/http2"}},
	{"garbage collection", []string{"runtime.gc", "runtime.bgsweep", "runtime.bgscavenge"}},
	{"goroutines and the network poller", []string{"runtime.mcall", "runtime.mstart", "runtime.park_m", "runtime.schedule", "runtime.goexit0", "runtime.systemstack"}},
}

const otherKind = "all else"

// sortSamples sums up a profile's samples by kind, as shares of the whole.
func sortSamples(p *profile.Profile, kinds []kind) map[string]float64 {
	shares := map[string]float64{}
	var total float64
	for _, s := range p.Sample {
		spent := float64(s.Value[len(s.Value)-1]) // nanoseconds of CPU
		total += spent
		shares[kindOf(s, kinds)] += spent
	}
	for what := range shares {
		shares[what] /= total
	}
	return shares
}

func kindOf(s *profile.Sample, kinds []kind) string {
	for _, k := range kinds {
		for _, location := range s.Location {
			for _, line := range location.Line {
				if line.Function != nil && slices.ContainsFunc(k.parts, func(part string) bool { return strings.Contains(line.Function.Name, part) }) {
					return k.what
				}
			}
		}
	}
	return otherKind
}

// printHops prints the cost of a comment by hop, and where the sidecars spend their CPU,
// if there are profiles.
func (b *bench) printHops(out io.Writer) error {
	if b.profiles == "" || len(b.costs) == 0 {
		return nil
	}
	each := b.costByProcess()
	ofRequest := func(process, file string) (float64, error) {
		p, err := b.readProfile(file)
		if err != nil {
			return 0, err
		}
		shares := sortSamples(p, []kind{request, reaction})
		return each[process].median() * shares[request.what] / (shares[request.what] + shares[reaction.what]), nil
	}
	app, err := ofRequest("comments", "comments")
	if err != nil {
		return err
	}
	sidecar, err := ofRequest("comments's sidecar", "comments-sidecar")
	if err != nil {
		return err
	}
	cost := func(processes ...string) (sum float64) {
		for _, name := range processes {
			sum += each[name].median()
		}
		return sum
	}
	hops := []struct {
		what string
		cost float64
	}{
		{"the request until its 201: load generator, comments, and the publish in its sidecar", cost("load generator") + app + sidecar},
		{"CommentCreated to moderation: delivery, the decision's store, CommentModerated", cost("moderation", "moderation's sidecar")},
		{"CommentCreated and CommentModerated to comments: delivery, store, list, CommentUpdated", cost("comments", "comments's sidecar") - app - sidecar},
		{"three events to eventlog, and the log to query", cost("eventlog", "eventlog's sidecar")},
		{"the wake-ups and the log at query", cost("query", "query's sidecar")},
		{"Redis, for all of them", cost("redis")},
		{"the other apps and sidecars, and `dapr run`", cost("posts", "posts's sidecar", "client", "client's sidecar", "dapr run")},
	}
	cells := [][]string{{"hop", "CPU a comment, µs"}}
	total := 0.0
	for _, h := range hops {
		total += h.cost
		cells = append(cells, []string{h.what, short(h.cost)})
	}
	cells = append(cells, []string{"all", short(total)})
	_, _ = fmt.Fprintf(out, "\nThe same by hop; the cost of comments and its sidecar is divided by the shares in the profiles of the first round:\n\n")
	printCells(out, cells)
	return b.printSidecars(out, each)
}

func (b *bench) printSidecars(out io.Writer, each map[string]figures) error {
	names := []string{"comments", "eventlog", "query", "moderation"}
	byKind := map[string]map[string]float64{}
	for _, name := range names {
		p, err := b.readProfile(name + "-sidecar")
		if err != nil {
			return err
		}
		byKind[name] = sortSamples(p, sidecarKinds)
	}
	cells := [][]string{append([]string{"CPU a comment, µs"}, append(names, "all")...)}
	for _, k := range append(slices.Clone(sidecarKinds), kind{what: otherKind}) {
		line, sum := []string{k.what}, 0.0
		for _, name := range names {
			spent := each[name+"'s sidecar"].median() * byKind[name][k.what]
			line, sum = append(line, fmt.Sprintf("%.0f", spent)), sum+spent
		}
		cells = append(cells, append(line, fmt.Sprintf("%.0f", sum)))
	}
	_, _ = fmt.Fprintf(out, "\nInside the sidecars, by their profiles:\n\n")
	printCells(out, cells)
	return nil
}

func (b *bench) readProfile(name string) (*profile.Profile, error) {
	file, err := os.Open(filepath.Join(b.profiles, "accepted-"+name+".pprof")) //nolint:gosec // where they were written
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return profile.Parse(file)
}
