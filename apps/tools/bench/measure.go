package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	dapr "github.com/dapr/go-sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/tools/bench/traffic"
	"github.com/postbus/postbus/apps/tools/system"
)

const (
	// underLoad is how many times longer than others the load of comments is.
	underLoad = 2
	// oneByOne comments are sent one at a time, after some to warm up.
	oneByOne, oneByOneWarm = 200, 20
	// replayEvents is the length of the log that is replayed.
	replayEvents = 100_000
	// bulkSize is the number of messages in a bulk: as many as a delivery has at most.
	bulkSize = 100
)

// measurement measures one system.
type measurement struct {
	*bench
	s   *stack
	has []measured
}

func (m *measurement) add(what, unit string, value float64) {
	m.has = append(m.has, measured{what, unit, value})
	say("  %s: %s%s", what, short(value), unit)
}

// enginesParts are measured on one system of an engine. The last ones kill what would disturb them.
var enginesParts = []struct {
	name, what string
	run        func(*measurement, context.Context) error
}{
	{"load", "comments accepted, and moderated and visible, a second", (*measurement).load},
	{"latency", "a lone comment's way to its readers", (*measurement).latency},
	{"memory", "of apps, sidecars and servers; and whether the bus lost anything until then", (*measurement).memory},
	{"replay", "events imported, and query started empty", (*measurement).replay},
	{"publish", "messages published a second, one by one and in bulk", (*measurement).publish},
}

