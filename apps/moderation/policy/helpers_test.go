package policy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// at is a comment of a person, so long after noon.
func at(after time.Duration, person, content string) event.Comment {
	return event.Comment{ID: event.NewID(), AuthorID: person, Content: content, CreatedAt: noon.Add(after)}
}

// mentions are comments as the past has them.
func mentions(comments ...event.Comment) (all []Mention) {
	for _, c := range comments {
		all = append(all, Mention{Comment: c.ID, Person: c.AuthorID, At: c.CreatedAt})
	}
	return all
}

func wantVerdict(t *testing.T, what string, rules Rules, c *Case, want event.Status) {
	t.Helper()
	got, reason := verdictOf(rules, c)
	if got != want || (reason != "") != (want != event.Approved) {
		t.Errorf("%s: it is %s because it %q, want %s", what, got, reason, want)
	}
}

// wantPlaces checks which place of rules is refused, if any.
func wantPlaces(t *testing.T, places map[string]Rules) {
	t.Helper()
	for place, rules := range places {
		err := rules.Validate()
		var field *event.FieldError
		if got := ""; place != "" {
			if errors.As(err, &field) {
				got = field.Field
			}
			if got != place {
				t.Errorf("refused is %q (error %v), want %q", got, err, place)
			}
		} else if err != nil {
			t.Error(err)
		}
	}
}

func words100(n int) []WordRule {
	var all []WordRule
	for i := range n {
		all = append(all, WordRule{fmt.Sprint("word", i), Part, Hold})
	}
	return all
}
