package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

var errDown = errors.New("store is down")

// fate is what becomes of one write.
type fate int

const (
	written fate = iota
	refused      // it fails and did not happen
	lost         // it happened, and yet fails
	late         // it fails, and arrives later
)

// memory is a store with the semantics of Dapr's Redis component: an ETag counts
// a key's writes, a key that is gone takes a write with any, a conflict is that of
// one key, and looks like any other failure.
type memory struct {
	mu       sync.Mutex
	versions map[string]int
	values   map[string]string
	gets     [][]string
	swaps    [][]string
	// getErr is the answer to reads while it is set.
	getErr error
	// beforeSwap, if set, is what others do just before a Swap.
	beforeSwap func()
	// fate, if set, decides what becomes of each write.
	fate func(key string) fate
	// delayed are the writes that arrive later.
	delayed []state.Item
}

func newMemory() *memory {
	return &memory{versions: map[string]int{}, values: map[string]string{}}
}

func (m *memory) Get(_ context.Context, keys ...string) ([]state.Item, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gets = append(m.gets, keys)
	if m.getErr != nil {
		return nil, m.getErr
	}
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i] = state.Item{Key: key}
		if v := m.versions[key]; v > 0 {
			items[i].Value, items[i].ETag = []byte(m.values[key]), strconv.Itoa(v)
		}
	}
	return items, nil
}

func (m *memory) Swap(_ context.Context, items ...state.Item) error {
	if m.beforeSwap != nil {
		m.beforeSwap()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	keys := make([]string, len(items))
	for i, item := range items {
		keys[i] = item.Key
		what := written
		if m.fate != nil {
			what = m.fate(item.Key)
		}
		switch {
		case what == late:
			m.delayed = append(m.delayed, item)
		case what != refused && m.apply(item):
			if what == written {
				continue
			}
		}
		err = fmt.Errorf("%w: %s", state.ErrUnknown, item.Key)
	}
	m.swaps = append(m.swaps, keys)
	return err
}

// apply writes item if its key is at its ETag.
func (m *memory) apply(item state.Item) bool {
	if v := m.versions[item.Key]; v > 0 && item.ETag != strconv.Itoa(v) {
		return false
	}
	m.versions[item.Key]++
	m.values[item.Key] = string(item.Value)
	return true
}

// arrive lets the delayed writes happen.
func (m *memory) arrive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, item := range m.delayed {
		m.apply(item)
	}
	m.delayed = nil
}

// put stores a value, whatever is there.
func (m *memory) put(key, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[key]++
	m.values[key] = value
}

// writesOf counts the writes that were tried of keys with that beginning.
func (m *memory) writesOf(prefix string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, keys := range m.swaps {
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				n++
			}
		}
	}
	return n
}

// readsOf counts the reads of a key.
func (m *memory) readsOf(key string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, keys := range m.gets {
		if slices.Contains(keys, key) {
			n++
		}
	}
	return n
}

// always is the fate of every write.
func always(f fate) func(string) fate { return func(string) fate { return f } }

// topic is a bus that keeps what was published.
type topic struct {
	mu     sync.Mutex
	events []event.Event
	err    error
	errs   []error
}

func (p *topic) Publish(_ context.Context, e event.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.events = append(p.events, e)
	return nil
}

func (p *topic) PublishAll(_ context.Context, _ event.Type, events []event.Event) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, events...)
	return p.errs
}

// idAt is the UUIDv7 number n of the millisecond of at.
func idAt(at time.Time, n int) string {
	ms := at.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n)
}

var noon = time.Date(2024, 11, 27, 12, 0, 0, 123456789, time.UTC)

// onTheBus is e as it comes off the bus.
func onTheBus(t testing.TB, e event.Event, err error) event.Event {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := event.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = event.Parse(e.Type, raw); err != nil {
		t.Fatal(err)
	}
	return e
}

func postCreated(t testing.TB, id, title string) event.Event {
	t.Helper()
	made, _ := event.IDTime(id)
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: id, Title: title, CreatedAt: made, Revision: 1}, made, "")
	return onTheBus(t, e, err)
}

// aComment is comment number n, pending.
func aComment(post string, n int) event.Comment {
	return event.Comment{
		ID: idAt(noon, 1_000_000+n), PostID: post, Author: "Ann", Content: fmt.Sprint("comment ", n),
		Status: event.Pending, CreatedAt: noon, Revision: 1,
	}
}

// moderated is c after moderation.
func moderated(c event.Comment) event.Comment {
	c.Status, c.Reason, c.Revision = event.Rejected, "so", 2
	return c
}

// told is the event that tells of c: CommentCreated or CommentModerated.
func told(t testing.TB, c event.Comment) event.Event {
	t.Helper()
	typ := event.CommentModerated
	if c.Status == event.Pending {
		typ = event.CommentCreated
	}
	e, err := event.OfComment(typ, "x", c, noon, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	return onTheBus(t, e, err)
}

// wantErrors checks errs against want, nil for none. An error that isn't wanted
// to be poison must not be: it would make a dead letter of what could yet succeed.
func wantErrors(t *testing.T, errs []error, want ...error) {
	t.Helper()
	if len(errs) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(errs), len(want), errs)
	}
	for i := range want {
		if !errors.Is(errs[i], want[i]) {
			t.Errorf("event %d: error %v, want %v", i, errs[i], want[i])
		}
	}
}
