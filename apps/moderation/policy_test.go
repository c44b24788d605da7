package main

import (
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

func TestTheForbiddenWordIsFoundHoweverItIsWritten(t *testing.T) {
	for name, text := range map[string]string{
		"as it is":                      "orange",
		"in capitals":                   "ORANGE",
		"in mixed case":                 "oRaNgE",
		"in a sentence":                 "I like an orange, sometimes.",
		"in a longer word":              "oranges and blorangeade",
		"after an emoji":                "🍊orange🍊",
		"after a false start":           "oraorange",
		"full-width":                    "ｏｒａｎｇｅ",
		"full-width capitals":           "ＯＲＡＮＧＥ",
		"with accents":                  "öråñgé",
		"with accents in capitals":      "ÖRÅÑGÉ",
		"with combining marks":          "o\u0308r\u0301a\u030an\u0303g\u0306e\u0301",
		"with many marks on a letter":   "o" + strings.Repeat("\u0301", 100) + "range",
		"with a dotted capital's kin":   "Ȯrange",
		"in mathematical letters":       "𝐨𝓻𝖺𝚗𝕘𝑒",
		"in circled letters":            "ⓞⓡⓐⓝⓖⓔ",
		"in superscript":                "ᵒʳᵃⁿᵍᵉ",
		"with zero-width spaces":        "o\u200br\u200ba\u200bn\u200bg\u200be",
		"with zero-width joiners":       "or\u200dan\u200cge",
		"with soft hyphens":             "or\u00adange",
		"with a byte order mark":        "ora\ufeffnge",
		"with a word joiner":            "ora\u2060nge",
		"with direction marks":          "\u202eora\u200enge\u202c",
		"with a grapheme joiner":        "oran\u034fge",
		"with a variation selector":     "o\ufe0frange",
		"in enclosing circles":          "o\u20ddr\u20dda\u20ddnge",
		"with control characters":       "o\x00ra\x07nge",
		"with all of them":              "Ｏ\u200bＲ\u0301\u00adÅＮ\ufeffｇ\u034fÉ",
		"far into the text":             strings.Repeat("x", 9_990) + "orange",
		"across an internal buffer":     strings.Repeat("é", 4_093) + "orange",
		"across a buffer, with accents": strings.Repeat("x", 4_093) + "ö\u200br\u0301ange",
	} {
		t.Run(name, func(t *testing.T) {
			status, reason := decide(event.Comment{Content: text})
			if status != event.Rejected || !strings.Contains(reason, "orange") {
				t.Errorf("%.80q is %s because it %q", text, status, reason)
			}
		})
	}
}

func TestNearMissesAreApproved(t *testing.T) {
	for name, text := range map[string]string{
		"another word":        "An apple.",
		"cut short":           "orang",
		"a letter missing":    "ornge",
		"letters swapped":     "ornage",
		"with a space":        "or ange",
		"with a newline":      "or\nange",
		"with a hyphen":       "or-ange",
		"with full stops":     "o.r.a.n.g.e",
		"with a figure":       "0range",
		"with Cyrillic":       "\u043er\u0430nge",
		"the fruit":           "🍊",
		"in another language": "naranja, arancia, オレンジ",
		"over the end":        "ange or",
		"backwards":           "egnaro",
		"blank":               " ",
		"nothing but marks":   "\u0301\u200b",
	} {
		t.Run(name, func(t *testing.T) {
			if status, reason := decide(event.Comment{Content: text}); status != event.Approved || reason != "" {
				t.Errorf("%q is %s because it %q", text, status, reason)
			}
		})
	}
}

func TestTheAuthorIsReadToo(t *testing.T) {
	for author, want := range map[string]event.Status{"": event.Approved, "Ann": event.Approved, "Orange": event.Rejected, "Ms. Ｏrángé": event.Rejected} {
		if got, _ := decide(event.Comment{Content: "Hello", Author: author}); got != want {
			t.Errorf("%q is %s, want %s", author, got, want)
		}
	}
	// Half a word each is none.
	if got, _ := decide(event.Comment{Content: "or", Author: "ange"}); got != event.Approved {
		t.Errorf("half a word each is %s", got)
	}
}

// A decision that depended on anything else would be another one on redelivery.
func TestTheDecisionIsThatOfTheTextAlone(t *testing.T) {
	for _, c := range []event.Comment{
		{Content: "orange", Status: event.Approved, Reason: "kept"},
		{Content: "orange", ID: event.NewID(), Revision: 7},
	} {
		if got, _ := decide(c); got != event.Rejected {
			t.Errorf("%+v is %s", c, got)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Ｏ\u200bＲ\u0301\u00adÅＮ\ufeffｇ\u034fÉ")
	f.Add("ﷺ")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, text string) {
		// Folding is no way around the policy: what hides the word once does not
		// come out of a second folding.
		if once, twice := fold(text), fold(fold(text)); strings.Contains(twice, forbidden) && !strings.Contains(once, forbidden) {
			t.Errorf("%q folds to %q and then to %q", text, once, twice)
		}
	})
}
