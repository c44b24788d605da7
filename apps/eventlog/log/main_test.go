package log

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("LOG_LEVEL") == "" { // the tests make the code warn a lot, on purpose
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	goleak.VerifyTestMain(m)
}

// count is how often segments were written, or asked to be, and how many were read.
func count(store *statetest.Memory) (swaps, reads int) {
	return store.Named(statetest.Swap, "segment-"), store.Named(statetest.Get, "segment-")
}

// decide has fate decide what becomes of the nth write of a segment.
func decide(store *statetest.Memory, fate func(n int) statetest.Fate) {
	n := 0
	store.Decide(func(item state.Item) statetest.Fate {
		if item.Key == eventlog.OriginKey {
			return statetest.Written
		}
		n++
		return fate(n)
	})
}

// beforeSwaps has hook run before the nth write of a segment.
func beforeSwaps(store *statetest.Memory, hook func(n int)) {
	var n atomic.Int64
	store.Before(func(_ context.Context, c statetest.Call) error {
		if c.Op == statetest.Swap && c.Items[0].Key != eventlog.OriginKey {
			hook(int(n.Add(1)))
		}
		return nil
	})
}

// hold has the nth write of a segment wait until gates[n], if there is one, is closed.
func hold(store *statetest.Memory, gates map[int]chan struct{}) {
	beforeSwaps(store, func(n int) {
		if gate, ok := gates[n]; ok {
			<-gate
		}
	})
}

// answersAtMost has the store fail to read more segments at once: what an answer too large
// for the sidecar looks like. 0 is no bound.
func answersAtMost(store *statetest.Memory, most int) {
	store.Before(func(_ context.Context, c statetest.Call) error {
		n := len(c.Items)
		if c.Items[0].Key == eventlog.OriginKey {
			n--
		}
		if c.Op == statetest.Get && most > 0 && n > most {
			return fmt.Errorf("the answer with %d keys is too large", n)
		}
		return nil
	})
}

// uuid7 is the ith of the UUIDv7s that the tests use; they sort like i.
func uuid7(i int) string {
	at := int64(0x0190_0000_0000) + int64(i)
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", at>>16, at&0xffff, i)
}

var someTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// titled is the PostCreated of the ith post.
func titled(t testing.TB, i int, title string) event.Event {
	t.Helper()
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: uuid7(i), Title: title, CreatedAt: someTime, Revision: 1}, someTime, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// some are the PostCreated of the posts from, from+1, ... to-1.
func some(t testing.TB, from, to int) []event.Event {
	t.Helper()
	events := make([]event.Event, 0, to-from)
	for i := from; i < to; i++ {
		events = append(events, titled(t, i, "post "+strconv.Itoa(i)))
	}
	return events
}

// segmentKey is that of a segment of the log that is in the store, which may have been
// begun before logs had ids.
func segmentKey(store *statetest.Memory, number int) string {
	o := eventlog.Origin{Prefix: eventlog.FormerPrefix}
	if value := store.Value(eventlog.OriginKey); value != "" {
		var err error
		if o, err = eventlog.ParseOrigin([]byte(value)); err != nil {
			panic(err)
		}
	}
	return o.Key(number)
}

// filled is a store that holds a log of events, begun before logs had ids.
func filled(t testing.TB, events []event.Event) *statetest.Memory {
	t.Helper()
	store := statetest.New()
	for number := 0; len(events) > 0; number++ {
		s, n, err := (&eventlog.Segment{Number: number}).With(events)
		if err != nil {
			t.Fatal(err)
		}
		store.Put(segmentKey(store, number), string(s.Encode()))
		events = events[n:]
	}
	return store
}

// ofSize is a segment with n events.
func ofSize(t testing.TB, number, n int) *eventlog.Segment {
	t.Helper()
	s, taken, err := (&eventlog.Segment{Number: number}).With(some(t, 0, n))
	if err != nil || taken != n {
		t.Fatalf("With took %d of %d: %v", taken, n, err)
	}
	return s
}

// newLog is a replica on store; of a comment's events only the last does not wait.
func newLog(store state.Store) *Log {
	return New(Config{Store: store, Now: time.Now, MayWait: func(e event.Event) bool {
		return e.Type == event.CommentCreated || e.Type == event.CommentModerated
	}})
}

// start runs a replica on store until the test ends.
func start(t testing.TB, store state.Store) *Log {
	t.Helper()
	return run(t, newLog(store))
}

// startDead runs a replica of the dead letters on store until the test ends.
func startDead(t testing.TB, store state.Store) *Log {
	t.Helper()
	return run(t, New(Config{Store: store, Prefix: "dead-letters-", Now: time.Now}))
}

func run(t testing.TB, l *Log) *Log {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return l
}

// mustAppend appends events of which none may be refused.
func mustAppend(t testing.TB, l *Log, events ...event.Event) {
	t.Helper()
	for i, err := range l.Append(t.Context(), events) {
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// stored are the events of the log in the store, without the help of the code under test.
func stored(t testing.TB, store *statetest.Memory) []event.Event {
	t.Helper()
	var all []event.Event
	for number := 0; ; number++ {
		value := store.Value(segmentKey(store, number))
		if value == "" {
			if keys := store.Keys(""); len(keys) != number+1 || !slices.Contains(keys, eventlog.OriginKey) {
				t.Fatalf("the store has the keys %v, but no segment %d", keys, number)
			}
			return all
		}
		compressed := value[0] != '['
		if compressed {
			value = "[" + unzstd(t, []byte(value)) + "]"
		}
		events, err := event.ParseBatch([]byte(value))
		if err != nil {
			t.Fatalf("segment %d: %v", number, err)
		}
		if compressed != (len(events) == eventlog.SegmentSize) {
			t.Fatalf("segment %d of %d events is compressed: %v", number, len(events), compressed)
		}
		all = append(all, events...)
	}
}

// unzstd decompresses all frames of b.
func unzstd(t testing.TB, b []byte) string {
	t.Helper()
	decoder, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	out, err := io.ReadAll(decoder)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// wantLog checks that the log in the store is want, in any order if ordered is
// false, each once and numbered without gap.
func wantLog(t testing.TB, store *statetest.Memory, want []event.Event, ordered bool) {
	t.Helper()
	got := stored(t, store)
	if len(got) != len(want) {
		t.Fatalf("the log has %d events, want %d", len(got), len(want))
	}
	ids := make(map[string]bool, len(want))
	for _, e := range want {
		ids[e.ID] = true
	}
	for i, e := range got {
		if e.Sequence != event.Sequence(i+1) { //nolint:gosec // never negative
			t.Fatalf("event %d has number %d", i+1, e.Sequence)
		}
		if ordered && e.ID != want[i].ID {
			t.Fatalf("event %d is %s, want %s", i+1, e.ID, want[i].ID)
		}
		if !ids[e.ID] {
			t.Fatalf("event %d (%s) is unknown, or in the log twice", i+1, e.ID)
		}
		delete(ids, e.ID)
	}
}

// lineCount is how many events an answer of GET /events has.
func lineCount(body string) int { return strings.Count(body, `"specversion"`) }
