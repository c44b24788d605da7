package comments

import (
	"slices"
	"testing"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/catchup"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// approved is c after another moderation than that of moderated.
func approved(c event.Comment) event.Comment {
	c.Status, c.Reason, c.Revision = event.Approved, "", 2
	return c
}

// consumer is the service's consumer of a type.
func consumer(t *testing.T, s *Service, of event.Type) catchup.Consumer {
	t.Helper()
	all := s.Consumers()
	i := slices.IndexFunc(all, func(c catchup.Consumer) bool { return c.Type == of })
	if i < 0 {
		t.Fatalf("it does not consume %s", of)
	}
	return all[i]
}

func wantMissing(t *testing.T, s *Service, e event.Event, want bool) {
	t.Helper()
	missing, err := consumer(t, s, e.Type).Missing(t.Context(), []event.Event{e})
	if err != nil || len(missing) != 1 || missing[0] != want {
		t.Errorf("%s: missing is %v (error %v), want %v", e.Type, missing, err, want)
	}
}

func TestWhatAnEventHasBroughtIsMissingUntilItIsStored(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	c, post := aComment(aPost, 1), postCreated(t, aPost, "a")
	wantMissing(t, s, post, true)
	wantMissing(t, s, about(t, c), true)
	wantMissing(t, s, about(t, moderated(c)), true)

	wantErrors(t, s.deliver(event.PostCreated)(t.Context(), []event.Event{post}), nil)
	wantErrors(t, s.deliver(event.CommentCreated)(t.Context(), []event.Event{about(t, c)}), nil)
	wantMissing(t, s, post, false)
	wantMissing(t, s, about(t, c), false)
	wantMissing(t, s, about(t, moderated(c)), true)

	wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{about(t, moderated(c))}), nil)
	wantMissing(t, s, about(t, c), false) // an older revision
	wantMissing(t, s, about(t, moderated(c)), false)
	wantMissing(t, s, about(t, approved(c)), true) // the log has another decision
	forged := c
	forged.Content = "forged"
	wantMissing(t, s, about(t, forged), true) // which is looked at, and refused

	for _, e := range []event.Event{post, about(t, c)} {
		m.Fail(errDown, statetest.Get)
		if _, err := consumer(t, s, e.Type).Missing(t.Context(), []event.Event{e}); err == nil {
			t.Errorf("%s: no error", e.Type)
		}
		m.Fail(nil)
	}
}

func TestAnEventsReactionHasTheIDThatTheLogHasThen(t *testing.T) {
	out := &topic{}
	s := newService(statetest.New(), out)
	e := about(t, moderated(aComment(aPost, 1)))
	wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{e}), nil)
	if got := consumer(t, s, event.CommentModerated).Reaction(e); got != out.events[0].ID {
		t.Errorf("the reaction is %s, and published is %s", got, out.events[0].ID)
	}
}

// The bus has delivered a decision that is not in the log. That of the log replaces it.
func TestTheDecisionInTheLogStands(t *testing.T) {
	c := aComment(aPost, 1)
	for name, test := range map[string]struct {
		stored *event.Comment
		logged []event.Comment
		want   event.Comment
		errs   []error
	}{
		"nothing is stored":           {nil, []event.Comment{moderated(c)}, moderated(c), []error{nil}},
		"the comment is stored":       {&c, []event.Comment{moderated(c)}, moderated(c), []error{nil}},
		"it is stored":                {new(moderated(c)), []event.Comment{moderated(c)}, moderated(c), []error{nil}},
		"another decision is stored":  {new(approved(c)), []event.Comment{moderated(c)}, moderated(c), []error{nil}},
		"a later revision is stored":  {new(atRevision(approved(c), 3)), []event.Comment{moderated(c)}, atRevision(approved(c), 3), []error{nil}},
		"two decisions, of which one": {new(approved(c)), []event.Comment{moderated(c), approved(c)}, moderated(c), []error{nil, bus.ErrPoison}},
		"two revisions":               {&c, []event.Comment{atRevision(approved(c), 3), moderated(c)}, atRevision(approved(c), 3), []error{nil, nil}},
		"another comment of its id":   {&c, []event.Comment{forged(moderated(c))}, c, []error{bus.ErrPoison}},
		"a forged decision, then its": {new(approved(c)), []event.Comment{forged(moderated(c)), moderated(c)}, moderated(c), []error{bus.ErrPoison, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			m := statetest.New()
			s := replicaOn(m)
			if test.stored != nil {
				wantErrors(t, s.merge(t.Context(), []event.Event{about(t, *test.stored)}), nil)
			}
			var events []event.Event
			for _, l := range test.logged {
				events = append(events, about(t, l))
			}
			writes := m.Written()
			wantErrors(t, consumer(t, s, event.CommentModerated).Restore(t.Context(), events), test.errs...)
			wantComment(t, m, test.want)
			if changed := test.stored == nil || *test.stored != test.want; m.Written()-writes != map[bool]int{true: 1, false: 0}[changed] {
				t.Errorf("%d writes", m.Written()-writes)
			}
		})
	}
}

func atRevision(c event.Comment, revision int) event.Comment {
	c.Revision = revision
	return c
}

func forged(c event.Comment) event.Comment {
	c.Content = "forged"
	return c
}

// A delivery does not: which of two decisions is in the log, the bus does not know.
func TestADeliveredDecisionDoesNotReplaceAnother(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{about(t, approved(c))}), nil)
	wantErrors(t, s.deliver(event.CommentModerated)(t.Context(), []event.Event{about(t, moderated(c))}), bus.ErrPoison)
	wantComment(t, m, approved(c))
}
