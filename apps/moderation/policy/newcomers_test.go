package policy

import (
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestTheFirstCommentsOfSomebodyNewAreHeld(t *testing.T) {
	rules := Rules{Newcomers: &NewcomersRule{2, Hold}}
	now := at(0, "ann", "Hello")
	wantVerdict(t, "the first", rules, &Case{Comment: now}, event.Held)
	wantVerdict(t, "after one", rules, &Case{Comment: now, Approved: []string{"a"}}, event.Held)
	wantVerdict(t, "after two", rules, &Case{Comment: now, Approved: []string{"a", "b"}}, event.Approved)
	wantVerdict(t, "itself does not count", rules, &Case{Comment: now, Approved: []string{"a", now.ID}}, event.Held)
	wantVerdict(t, "a guest is always new", rules, &Case{Comment: at(0, "", "Hello"), Approved: []string{"a", "b"}}, event.Held)
}
