package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// largest is a value as large as the largest of the services, in bytes: a segment of the
	// event log with the longest comments.
	largest = 8 << 20
	// manyKeys are read at once.
	manyKeys = 1000
	// races is how many times two writers race for a version.
	races = 10_000
	// conformTimeout bounds one call.
	conformTimeout = 30 * time.Second
)

// Conform tests that a store keeps the state contract, line by line. Its documents have keys of
// their own, and stay.
func Conform(t *testing.T, store state.Store) {
	for name, line := range map[string]func(*conformer){
		"a key is created once":                                (*conformer).create,
		"a document is replaced at its version alone":          (*conformer).replace,
		"a key that does not exist is read as such":            (*conformer).absent,
		"of several items each is written for itself":          (*conformer).several,
		"a key can be created again after its time to live":    (*conformer).ttl,
		"a write whose answer is lost happened, or not":        (*conformer).lostAnswer,
		"a value of 8 MiB is written and read":                 (*conformer).large,
		"a thousand keys are read at once":                     (*conformer).many,
		"of two writers that race for a version one succeeds":  (*conformer).race,
		"a document is deleted at its version alone":           (*conformer).remove,
		"keys are dropped whatever their version":              (*conformer).drop,
		"the version after a write is known, or is not at all": (*conformer).etagAfter,
		"bytes are kept as they are":                           (*conformer).bytes,
	} {
		t.Run(name, func(t *testing.T) {
			line(&conformer{T: t, store: store, id: event.NewID()})
		})
	}
}

// conformer is one line of the contract under test.
type conformer struct {
	*testing.T
	store state.Store
	id    string
}

func (c *conformer) key(name string) string { return "conform-" + c.id + "-" + name }

func (c *conformer) item(name, value, etag string) state.Item {
	return state.Item{Key: c.key(name), Value: []byte(value), ETag: etag}
}

func (c *conformer) swap(items ...state.Item) error {
	ctx, cancel := context.WithTimeout(c.Context(), conformTimeout)
	defer cancel()
	return c.store.Swap(ctx, items...)
}

// succeeds writes items.
func (c *conformer) succeeds(items ...state.Item) {
	c.Helper()
	if err := c.swap(items...); err != nil {
		c.Fatalf("%d items from %s on were not written: %v", len(items), items[0].Key, err)
	}
}

// conflicts writes items, and wants that to fail.
func (c *conformer) conflicts(items ...state.Item) {
	c.Helper()
	if err := c.swap(items...); !errors.Is(err, state.ErrUnknown) {
		c.Fatalf("%d items from %s on: error %v, want an ErrUnknown", len(items), items[0].Key, err)
	}
}

func (c *conformer) get(names ...string) []state.Item {
	c.Helper()
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = c.key(name)
	}
	ctx, cancel := context.WithTimeout(c.Context(), conformTimeout)
	defer cancel()
	items, err := c.store.Get(ctx, keys...)
	if err != nil {
		c.Fatal(err)
	}
	for i, item := range items {
		if item.Key != keys[i] {
			c.Fatalf("item %d is of %s, want %s", i, item.Key, keys[i])
		}
	}
	return items
}

// holds wants a document to have a value, and returns its version.
func (c *conformer) holds(name, value string) (etag string) {
	c.Helper()
	item := c.get(name)[0]
	if !item.Exists() || string(item.Value) != value {
		c.Fatalf("%s is %.50q at %q, want %.50q", name, item.Value, item.ETag, value)
	}
	return item.ETag
}

func (c *conformer) create() {
	c.succeeds(c.item("a", "1", ""))
	c.conflicts(c.item("a", "2", ""))
	c.conflicts(c.item("a", "1", "")) // the same value, too
	c.holds("a", "1")
}

func (c *conformer) replace() {
	c.succeeds(c.item("a", "1", ""))
	first := c.holds("a", "1")
	c.succeeds(c.item("a", "2", first))
	second := c.holds("a", "2")
	if first == second {
		c.Fatalf("both versions are %q", first)
	}
	c.conflicts(c.item("a", "3", first))
	c.succeeds(c.item("a", "2", second)) // the same value is a version, too
	c.conflicts(c.item("a", "3", second))
	c.holds("a", "2")
}

