package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
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

// uuid7 is the ith of the UUIDv7s that the tests use; they sort like i.
func uuid7(i int) string {
	at := int64(0x0190_0000_0000) + int64(i)
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", at>>16, at&0xffff, i)
}

var someTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// postOf is the PostCreated of the ith post at a revision.
func postOf(i, revision int, title string) event.Event {
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: uuid7(i), Title: title, CreatedAt: someTime, Revision: revision}, someTime, "")
	if err != nil {
		panic(err)
	}
	return e
}

// commentOf is an event that tells of comment i of a post. The status follows
// from the type and the revision, as it does in the contract.
func commentOf(t event.Type, i, post, revision int, content string) event.Event {
	c := event.Comment{ID: uuid7(i), PostID: uuid7(post), Content: content, Status: event.Pending, CreatedAt: someTime, Revision: revision}
	if t != event.CommentCreated {
		c.Status = event.Approved
	}
	e, err := event.OfComment(t, "comments", c, someTime, "")
	if err != nil {
		panic(err)
	}
	return e
}

func posted(i int) event.Event { return postOf(i, 1, "post "+strconv.Itoa(i)) }
func commented(i, post int) event.Event {
	return commentOf(event.CommentCreated, i, post, 1, "comment "+strconv.Itoa(i))
}
func approved(i, post int) event.Event {
	return commentOf(event.CommentUpdated, i, post, 2, "comment "+strconv.Itoa(i))
}
func moderated(i, post int) event.Event {
	return commentOf(event.CommentModerated, i, post, 2, "comment "+strconv.Itoa(i))
}

// posts are the PostCreated of the posts from, from+1, ... to-1.
func posts(from, to int) []event.Event {
	var events []event.Event
	for i := from; i < to; i++ {
		events = append(events, posted(i))
	}
	return events
}

// numbered are the events as a log that goes on after the number has them.
func numbered(after int, events ...event.Event) []event.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].Sequence = event.Sequence(after + i + 1) //nolint:gosec // never negative
	}
	return events
}

// someLog is a small log with everything in it: posts, comments of all states, and
// comments whose post did not come (yet).
func someLog() []event.Event {
	return numbered(
		0,
		posted(1), commented(101, 1), posted(2), moderated(101, 1), approved(101, 1),
		commented(301, 3), // parked
		posted(4), commented(102, 1), commented(401, 4), commented(103, 1), approved(401, 4),
		commented(501, 5), posted(5), // parked, and then not
		approved(601, 6), // parked
		posted(7),
	)
}

// modelOf is a model that stands at the end of a log; ready says whether it was
// ready before or after it read it.
func modelOf(t testing.TB, events []event.Event) *model {
	t.Helper()
	m := newModel()
	if err := m.apply(events); err != nil {
		t.Fatal(err)
	}
	m.setReady()
	return m
}

// everything is all that readers can see of a model: each page of each size, with
// its tag and its next one. The sequence isn't in it.
func everything(m *model) string {
	var b strings.Builder
	show := func(what string, p *page) *uuid.UUID {
		fmt.Fprintf(&b, "%s %s next=%s\n%s\n", what, p.etag, p.next, p.json)
		if p.next == "" {
			return nil
		}
		next := uuid.MustParse(p.next)
		return &next
	}
	for _, limit := range []int{1, 3, defaultPosts, maxLimit} {
		for cursor, more := (*uuid.UUID)(nil), true; more; more = cursor != nil {
			cursor = show(fmt.Sprintf("posts by %d", limit), m.postsPage(cursor, limit))
		}
	}
	ids := slices.SortedFunc(maps.Keys(m.posts), func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	for _, id := range ids {
		if m.postPage(id, nil, 1) == nil {
			continue
		}
		for _, limit := range []int{1, 2, defaultComments, maxLimit} {
			for cursor, more := (*uuid.UUID)(nil), true; more; more = cursor != nil {
				cursor = show(fmt.Sprintf("comments by %d", limit), m.postPage(id, cursor, limit))
			}
		}
	}
	return b.String()
}

// wantEmpty checks that a model is as new.
func wantEmpty(t testing.TB, m *model) {
	t.Helper()
	if m.at() != 0 || len(m.posts) != 0 || len(m.visible) != 0 || string(m.postsPage(nil, 20).json) != "{}" {
		t.Errorf("the model is not empty: it stands at %d and has %d posts, %d visible", m.at(), len(m.posts), len(m.visible))
	}
}

// shown is a post as the NodeJS example answers it.
type shown struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Comments []struct {
		ID      string `json:"id"`
		Content string `json:"content"`
		Status  string `json:"status"`
	} `json:"comments"`
	CommentCount int `json:"commentCount"`
}

