package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/tools/system"
)

const (
	// rawAtOnce segments are read by one call, rawParallel calls at a time.
	rawAtOnce, rawParallel = 20, 4
	manifestKey            = "snapshot-manifest"
	// settle is the time before query's memory is read, so that it is stable.
	settle = 3 * time.Second
)

// replay measures an empty query's start at a million events, beside reading and decoding
// the same segments from the store.
func (b *bench) replay(ctx context.Context, s *stack) error {
	f, err := newFiller(ctx, s)
	if err != nil {
		return err
	}
	if err := f.fillEvents(ctx, manyEvents); err != nil {
		return err
	}
	var raw, empty, rate figures
	for i := range b.rounds {
		if err := f.shown(ctx, s); err != nil {
			return err
		}
		took, err := f.readRaw(ctx)
		if err != nil {
			return err
		}
		raw = append(raw, float64(f.events())/took.Seconds())
		if took, err = b.startEmpty(ctx, s, f, "replay", i); err != nil {
			return err
		}
		empty, rate = append(empty, took.Seconds()), append(rate, float64(f.events())/took.Seconds())
		say("  round %d: raw %.0f events/s; empty %.0f events/s, %.2f s", i+1, raw[i], rate[i], empty[i])
	}
	ratio := rate.over(raw)
	b.add(row{fmt.Sprintf("events replayed a second when query starts empty, %s events of %s comments", short(float64(f.events())), short(float64(f.comments))), rate.format("/s"),
		"the segments read from the store through one sidecar, decompressed, and decoded by encoding/json", raw.format("/s"), ratio.format(""),
		"≥ 0.8", verdict(ratio.median() >= 0.8)})
	b.add(row{"the same: time until query is ready", empty.format(" s"), "", "", "", "≤ 5 s", verdict(empty.median() <= 5)})
	return nil
}

// startEmpty restarts query without its snapshot and returns the time until it is ready.
// What names its profile.
func (b *bench) startEmpty(ctx context.Context, s *stack, f *filler, what string, round int) (time.Duration, error) {
	profiled := make(chan struct{})
	took, err := s.restart(ctx, "query", func() error {
		time.AfterFunc(500*time.Millisecond, func() { // when its listener is up
			b.profile(s, what, round)()
			close(profiled)
		})
		return forget(ctx, f.query)
	})
	if err != nil {
		return 0, err
	}
	<-profiled
	if err := s.awaitSequence(ctx, f.events(), time.Second); err != nil {
		return 0, fmt.Errorf("query said that it is ready: %w", err)
	}
	return took, nil
}

// snapshot measures query's start with and without a snapshot, and its memory, at a
// million comments.
func (b *bench) snapshot(ctx context.Context, s *stack) error {
	if b.filler == nil {
		f, err := newFiller(ctx, s)
		if err != nil {
			return err
		}
		b.filler = f
	}
	f := b.filler
	if err := f.fill(ctx, manyComments); err != nil {
		return err
	}
	if err := f.shown(ctx, s); err != nil {
		return err
	}
	var empty, snapshot, resident, residentAfter, peak figures
	for i := range b.rounds {
		took, err := b.startEmpty(ctx, s, f, "snapshot", i)
		if err != nil {
			return err
		}
		empty = append(empty, took.Seconds())
		if err := f.shown(ctx, s); err != nil {
			return err
		}
		time.Sleep(settle)
		bytes, err := s.bytesOf("query", memory)
		if err != nil {
			return err
		}
		resident = append(resident, bytes/float64(f.comments))
		if bytes, err = s.bytesOf("query", peakMemory); err != nil {
			return err
		}
		peak = append(peak, bytes/float64(f.comments))

		if took, err = s.restart(ctx, "query", nil); err != nil {
			return err
		}
		snapshot = append(snapshot, took.Seconds())
		time.Sleep(settle)
		if bytes, err = s.bytesOf("query", memory); err != nil {
			return err
		}
		residentAfter = append(residentAfter, bytes/float64(f.comments))
		say("  round %d: empty %.2f s, with a snapshot %.2f s; %.0f and %.0f bytes a comment", i+1, empty[i], snapshot[i], resident[i], residentAfter[i])
	}
	size, err := commentSize(s, f)
	if err != nil {
		return err
	}
	ratio := snapshot.over(empty)
	b.add(row{fmt.Sprintf("query restarted with a snapshot of %s comments: time until ready", short(float64(f.comments))), snapshot.format(" s"),
		fmt.Sprintf("starting empty, %s events", short(float64(f.events()))), empty.format(" s"), ratio.format(""), "≤ 3 s", verdict(snapshot.median() <= 3)})
	b.addMemory(size, resident, residentAfter, peak)
	return nil
}

