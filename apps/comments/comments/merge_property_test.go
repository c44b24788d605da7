package comments

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
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

// Whatever the order of the events, those of moderators before the machine's too, how often
// they come, in which batches, to which of two replicas, in the middle of what the other does, and whatever
// becomes of the writes: when all are acknowledged, each comment is as its last
// revision says, and no other is stored.
func TestAnyDeliveryEndsInTheSameComments(t *testing.T) {
	repeatable(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, store: statetest.New(), want: map[string]event.Comment{}}
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
	trouble  int // failures so far; they come to an end
	nested   bool
}

// makePosts makes posts with comments, and the deliveries.
func (w *world) makePosts(t *testing.T) {
	n := 0
	for p := range rapid.IntRange(1, 3).Draw(w.T, "posts") {
		post := idAt(noon, p)
		for range rapid.IntRange(1, 8).Draw(w.T, "comments") {
			c := aComment(post, n)
			n++
			last := moderated(c)
			events := []event.Event{about(t, c), about(t, last)}
			for range rapid.IntRange(0, 2).Draw(w.T, "decisions of moderators") {
				last.Revision++
				last.DecidedBy = "a-moderator"
				last.Status = rapid.SampledFrom([]event.Status{event.Approved, event.Rejected, event.Held}).Draw(w.T, "decision")
				events = append(events, about(t, last))
			}
			w.want[c.ID] = last
			for _, e := range events {
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
	errs := w.replicas[replica].deliver(first)(context.Background(), batch)
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

// interfere is what happens just before a write: sometimes, a replica
// takes a whole other batch.
func (w *world) interfere(_ context.Context, call statetest.Call) error {
	if call.Op != statetest.Swap || w.nested || len(w.queue) == 0 || rapid.IntRange(0, 2).Draw(w.T, "interfere") > 0 {
		return nil
	}
	w.nested = true
	w.deliver(rapid.IntRange(0, 1).Draw(w.T, "replica that interferes"))
	w.nested = false
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
	}
	if got := len(w.store.Keys("")); got != len(w.want) {
		w.Errorf("%d keys are stored, want %d", got, len(w.want))
	}
}