// measure starts a system of a variant, and runs the chosen parts.
func (b *bench) measure(ctx context.Context, dir string, v variant, chosen []string) (has []measured, err error) {
	s, err := b.startVariant(ctx, dir, v)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	m := &measurement{bench: b, s: s}
	for _, p := range enginesParts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		if err := p.run(m, ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return m.has, nil
}

// load measures comments under load.
func (m *measurement) load(ctx context.Context) error {
	ids, err := m.s.createPosts(200)
	if err != nil {
		return err
	}
	var w written
	for _, duration := range []time.Duration{time.Second, underLoad * m.each} { // the first to warm up
		if err := m.s.quiet(ctx); err != nil {
			return err
		}
		if w, err = m.write(ctx, m.s, ids, traffic.Load{Connections: connections, Duration: duration}); err != nil {
			return err
		}
	}
	m.add(fmt.Sprintf("comments accepted a second, %d connections, 200 posts", connections), "/s", w.PerSecond())
	m.add(fmt.Sprintf("comments moderated and visible a second, for %s and until the last one is", underLoad*m.each), "/s", w.visible)
	others, servers := w.cpuEach()
	m.add("CPU of such a comment: apps and sidecars", " µs", others)
	m.add("CPU of such a comment: servers", " µs", servers)
	return nil
}

// latency measures how long a lone comment takes to its readers.
func (m *measurement) latency(ctx context.Context) error {
	ids, err := m.s.createPosts(1)
	if err != nil {
		return err
	}
	if err := m.s.quiet(ctx); err != nil {
		return err
	}
	var took figures
	for n := range oneByOneWarm + oneByOne {
		one, err := oneComment(m.s, ids[0])
		if err != nil {
			return err
		}
		if n >= oneByOneWarm {
			took = append(took, one.Seconds()*1000)
		}
	}
	what := fmt.Sprintf("from a comment's 201 to its approval in `GET /posts?limit=1`, %d one at a time: ", oneByOne)
	m.add(what+"p50", " ms", took.quantile(0.5))
	m.add(what+"p99", " ms", took.quantile(0.99))
	return nil
}

// repairs counts the events that the services took from the log until now, because the bus had
// not brought them in time.
func (m *measurement) repairs() error {
	sum := 0
	for _, name := range followers {
		a := m.s.App(name)
		answer, err := get(eventlog.InvokeURL(a.Sidecar(), a.ID, repairs.Path))
		if err != nil {
			return err
		}
		var counts map[repairs.Kind]int
		if err := json.Unmarshal(answer.Body, &counts); err != nil {
			return err
		}
		for _, n := range counts {
			sum += n
		}
	}
	m.add("events until then that the log had to bring", "", float64(sum))
	return nil
}

// memory measures the resident memory. What processes share counts once.
func (m *measurement) memory(context.Context) error {
	if err := m.repairs(); err != nil {
		return err
	}
	services, err := m.s.services()
	if err != nil {
		return err
	}
	of := func(pids []int) (float64, error) {
		var sum uint64
		for _, pid := range pids {
			maps, err := system.Look(pid).MemoryMaps(true)
			if err != nil {
				return 0, err
			}
			sum += (*maps)[0].Pss
		}
		return float64(sum) / 1024, nil
	}
	var pids []int
	for _, pid := range services {
		pids = append(pids, pid)
	}
	used, err := of(pids)
	if err != nil {
		return err
	}
	m.add("memory then: apps and sidecars", " MiB", used)
	if used, err = of(m.s.serverProcesses()); err != nil {
		return err
	}
	m.add("memory then: servers", " MiB", used)
	return nil
}

// followers are the services that handle what the log has.
var followers = []string{"posts", "comments", "moderation"}

// replay measures the log alone: it imports events, and starts query empty. The services that would
// handle those events are killed before.
func (m *measurement) replay(ctx context.Context) error {
	store, err := storeOf(ctx, m.s, "query")
	if err != nil {
		return err
	}
	for _, name := range followers {
		p, err := system.ProcessOn(m.s.App(name).Port)
		if err != nil {
			return err
		}
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	if err := m.importEvents(ctx); err != nil {
		return err
	}
	if err := m.s.awaitSequence(ctx, replayEvents, time.Minute); err != nil {
		return err
	}
	took, err := m.s.restart(ctx, "query", func() error { return forget(ctx, store) })
	if err != nil {
		return err
	}
	if err := m.s.awaitSequence(ctx, replayEvents, time.Second); err != nil {
		return fmt.Errorf("query said that it is ready: %w", err)
	}
	m.add(fmt.Sprintf("events replayed a second when query starts empty, %s events", short(replayEvents)), "/s", replayEvents/took.Seconds())
	return nil
}

// importEvents makes the log as long as it is replayed.
func (m *measurement) importEvents(ctx context.Context) error {
	end, err := sequence(m.s.App("query").URL() + "/posts?limit=1")
	if err != nil {
		return err
	}
	if end >= replayEvents {
		return fmt.Errorf("the log has %d events already", end)
	}
	batches, err := batchesAfter(end)
	if err != nil {
		return err
	}
	a := m.s.App("eventlog")
	log := eventlog.NewClient(eventlog.InvokeURL(a.Sidecar(), a.ID, eventlog.ImportPath), "")
	start := time.Now()
	for i, batch := range batches {
		if err := log.Import(ctx, end+uint64(i)*eventlog.MaxAppend, batch); err != nil {
			return err
		}
	}
	m.add(fmt.Sprintf("events imported a second, %d a request", eventlog.MaxAppend), "/s", float64(replayEvents-end)/time.Since(start).Seconds())
	return nil
}

// batchesAfter makes the events from a number on until the log is as long as it is replayed, as
// an import sends them.
func batchesAfter(end uint64) (batches [][]byte, err error) {
	f := &filler{random: 1, goal: replayEvents / eventsPerComment}
	for end < replayEvents {
		var batch []event.Event
		for len(batch) < eventlog.MaxAppend && end < replayEvents {
			e, err := f.event()
			if err != nil {
				return nil, err
			}
			end++
			e.Sequence = event.Sequence(end)
			batch = append(batch, e)
		}
		raw, err := event.Marshal(batch)
		if err != nil {
			return nil, err
		}
		batches = append(batches, raw)
	}
	return batches, nil
}

// publish measures how fast a service can publish, one message a call and in bulk. Nothing is
// subscribed to the topic then: eventlog and its sidecar are killed before.
func (m *measurement) publish(ctx context.Context) error {
	log := m.s.App("eventlog")
	for _, port := range []int{log.HTTPPort, log.Port} {
		p, err := system.ProcessOn(port)
		if err != nil {
			return err
		}
		if err := p.Kill(ctx); err != nil {
			return err
		}
	}
	client, err := dapr.NewClientWithAddressContext(ctx, fmt.Sprintf("127.0.0.1:%d", m.s.App("posts").GRPCPort))
	if err != nil {
		return err
	}
	defer client.Close()
	next, err := messages()
	if err != nil {
		return err
	}
	rate, err := callsASecond(ctx, connections, m.each/2, func(ctx context.Context) error {
		return client.PublishEvent(ctx, bus.Component, bus.DeadLetterTopic, next(), dapr.PublishEventWithRawPayload())
	})
	if err != nil {
		return err
	}
	m.add(fmt.Sprintf("messages published a second, one a call, %d callers", connections), "/s", rate)
	if rate, err = callsASecond(ctx, 1, m.each/2, func(ctx context.Context) error {
		req := &pb.BulkPublishRequest{PubsubName: bus.Component, Topic: bus.DeadLetterTopic, Metadata: map[string]string{"rawPayload": "true"}}
		for i := range bulkSize {
			req.Entries = append(req.Entries, &pb.BulkPublishRequestEntry{EntryId: strconv.Itoa(i), Event: next(), ContentType: "application/json"})
		}
		res, err := client.GrpcClient().BulkPublishEvent(ctx, req)
		if failed := res.GetFailedEntries(); err == nil && len(failed) > 0 {
			err = errors.New(failed[0].GetError())
		}
		return err
	}); err != nil {
		return err
	}
	m.add(fmt.Sprintf("messages published a second, %d a call, one caller", bulkSize), "/s", rate*bulkSize)
	return nil
}

// messages returns what gives one event after the other, and begins again when a bus has forgotten
// the first one's id.
func messages() (next func() []byte, err error) {
	const many = 10_000
	all := make([][]byte, many)
	f := &filler{random: 1, goal: many}
	for i := range all {
		e, err := f.event()
		if err != nil {
			return nil, err
		}
		if all[i], err = event.Marshal(e); err != nil {
			return nil, err
		}
	}
	var given atomic.Uint64
	return func() []byte { return all[given.Add(1)%many] }, nil
}

// callsASecond makes calls for a time, each of the callers one after the other.
func callsASecond(ctx context.Context, callers int, long time.Duration, call func(context.Context) error) (float64, error) {
	g, ctx := errgroup.WithContext(ctx)
	var made atomic.Int64
	start := time.Now()
	for range callers {
		g.Go(func() error {
			for time.Since(start) < long {
				if err := call(ctx); err != nil {
					return err
				}
				made.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(made.Load()) / time.Since(start).Seconds(), err
}