func (c *conformer) absent() {
	c.succeeds(c.item("b", "1", ""))
	for i, item := range c.get("a", "b", "c") {
		if item.Exists() != (i == 1) || !item.Exists() && len(item.Value) > 0 {
			c.Errorf("%s exists: %v, with %q", item.Key, item.Exists(), item.Value)
		}
	}
	if c.get("a")[0].Exists() {
		c.Error("a key that was never written exists")
	}
	if items, err := c.store.Get(c.Context()); err != nil || len(items) > 0 {
		c.Errorf("of no keys there are %v, error %v", items, err)
	}
}

// several has one conflict among several items, in each place, of each kind.
func (c *conformer) several() {
	for at := range 3 {
		old, names := c.key(fmt.Sprint(at)), []string{fmt.Sprint(at, "x"), fmt.Sprint(at, "y"), fmt.Sprint(at, "z")}
		c.succeeds(state.Item{Key: old, Value: []byte("1")})
		for i, name := range names {
			if i != at {
				c.succeeds(c.item(name, "1", ""))
			}
		}
		var items []state.Item
		for i, name := range names {
			item := c.item(name, "2", "")
			if i != at {
				item.ETag = c.holds(name, "1")
			}
			items = append(items, item)
		}
		items[at] = state.Item{Key: old, Value: []byte("wrong")}
		items = append(items, c.item(fmt.Sprint(at, "new"), "2", ""))
		c.conflicts(items...)
		for i, name := range names {
			if i != at {
				c.holds(name, "2")
			}
		}
		c.holds(fmt.Sprint(at), "1")
		c.holds(fmt.Sprint(at, "new"), "2")
	}
}

func (c *conformer) ttl() {
	short := c.item("a", "1", "")
	short.TTL = 2 * time.Second
	c.succeeds(short, c.item("b", "1", ""))
	c.holds("a", "1")
	c.conflicts(c.item("a", "2", ""))
	deadline := time.Now().Add(conformTimeout)
	for c.get("a", "b")[0].Exists() {
		if time.Now().After(deadline) {
			c.Fatal("it lives for ever")
		}
		c.wait(100 * time.Millisecond)
	}
	c.succeeds(c.item("a", "3", ""))
	c.holds("a", "3")
	c.holds("b", "1")
}

func (c *conformer) wait(long time.Duration) {
	select {
	case <-time.After(long):
	case <-c.Context().Done():
	}
}

// lostAnswer gives up calls before, during and after their effect. Who reads then finds one of
// the two values, and can write on from there.
func (c *conformer) lostAnswer() {
	c.succeeds(c.item("a", "0", ""))
	value, lost := "0", 0
	for i := 1; i <= 100; i++ {
		now := c.get("a")[0]
		if string(now.Value) != value {
			c.Fatalf("it is %q, want %q", now.Value, value)
		}
		next := strconv.Itoa(i)
		ctx, cancel := context.WithTimeout(c.Context(), time.Duration(i)*50*time.Microsecond)
		err := c.store.Swap(ctx, c.item("a", next, now.ETag))
		cancel()
		if err != nil && !errors.Is(err, state.ErrUnknown) {
			c.Fatalf("error %v, want an ErrUnknown", err)
		}
		if err == nil {
			value = next
			continue
		}
		lost++
		// The write may still be on its way. This one ends that: after it, the first conflicts.
		for {
			now = c.get("a")[0]
			if got := string(now.Value); got != value && got != next {
				c.Fatalf("it is %q, want %q or %q", got, value, next)
			}
			if c.swap(c.item("a", next, now.ETag)) == nil {
				break
			}
		}
		value = next
	}
	c.Logf("%d of 100 calls were given up", lost)
}

