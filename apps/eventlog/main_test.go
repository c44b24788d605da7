package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

func TestMain(m *testing.M) {
	if os.Getenv("LOG_LEVEL") == "" { // the tests make the code warn a lot, on purpose
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	goleak.VerifyTestMain(m)
}

// outcome is what becomes of a Swap.
type outcome int

const (
	asUsual outcome = iota
	lost            // it did not happen, and fails
	silent          // it happened, and fails all the same
	late            // it fails, and happens later
)

// fakeStore is a state store as Dapr makes one of Redis: an ETag counts a key's
// writes from 1, a Swap without ETag is an insert, a key that is gone takes a
// Swap with any ETag, and every failure is reported alike.
type fakeStore struct {
	mu      sync.Mutex
	values  map[string]record
	pending []state.Item // late writes under way
	swaps   int          // of segments
	reads   int          // segments read
	origins int          // reads of the origin
	gets    int          // calls of Get that succeeded
	down    bool

	// next, if set, decides what becomes of the nth Swap of segments. It runs without the lock.
	next func(n int) outcome
	// etag, if set, makes other ETags than counters of a version.
	etag func(version int) string
	// most, if set, is how many keys one Get can answer.
	most int
}

type record struct {
	value   []byte
	version int
}

func newFakeStore() *fakeStore { return &fakeStore{values: map[string]record{}} }

func (f *fakeStore) tag(version int) string {
	if f.etag != nil {
		return f.etag(version)
	}
	return strconv.Itoa(version)
}

func (f *fakeStore) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if f.down {
		return nil, fmt.Errorf("reading %v: the store is down", keys)
	}
	if f.most > 0 && len(keys) > f.most && keys[0] != originKey {
		return nil, fmt.Errorf("reading %d keys: the answer is too large", len(keys))
	}
	f.gets++
	for _, key := range keys {
		if key == originKey {
			f.origins++
		} else {
			f.reads++
		}
	}
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i] = state.Item{Key: key}
		if r, ok := f.values[key]; ok {
			items[i].Value, items[i].ETag = r.value, f.tag(r.version)
		}
	}
	return items, nil
}

func (f *fakeStore) Swap(ctx context.Context, items ...state.Item) error {
	what := asUsual
	if items[0].Key != originKey {
		f.mu.Lock()
		f.swaps++
		n, next := f.swaps, f.next
		f.mu.Unlock()
		if next != nil {
			what = next(n)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down || ctx.Err() != nil {
		what = lost
	}
	switch what {
	case lost:
		return fmt.Errorf("%w: lost", state.ErrUnknown)
	case late:
		f.pending = append(f.pending, items...)
		return fmt.Errorf("%w: late", state.ErrUnknown)
	}
	for _, item := range items {
		if !f.write(item) {
			return fmt.Errorf("%w: another writer was first", state.ErrUnknown)
		}
	}
	if what == silent {
		return fmt.Errorf("%w: the answer was lost", state.ErrUnknown)
	}
	return nil
}

func (f *fakeStore) write(item state.Item) bool {
	r, exists := f.values[item.Key]
	if exists && item.ETag != f.tag(r.version) {
		return false
	}
	f.values[item.Key] = record{item.Value, r.version + 1}
	return true
}

// Delete removes an item that is still at its ETag, as the component does.
func (f *fakeStore) Delete(ctx context.Context, item state.Item) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down || ctx.Err() != nil {
		return fmt.Errorf("deleting %s: the store is down", item.Key)
	}
	if r, exists := f.values[item.Key]; exists && item.ETag != f.tag(r.version) {
		return fmt.Errorf("deleting %s: it was written since", item.Key)
	}
	delete(f.values, item.Key)
	return nil
}

// land lets the late writes happen, if they still can.
func (f *fakeStore) land() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, item := range f.pending {
		f.write(item)
	}
	f.pending = nil
}

// hold has the nth write wait until gates[n], if there is one, is closed.
func (f *fakeStore) hold(gates map[int]chan struct{}) {
	f.next = func(n int) outcome {
		if gate, ok := gates[n]; ok {
			<-gate
		}
		return asUsual
	}
}

func (f *fakeStore) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fakeStore) count() (swaps, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swaps, f.reads
}

// set puts a value there, whatever there was.
func (f *fakeStore) set(key string, value []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[key] = record{value, f.values[key].version + 1}
}

func (f *fakeStore) remove(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, key)
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
func (f *fakeStore) segmentKey(number int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.segmentKeyLocked(number)
}

func (f *fakeStore) segmentKeyLocked(number int) string {
	o := origin{Segments: formerSegments}
	if r, ok := f.values[originKey]; ok {
		if err := json.Unmarshal(r.value, &o); err != nil {
			panic(err)
		}
	}
	return o.key(number)
}

// filled is a store that holds a log of events, begun before logs had ids.
func filled(t testing.TB, events []event.Event) *fakeStore {
	t.Helper()
	store := newFakeStore()
	for number := 0; len(events) > 0; number++ {
		s, n, err := (&segment{number: number}).with(events)
		if err != nil {
			t.Fatal(err)
		}
		store.set(store.segmentKey(number), s.encode())
		events = events[n:]
	}
	return store
}

// start runs a replica on store until the test ends.
func start(t testing.TB, store segmentStore) *eventLog {
	t.Helper()
	l := newEventLog(store)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return l
}

// mustAppend appends events of which none may be refused.
func mustAppend(t testing.TB, l *eventLog, events ...event.Event) {
	t.Helper()
	for i, err := range l.append(t.Context(), events) {
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// stored are the events of the log in the store, without the help of the code under test.
func stored(t testing.TB, store *fakeStore) []event.Event {
	t.Helper()
	store.mu.Lock()
	defer store.mu.Unlock()
	var all []event.Event
	for number := 0; ; number++ {
		key := store.segmentKeyLocked(number)
		r, ok := store.values[key]
		if !ok {
			if _, begun := store.values[originKey]; len(store.values) != number+1 || !begun {
				t.Fatalf("the store has %d keys, but no %s", len(store.values), key)
			}
			return all
		}
		value, compressed := r.value, r.value[0] != '['
		if compressed {
			value = []byte("[" + unzstd(t, value) + "]")
		}
		events, err := event.ParseBatch(value)
		if err != nil {
			t.Fatalf("segment %d: %v", number, err)
		}
		if compressed != (len(events) == segmentSize) {
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
func wantLog(t testing.TB, store *fakeStore, want []event.Event, ordered bool) {
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
