package policy

import (
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestARepeatedTextIsFoundWithinItsTime(t *testing.T) {
	now := at(0, "ann", "Hello")
	rule := func(by By, most int) Rules { return Rules{Repeated: &RepeatedRule{by, most, 60, Reject}} }
	for name, test := range map[string]struct {
		rules Rules
		same  []Mention
		want  event.Status
	}{
		"nothing before":            {rule(Anybody, 0), nil, event.Approved},
		"itself, delivered again":   {rule(Anybody, 0), mentions(now), event.Approved},
		"by somebody else":          {rule(Anybody, 0), mentions(at(-time.Second, "bob", "")), event.Rejected},
		"a minute before":           {rule(Anybody, 0), mentions(at(-time.Minute, "bob", "")), event.Rejected},
		"longer before":             {rule(Anybody, 0), mentions(at(-time.Minute-1, "bob", "")), event.Approved},
		"after it":                  {rule(Anybody, 0), mentions(at(time.Second, "bob", "")), event.Approved},
		"somebody else's, by her":   {rule(SamePerson, 0), mentions(at(-time.Second, "bob", "")), event.Approved},
		"her own":                   {rule(SamePerson, 0), mentions(at(-time.Second, "ann", "")), event.Rejected},
		"as often as it may be":     {rule(Anybody, 1), mentions(at(-time.Second, "bob", "")), event.Approved},
		"more often than it may be": {rule(Anybody, 1), mentions(at(-time.Second, "bob", ""), at(-2*time.Second, "ann", "")), event.Rejected},
	} {
		wantVerdict(t, name, test.rules, &Case{Comment: now, Same: test.same}, test.want)
	}
}

func TestTextsThatLookAlikeAreTheSame(t *testing.T) {
	for _, text := range []string{"buy now!", "  BUY\nNOW! ", "b\u200buy n\u043ew!", "bυy now!"} {
		if got, want := SameText(text), SameText("Buy now!"); got != want {
			t.Errorf("%+q is %q, want %q", text, got, want)
		}
	}
	if SameText("Buy now!") == SameText("Buy later!") {
		t.Error("two texts are the same")
	}
}