// keysOf are the keys of a JSON object, in their order.
func keysOf(t testing.TB, object []byte) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(object)))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("not an object but %v, %v", open, err)
	}
	keys := []string{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string)) //nolint:errcheck,forcetypeassert // a key is one
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func ids(numbers ...int) []string {
	all := []string{}
	for _, i := range numbers {
		all = append(all, uuid7(i))
	}
	return all
}

// fakeStore is a state store as Dapr makes one of Redis: an ETag counts a key's
// writes from 1, a Swap without ETag is an insert, a key that is gone takes a
// Swap with any ETag, and every failure is reported alike.
type fakeStore struct {
	mu     sync.Mutex
	values map[string]record
	gets   int
	swaps  int
	down   bool
	// unreadable has each Get fail.
	unreadable bool
	// failing, if set, says whether the Swap of a key fails.
	failing func(key string) bool
	// lost, if set, says whether the Swap of a key fails although it happens.
	lost func(key string) bool
	// before, if set, runs before a Swap, without the lock.
	before func(key string)
	// beforeGet, if set, runs before a Get, without the lock.
	beforeGet func(key string)
}

type record struct {
	value   []byte
	version int
	ttl     time.Duration
}

func newFakeStore() *fakeStore { return &fakeStore{values: map[string]record{}} }

func (f *fakeStore) Get(ctx context.Context, keys ...string) ([]state.Item, error) {
	if f.beforeGet != nil {
		f.beforeGet(keys[0])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets++
	if ctx.Err() != nil || f.down || f.unreadable {
		return nil, fmt.Errorf("reading %v: the store is down", keys)
	}
	items := make([]state.Item, len(keys))
	for i, key := range keys {
		items[i] = state.Item{Key: key}
		if r, ok := f.values[key]; ok {
			items[i].Value, items[i].ETag = slices.Clone(r.value), strconv.Itoa(r.version)
		}
	}
	return items, nil
}

func (f *fakeStore) Swap(ctx context.Context, items ...state.Item) error {
	for _, item := range items {
		if f.before != nil {
			f.before(item.Key)
		}
		f.mu.Lock()
		f.swaps++
		r, exists := f.values[item.Key]
		failed := ctx.Err() != nil || f.down || f.failing != nil && f.failing(item.Key) || exists && item.ETag != strconv.Itoa(r.version)
		if !failed {
			f.values[item.Key] = record{slices.Clone(item.Value), r.version + 1, item.TTL}
			failed = f.lost != nil && f.lost(item.Key)
		}
		f.mu.Unlock()
		if failed {
			return fmt.Errorf("%w: writing %s", state.ErrUnknown, item.Key)
		}
	}
	return nil
}

func (f *fakeStore) Delete(ctx context.Context, item state.Item) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, exists := f.values[item.Key]; ctx.Err() != nil || f.down || exists && item.ETag != strconv.Itoa(r.version) {
		return fmt.Errorf("deleting %s: the store is down, or it has another version", item.Key)
	}
	delete(f.values, item.Key)
	return nil
}

// manifest is the one that is there, or an empty one.
func (f *fakeStore) manifest() manifest {
	var man manifest
	_ = json.Unmarshal(f.get(manifestKey), &man)
	return man
}

// set puts a value there, whatever there was.
func (f *fakeStore) set(key string, value []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[key] = record{value: value, version: f.values[key].version + 1}
}

func (f *fakeStore) get(key string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.values[key].value)
}

func (f *fakeStore) swapped() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swaps
}

func (f *fakeStore) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// chunks are the keys in the store but the manifest's, sorted.
func (f *fakeStore) chunks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []string
	for key := range f.values {
		if key != manifestKey {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
