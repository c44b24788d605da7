package policy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestThePlaceThatIsOutOfBoundsIsNamed(t *testing.T) {
	word := func(change func(*WordRule)) Rules {
		w := WordRule{"pear", Part, Reject}
		change(&w)
		return Rules{Words: []WordRule{{"apple", Whole, Hold}, w}}
	}
	wantPlaces(t, map[string]Rules{
		"":                   Default,
		"words":              {Words: words100(1_001)},
		"words[1].text":      word(func(w *WordRule) { w.Text = "\u200b" }),
		"words[1].match":     word(func(w *WordRule) { w.Match = "any" }),
		"words[1].action":    word(func(w *WordRule) { w.Action = "" }),
		"links.most":         {Links: &LinkRule{-1, Hold}},
		"links.action":       {Links: &LinkRule{1, "ban"}},
		"repeated.by":        {Repeated: &RepeatedRule{"", 0, 60, Hold}},
		"repeated.most":      {Repeated: &RepeatedRule{Anybody, 21, 60, Hold}},
		"tooMany.most":       {TooMany: &TooManyRule{0, 60, Hold}},
		"newcomers.comments": {Newcomers: &NewcomersRule{11, Hold}},
		"newcomers.action":   {Newcomers: &NewcomersRule{1, ""}},
		"scorer.holdFrom":    {Scorer: &ScorerRule{math.NaN(), 0.9, 100}},
		"scorer.rejectFrom":  {Scorer: &ScorerRule{0.5, 1.1, 100}},
		"scorer.timeoutMs":   {Scorer: &ScorerRule{0.5, 0.9, 1501}},
	})
	wantPlaces(t, map[string]Rules{
		"":                       {Words: words100(1_000), Links: &LinkRule{0, Reject}, Repeated: &RepeatedRule{SamePerson, 20, week, Approve}, TooMany: &TooManyRule{50, 1, Hold}, Newcomers: &NewcomersRule{10, Hold}, Scorer: &ScorerRule{0, 1, 50}},
		"words[1].text":          word(func(w *WordRule) { w.Text = strings.Repeat("é", maxWordChars+1) }),
		"repeated.withinSeconds": {Repeated: &RepeatedRule{Anybody, 0, week + 1, Hold}},
		"tooMany.withinSeconds":  {TooMany: &TooManyRule{1, 0, Hold}},
	})
}

// The phases come in their order, and the first one that says something decides.
func TestTheFirstPhaseThatSaysSomethingDecides(t *testing.T) {
	guest := at(0, "", "https://example.com pear")
	rules := Rules{Newcomers: &NewcomersRule{1, Hold}}
	wantVerdict(t, "newcomers", rules, &Case{Comment: guest}, event.Held)
	rules.Repeated = &RepeatedRule{Anybody, 0, 60, Reject}
	wantVerdict(t, "repeated", rules, &Case{Comment: guest, Same: mentions(at(-time.Second, "", ""))}, event.Rejected)
	rules.Links = &LinkRule{0, Hold}
	wantVerdict(t, "links", rules, &Case{Comment: guest, Same: mentions(at(-time.Second, "", ""))}, event.Held)
	rules.Words = []WordRule{{"pear", Part, Reject}}
	wantVerdict(t, "words", rules, &Case{Comment: guest}, event.Rejected)
	wantVerdict(t, "none", Rules{}, &Case{Comment: guest}, event.Approved)
}

func TestAPolicyAsksForThePastOnlyIfItNeedsIt(t *testing.T) {
	if _, text := New(Default, 1, nil).AsksForText(); text || New(Default, 1, nil).AsksForPerson() {
		t.Error("the default policy asks for the past")
	}
	if within, text := New(Rules{Repeated: &RepeatedRule{Anybody, 0, 60, Hold}}, 1, nil).AsksForText(); !text || within != time.Minute {
		t.Errorf("it asks for texts %t, within %s", text, within)
	}
	if !New(Rules{TooMany: &TooManyRule{1, 1, Hold}}, 1, nil).AsksForPerson() || !New(Rules{Newcomers: &NewcomersRule{1, Hold}}, 1, nil).AsksForPerson() {
		t.Error("it does not ask for the person")
	}
}