// addMemory adds the rows of query's memory in bytes a comment. A comment's JSON has size
// bytes.
func (b *bench) addMemory(size float64, resident, residentAfter, peak figures) {
	sizes := repeat(size, len(resident))
	for _, m := range []struct {
		when  string
		bytes figures
	}{{"after a replay", resident}, {"after a start from the snapshot", residentAfter}} {
		ratio := m.bytes.over(sizes)
		b.add(row{"query's memory a comment (60 characters of text) at rest, " + m.when, m.bytes.format(" bytes"), "the bytes of its JSON", short(size),
			ratio.format(""), "≤ 3", verdict(ratio.median() <= 3)})
	}
	b.add(row{"the same at most, in a replay and while a snapshot is saved", peak.format(" bytes"), "the bytes of its JSON", short(size), peak.over(sizes).format(""), "printed", ""})
}

func repeat(v float64, n int) figures {
	f := make(figures, n)
	for i := range f {
		f[i] = v
	}
	return f
}

// storeOf is a service's own store, through its sidecar.
func storeOf(ctx context.Context, s *stack, name string) (state.Store, error) {
	client, err := dapr.NewClientWithAddressContext(ctx, fmt.Sprintf("127.0.0.1:%d", s.App(name).GRPCPort))
	if err != nil {
		return nil, err
	}
	return state.New(client, name+"-store"), nil
}

// readRaw reads every segment through eventlog's sidecar and decodes its events and
// entities with encoding/json, on as many goroutines as there are calls.
func (f *filler) readRaw(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(rawParallel)
	for first := 0; first < f.segments; first += rawAtOnce {
		g.Go(func() error {
			var keys []string
			for n := first; n < min(first+rawAtOnce, f.segments); n++ {
				keys = append(keys, f.origin.Key(n))
			}
			items, err := f.store.Get(ctx, keys...)
			if err != nil {
				return err
			}
			for i, item := range items {
				if err := decodeRaw(first+i, item.Value); err != nil {
					return fmt.Errorf("%s: %w", item.Key, err)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

func decodeRaw(number int, value []byte) error {
	segment, err := eventlog.ParseSegment(number, value)
	if err != nil {
		return err
	}
	lines, err := segment.Lines(0, segment.Last())
	if err != nil {
		return err
	}
	events := make([]event.Event, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &events[i]); err != nil {
			return err
		}
	}
	for _, e := range events {
		var entity any = new(event.Comment)
		if e.Type == event.PostCreated {
			entity = new(event.Post)
		}
		if err := json.Unmarshal(e.Data, entity); err != nil {
			return err
		}
	}
	return nil
}

// forget deletes query's snapshot.
func forget(ctx context.Context, store state.Store) error {
	items, err := store.Get(ctx, manifestKey)
	if err != nil || !items[0].Exists() {
		return err
	}
	return store.Delete(ctx, items[0])
}

// awaitSnapshot waits until the snapshot is at the number.
func (s *stack) awaitSnapshot(ctx context.Context, store state.Store, at uint64) error {
	return system.Until(ctx, 4*time.Minute, func() error {
		items, err := store.Get(ctx, manifestKey)
		if err != nil {
			return err
		}
		var manifest struct{ Sequence uint64 }
		if items[0].Exists() {
			err = json.Unmarshal(items[0].Value, &manifest)
		}
		if err == nil && manifest.Sequence != at {
			err = fmt.Errorf("the snapshot stands at %d, not at %d", manifest.Sequence, at)
		}
		return err
	})
}

// bytesOf is the memory or the peakMemory of a service's process, in bytes.
func (s *stack) bytesOf(name string, read func(pid int) (int64, error)) (float64, error) {
	pid, ok := system.Holder(s.App(name).Port)
	if !ok {
		return 0, fmt.Errorf("%s is gone", name)
	}
	n, err := read(pid)
	return float64(n), err
}

// commentSize is the length of a comment's JSON in GET /posts.
func commentSize(s *stack, f *filler) (float64, error) {
	page, err := get(s.App("query").URL() + "/posts/" + f.posts[0])
	if err != nil {
		return 0, err
	}
	var p struct{ Comments []json.RawMessage }
	if err := json.Unmarshal(page.Body, &p); err != nil {
		return 0, err
	}
	if len(p.Comments) == 0 {
		return 0, fmt.Errorf("no comments in %s", strings.TrimSpace(string(page.Body)))
	}
	return float64(len(p.Comments[0])), nil
}
