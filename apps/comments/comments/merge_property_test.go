package comments

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

// The same cases every time; -rapid.seed=<n> and -rapid.checks=<n> look further.
func repeatable(t *testing.T) {
	t.Helper()
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == "0" {
		if err := flag.Set("rapid.seed", "7"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set("rapid.seed", "0") })
	}
}

// Whatever the order of the events, how often they come, in which batches, to
// which of two replicas, in the middle of what the other does, and whatever
// becomes of the writes: when all are acknowledged, each comment is as its last
// revision says, and listed once.
func TestAnyDeliveryEndsInTheSameCommentsEachListedOnce(t *testing.T) {
	repeatable(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, store: statetest.New(), want: map[string]event.Comment{}, listed: map[string][]string{}}
		w.replicas = []*Service{replicaOn(w.store), replicaOn(w.store)}
		w.makePosts(t)
		w.store.Before(w.interfere)
		w.store.Decide(w.drawFate)
		for len(w.queue) > 0 {
			w.deliver(rapid.IntRange(0, 1).Draw(rt, "replica"))
			if rapid.IntRange(0, 3).Draw(rt, "late writes arrive") == 0 {
				w.store.Land()
			}
		}
		w.store.Land()
		w.check()
	})
}

// world is one run of the property.
type world struct {
	*rapid.T
	store    *statetest.Memory
	replicas []*Service
	queue    []event.Event // to be delivered, in this order
	want     map[string]event.Comment
	listed   map[string][]string // ids that each post's list shall hold
	trouble  int                 // failures so far; they come to an end
	nested   bool
}

// makePosts makes posts, some with chunks nearly full, and the deliveries.
func (w *world) makePosts(t *testing.T) {
	n := 0
	for p := range rapid.IntRange(1, 3).Draw(w.T, "posts") {
		post := idAt(noon, p)
		before := rapid.SampledFrom([]int{0, chunkSize - 3, chunkSize - 1, chunkSize, 2*chunkSize - 2}).Draw(w.T, "listed before")
		for i := 0; i < before; i += chunkSize {
			var ids []string
			for j := i; j < min(i+chunkSize, before); j++ {
				ids = append(ids, fmt.Sprintf("before-%04d", j))
			}
			value, err := json.Marshal(ids)
			if err != nil {
				w.Fatal(err)
			}
			w.store.Put(chunkKey(post, i/chunkSize), string(value))
			w.listed[post] = append(w.listed[post], ids...)
		}
		for range rapid.IntRange(1, 8).Draw(w.T, "comments") {
			c := aComment(post, n)
			n++
			last := moderated(c)
			w.want[c.ID] = last
			w.listed[post] = append(w.listed[post], c.ID)
			for _, e := range []event.Event{about(t, c), about(t, last)} {
				for range rapid.IntRange(1, 3).Draw(w.T, "deliveries") {
					w.queue = append(w.queue, e)
				}
			}
		}
	}
	w.queue = rapid.Permutation(w.queue).Draw(w.T, "order")
}

// deliver delivers a batch to a replica. What it does not take comes again.
func (w *world) deliver(replica int) {
	most := rapid.IntRange(1, 6).Draw(w.T, "batch")
	first := w.queue[0].Type
	var batch, rest []event.Event
	for _, e := range w.queue { // a batch is of one topic
		if e.Type == first && len(batch) < most {
			batch = append(batch, e)
		} else {
			rest = append(rest, e)
		}
	}
	w.queue = rest
	handle := w.replicas[replica].CommentModerated
	if first == event.CommentCreated {
		handle = w.replicas[replica].CommentCreated
	}
	errs := handle(context.Background(), batch)
	if len(errs) != len(batch) {
		w.Fatalf("%d results for %d events", len(errs), len(batch))
	}
	for i, err := range errs {
		switch {
		case errors.Is(err, bus.ErrPoison):
			w.Fatalf("%s of %s became a dead letter: %v", batch[i].Type, batch[i].Comment.ID, err)
		case err != nil:
			w.queue = append(w.queue, batch[i])
		}
	}
}

// interfere is what happens just before a write: sometimes, the other replica
// takes a whole batch.
func (w *world) interfere(_ context.Context, call statetest.Call) error {
	if call.Op != statetest.Swap || w.nested || len(w.queue) == 0 || rapid.IntRange(0, 2).Draw(w.T, "interfere") > 0 {
		return nil
	}
	// The other one than is writing: this one's lock is held, and it is the same
	// process that would wait for it.
	for i, replica := range w.replicas {
		if replica.lists.adding.TryLock() {
			replica.lists.adding.Unlock()
			w.nested = true
			w.deliver(i)
			w.nested = false
			break
		}
	}
	return nil
}

func (w *world) drawFate(state.Item) statetest.Fate {
	if w.trouble >= 60 {
		return statetest.Written
	}
	fate := rapid.SampledFrom([]statetest.Fate{statetest.Written, statetest.Written, statetest.Refused, statetest.Lost, statetest.Late}).Draw(w.T, "fate")
	if fate != statetest.Written {
		w.trouble++
	}
	return fate
}

func (w *world) check() {
	for id, want := range w.want {
		var got event.Comment
		if err := json.Unmarshal([]byte(w.store.Value("comment-"+id)), &got); err != nil || got != want {
			w.Errorf("comment %s is %+v (error %v), want %+v", id, got, err, want)
		}
		if strings.Contains(w.store.Value("comment-"+id), "unlisted") {
			w.Errorf("comment %s is said to be unlisted", id)
		}
	}
	documents := 0
	lists := map[string][]string{}
	for post := range w.listed {
		open := false
		for n := 0; ; n++ {
			value := w.store.Value(chunkKey(post, n))
			if value == "" {
				break
			}
			var ids []string
			if err := json.Unmarshal([]byte(value), &ids); err != nil {
				w.Fatalf("%s: %v", chunkKey(post, n), err)
			}
			if open || len(ids) > chunkSize || len(ids) == 0 {
				w.Errorf("%s holds %d ids; the one before was full: %v", chunkKey(post, n), len(ids), !open)
			}
			open = len(ids) < chunkSize
			lists[post] = append(lists[post], ids...)
			documents++
		}
	}
	for post, want := range w.listed {
		if got := slices.Sorted(slices.Values(lists[post])); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			w.Errorf("the list of %s holds %d ids %v, want %d", post, len(got), got, len(want))
		}
	}
	documents -= len(w.store.Keys("list-"))
	if documents != 0 || len(w.store.Keys("")) == 0 {
		w.Errorf("%d chunks are where no reader finds them", -documents)
	}
}
