package moderation

import (
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// permutations calls test with every order of 0 to n-1.
func permutations(n int, test func(order []int)) {
	order := make([]int, 0, n)
	used := make([]bool, n)
	var extend func()
	extend = func() {
		if len(order) == n {
			test(order)
			return
		}
		for i := range n {
			if !used[i] {
				used[i], order = true, append(order, i)
				extend()
				used[i], order = false, order[:len(order)-1]
			}
		}
	}
	extend()
}

// Whatever the order in which the log's decisions are restored, and however often: the highest
// revision stands, what an undo gives back is known, and so is the policy's own decision.
func TestDecisionsAreRestoredInAnyOrder(t *testing.T) {
	c := *created(t, "Hello").Comment
	var events []event.Event
	for i, status := range []event.Status{event.Held, event.Approved, event.Rejected, event.Approved} {
		d := c
		d.Status, d.Revision = status, i+2
		if i > 0 {
			d.DecidedBy = "a-moderator"
		} else {
			d.PolicyVersion, d.Reason = 4, "is new"
		}
		e, err := event.OfComment(event.CommentModerated, "moderation", d, noon, "")
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	want := ""
	permutations(len(events), func(order []int) {
		m := newModerator(&topic{}, statetest.New())
		for repeat := range 2 {
			for _, i := range order {
				for range repeat + 1 {
					if errs := m.restore(t.Context(), events[i:i+1]); errs != nil {
						t.Fatal(errs)
					}
				}
				wantMissing(t, m, events[i:i+1], false)
			}
		}
		wantMissing(t, m, events, false, false, false, false)
		got := m.Store.(*statetest.Memory).Value(decisionKey(c.ID)) //nolint:errcheck,forcetypeassert // it is one
		if want == "" {
			want = got
		}
		if got != want {
			t.Fatalf("in the order %v it is\n%s, and was\n%s", order, got, want)
		}
	})
	d := &document{}
	for _, e := range events {
		l, _, err := decisionIn(*e.Comment)
		if err != nil {
			t.Fatal(err)
		}
		d.put(l)
	}
	if d.stands().Revision != 5 || d.before().Status != event.Rejected || d.Status != event.Held || d.PolicyVersion != 4 {
		t.Errorf("the document is %+v", d)
	}
}

// A moderator's decision is restored before the policy has decided. The policy's does not
// stand, and is published all the same: it is the reaction to the comment.
func TestThePolicyDecidesBesideAModerator(t *testing.T) {
	in, store, bus := created(t, "An orange"), statetest.New(), &topic{}
	m := newModerator(bus, store)
	e := moderated(t, *in.Comment, event.Approved, 3)
	if errs := m.restore(t.Context(), []event.Event{e}); errs != nil {
		t.Fatal(errs)
	}
	for range 2 {
		if errs := errorsOf(m.decideAll(t.Context(), []event.Event{in})); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	for _, e := range bus.events {
		if c := e.Comment; c.Status != event.Rejected || c.Revision != 2 || c.PolicyVersion != 1 {
			t.Errorf("the policy's decision is %+v", c)
		}
	}
	wantMissing(t, m, []event.Event{e, bus.events[0]}, false, false)
}
