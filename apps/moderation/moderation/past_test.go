package moderation

import (
	"net/http"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// by is a CommentCreated of a person.
func writtenBy(t *testing.T, person, content string, at time.Time) event.Event {
	t.Helper()
	c := event.Comment{ID: event.NewID(), PostID: aPost, AuthorID: person, Content: content, Status: event.Pending, CreatedAt: at, Revision: 1}
	e, err := event.OfComment(event.CommentCreated, "comments", c, at, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func wantStatuses(t *testing.T, got []event.Event, want ...event.Status) {
	t.Helper()
	for i := range want {
		if got[i].Comment.Status != want[i] {
			t.Errorf("comment %d is %s because it %q, want %s", i, got[i].Comment.Status, got[i].Comment.Reason, want[i])
		}
	}
}

// In one delivery and over several, in the order in which they were written; a redelivery, at
// any replica, changes nothing.
func TestARepeatedTextIsKnownAgain(t *testing.T) {
	rules := policy.Rules{Repeated: &policy.RepeatedRule{By: policy.Anybody, Most: 1, WithinSeconds: 60, Action: policy.Reject}}
	inOffice(t, rules, func(t *testing.T, o *office) {
		batch := []event.Event{
			writtenBy(t, "ann", "Buy!", noon), writtenBy(t, "bob", " buy!", noon.Add(time.Second)),
			writtenBy(t, "", "BUY!", noon.Add(2*time.Second)), writtenBy(t, "ann", "Something else", noon),
		}
		first, _ := o.decideAll(t.Context(), batch[:1])
		wantStatuses(t, first, event.Approved)
		all, _ := o.start(rules).decideAll(t.Context(), batch)
		wantStatuses(t, all, event.Approved, event.Approved, event.Rejected, event.Approved)
		again, _ := o.decideAll(t.Context(), batch)
		wantStatuses(t, again, event.Approved, event.Approved, event.Rejected, event.Approved)
		late, _ := o.decideAll(t.Context(), []event.Event{writtenBy(t, "", "Buy!", noon.Add(5*time.Minute))})
		wantStatuses(t, late, event.Approved)
		if ttl := o.store.TTL(textKey("buy!")); ttl < time.Minute || ttl > 5*time.Minute {
			t.Errorf("the text is kept for %s", ttl)
		}
	})
}

func TestSomebodyIsNewUntilTheirCommentsAreApproved(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		first := o.decidedOn(writtenBy(t, "ann", "Hello", noon))
		o.wantStands(first, event.Held, 2, "")
		second := o.decidedOn(writtenBy(t, "ann", "Hello again", noon.Add(time.Second)))
		o.wantStands(second, event.Held, 2, "")
		path := "/moderation/comments/" + first.ID
		o.does(http.MethodPost, path, `{"decision":"approve"}`, http.StatusOK, nil)
		third := o.decidedOn(writtenBy(t, "ann", "And again", noon.Add(2*time.Second)))
		o.wantStands(third, event.Approved, 2, "")
		o.wantStands(o.decidedOn(writtenBy(t, "bob", "Me too", noon)), event.Held, 2, "")
		// A rejection takes the approval back.
		for _, id := range []string{first.ID, third.ID} {
			o.does(http.MethodPost, "/moderation/comments/"+id, `{"decision":"reject"}`, http.StatusOK, nil)
		}
		o.wantStands(o.decidedOn(writtenBy(t, "ann", "Once more", noon.Add(3*time.Second))), event.Held, 2, "")
	})
}

func TestTooManyOfOnePersonAreHeld(t *testing.T) {
	rules := policy.Rules{TooMany: &policy.TooManyRule{Most: 2, WithinSeconds: 60, Action: policy.Hold}}
	inOffice(t, rules, func(t *testing.T, o *office) {
		var batch []event.Event
		for i := range 4 {
			batch = append(batch, writtenBy(t, "ann", "Hello", noon.Add(time.Duration(i)*time.Second)))
		}
		got, _ := o.decideAll(t.Context(), batch)
		wantStatuses(t, got, event.Approved, event.Approved, event.Held, event.Held)
	})
}

// The default policy costs what it did before policies could be written.
func TestThePastIsNotReadInVain(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		o.commented("Hello")
		if keys := append(o.store.Keys("text-"), o.store.Keys("past-")...); len(keys) > 0 {
			t.Errorf("stored are %v", keys)
		}
	})
}