func (c *conformer) large() {
	value := bytes.Repeat([]byte("0123456789abcdef"), largest/16)
	c.succeeds(state.Item{Key: c.key("a"), Value: value})
	item := c.get("a")[0]
	if !bytes.Equal(item.Value, value) {
		c.Fatalf("%d bytes are read, want the %d that were written", len(item.Value), len(value))
	}
	value[0] = 'x'
	c.succeeds(state.Item{Key: c.key("a"), Value: value, ETag: item.ETag})
	if got := c.get("a")[0]; !bytes.Equal(got.Value, value) {
		c.Fatalf("%d bytes are read, want the %d that were written", len(got.Value), len(value))
	}
}

func (c *conformer) many() {
	var names []string
	var items []state.Item
	for i := range manyKeys {
		names = append(names, strconv.Itoa(i))
		if i%2 == 0 {
			items = append(items, c.item(names[i], "value "+names[i], ""))
		}
	}
	for some := range slices.Chunk(items, 100) {
		c.succeeds(some...)
	}
	for i, item := range c.get(names...) {
		if want := "value " + names[i]; item.Exists() != (i%2 == 0) || item.Exists() && string(item.Value) != want {
			c.Fatalf("%s is %q at %q", item.Key, item.Value, item.ETag)
		}
	}
}

// race has two writers write a document at each of its versions. At each just one succeeds: so
// the document counts the successes.
func (c *conformer) race() {
	c.succeeds(c.item("a", "0", ""))
	var mu sync.Mutex
	won := 0
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for range races / 2 {
				items, err := c.store.Get(c.Context(), c.key("a"))
				if err != nil {
					c.Error(err)
					return
				}
				n, err := strconv.Atoi(string(items[0].Value))
				if err != nil {
					c.Error(err)
					return
				}
				if c.swap(c.item("a", strconv.Itoa(n+1), items[0].ETag)) == nil {
					mu.Lock()
					won++
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	c.holds("a", strconv.Itoa(won))
	c.Logf("%d of %d writes succeeded", won, races)
	if won == races || won < races/4 {
		c.Errorf("%d of %d writes succeeded: that is no race", won, races)
	}
}

func (c *conformer) remove() {
	c.succeeds(c.item("a", "1", ""))
	old := c.holds("a", "1")
	c.succeeds(c.item("a", "2", old))
	if err := c.store.Delete(c.Context(), c.item("a", "", old)); err == nil {
		c.Error("an old version was deleted")
	}
	now := c.holds("a", "2")
	if err := c.store.Delete(c.Context(), c.item("a", "", now)); err != nil {
		c.Error(err)
	}
	if c.get("a")[0].Exists() {
		c.Error("it exists")
	}
	c.succeeds(c.item("a", "3", ""))
}

func (c *conformer) drop() {
	c.succeeds(c.item("a", "1", ""), c.item("b", "1", ""), c.item("c", "1", ""))
	if err := c.store.Drop(c.Context(), c.key("a"), c.key("never"), c.key("b")); err != nil {
		c.Fatal(err)
	}
	for i, item := range c.get("a", "b", "c") {
		if item.Exists() != (i == 2) {
			c.Errorf("%s exists: %v", item.Key, item.Exists())
		}
	}
	c.succeeds(c.item("a", "2", ""))
}

func (c *conformer) etagAfter() {
	etag := ""
	for i := range 3 {
		after, isKnown := c.store.ETagAfter(etag)
		c.succeeds(c.item("a", strconv.Itoa(i), etag))
		etag = c.holds("a", strconv.Itoa(i))
		if isKnown && after != etag {
			c.Errorf("version %d was said to be %q, and is %q", i, after, etag)
		}
		if !isKnown && after != "" {
			c.Errorf("version %d is not known, and yet %q", i, after)
		}
	}
}

func (c *conformer) bytes() {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for name, value := range map[string]string{"all": string(all), "JSON": `{"a": "<é>"}`, "a number": "1", "text in quotes": `"x"`, "null": "null"} {
		c.succeeds(c.item(name, value, ""))
		c.holds(name, value)
	}
}
