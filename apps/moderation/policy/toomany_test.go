package policy

import (
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestTooManyCommentsOfOnePersonAreHeld(t *testing.T) {
	rules := Rules{TooMany: &TooManyRule{2, 60, Hold}}
	now := at(0, "ann", "Hello")
	one, two, old := at(-time.Second, "ann", ""), at(-2*time.Second, "ann", ""), at(-2*time.Minute, "ann", "")
	wantVerdict(t, "the second", rules, &Case{Comment: now, OfPerson: mentions(one, now)}, event.Approved)
	wantVerdict(t, "the third", rules, &Case{Comment: now, OfPerson: mentions(one, two)}, event.Held)
	wantVerdict(t, "the third, but one is old", rules, &Case{Comment: now, OfPerson: mentions(one, old)}, event.Approved)
	wantVerdict(t, "a guest's", rules, &Case{Comment: at(0, "", "Hello"), OfPerson: mentions(one, two)}, event.Approved)
}
