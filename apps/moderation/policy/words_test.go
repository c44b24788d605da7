package policy

import (
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	shown "github.com/postbus/postbus/apps/moderation/words"
)

// decide is the decision of rules on a comment of which nothing else is known.
func decide(rules Rules, c event.Comment) (event.Status, string) {
	return verdictOf(rules, &Case{Comment: c})
}

func verdictOf(rules Rules, c *Case) (event.Status, string) {
	v, _ := New(rules, 1, nil).Decide(c)
	status, _ := v.Action.Status()
	return status, v.Reason
}

func whole(text string) WordRule { return WordRule{text, Whole, Reject} }

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
		"with a carriage return":        "or\range",
		"with a form feed":              "or\fange",
		"with a vertical tab":           "or\vange",
		"with a C1 control":             "or\u0085ange",
		"with a vowel separator":        "or\u180eange",
		"with a Khmer inherent vowel":   "or\u17b4ange",
		"with an unassigned ignorable":  "or\u2065ange",
		"with tags":                     "or\U000e0061ange",
		"with an object replacement":    "or\ufffcange",
		"with an annotation anchor":     "or\ufff9ange",
		"with a private character":      "or\ue000ange",
		"overridden":                    "\u202eegnaro",
		"overridden and closed":         "an \u202eegnaro\u202c indeed",
		"overridden in parts":           "\u202eegn\u202c\u202d\u2066\u202earo",
		"overridden twice":              "\u202eegn\u202dora\u202c",
		"overridden in an isolate":      "or\u2067\u202egna\u202c\u2069e",
		"after Hebrew":                  "שלום \u202eegnaro\u202c שלום",
		"on a later line":               "Hello\n\u202eegnaro",
		"with a figure":                 "0range",
		"with Cyrillic":                 "\u043er\u0430nge",
		"in Cyrillic capitals":          "\u041eR\u0410NG\u0415",
		"with Greek":                    "\u03bfr\u03b1\u03b7ge",
		"in Greek capitals":             "\u039fR\u0391\u039dG\u0395",
		"with Armenian":                 "\u0585r\u0430\u0578\u0581e",
		"in Lisu":                       "ꓳꓣꓮꓠꓖꓰ",
		"with Cherokee":                 "oᏒᎪnᏀᎬ",
		"with phonetic letters":         "orɑnɡe",
		"with a stroke":                 "ørange",
		"with all of them":              "Ｏ\u200bＲ\u0301\u00adÅＮ\ufeffｇ\u034fÉ",
		"cut before its run ends":       "or\u202eegna " + strings.Repeat("x", 100),
		"cut before wide spaces":        "or\u202eegna" + strings.Repeat(" ", 200) + "x",
		"cut at a zero-width space":     "or\u202eegna\u200b" + strings.Repeat("x", 100),
		"cut after its run begins":      "\u202e" + strings.Repeat("x", 100) + " egnaro",
		"cut at a run's start":          "\u202e" + strings.Repeat("x", 100) + " ro\u202cange",
		"cut at two runs":               "\u202e" + strings.Repeat("x", 100) + " ro\u202can\u202eeg " + strings.Repeat("x", 100),
		"cut far into a run":            "or\u202e" + strings.Repeat("x", 1_000) + "egna " + strings.Repeat("x", 1_000),
		"between Arabic figures":        "\u0665-\u0663range",
		"in small capitals":             "ᴏʀᴀɴɢᴇ",
		"with a small capital":          "orᴀnge",
		"in negative squares":           "🅾🆁🅰🅽🅶🅴",
		"in negative circles":           "🅞🅡🅐🅝🅖🅔",
		"in regional indicators":        "🇴🇷🇦🇳🇬🇪",
		"with a regional indicator":     "or🇦nge",
		"in parentheses":                "⒪⒭⒜⒩⒢⒠",
		"in modifier small capitals":    "oʀaᶰge",
		"with two letters in a square":  "ora🆖e",
		"with hooks":                    "oɾaɲɠe",
		"far into the text":             strings.Repeat("x", 9_990) + "orange",
		"across an internal buffer":     strings.Repeat("é", 4_093) + "orange",
		"across a buffer, with accents": strings.Repeat("x", 4_093) + "ö\u200br\u0301ange",
	} {
		t.Run(name, func(t *testing.T) {
			status, reason := decide(Default, event.Comment{Content: text})
			if status != event.Rejected || reason != "contains “orange”" {
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
		"another figure":      "9range",
		"with a tab":          "or\tange",
		"with a filler":       "or\u2800ange",
		"with wide spaces":    "or\u3000ange",
		"on two lines":        "or\u2028ange",
		"mirrored":            "\u202d egnaro",
		"the fruit":           "🍊",
		"in another language": "naranja, arancia, オレンジ",
		"over the end":        "ange or",
		"backwards":           "egnaro",
		"blank":               " ",
		"nothing but marks":   "\u0301\u200b",
		"cut on two sides":    "o\u202exrx\u202cange",
		"among Hebrew":        "or שלום ange or שלום rשo ange",
		"among flags":         "🇳🇱 or 🇩🇪 ange",
	} {
		t.Run(name, func(t *testing.T) {
			if status, reason := decide(Default, event.Comment{Content: text}); status != event.Approved || reason != "" {
				t.Errorf("%q is %s because it %q", text, status, reason)
			}
		})
	}
}

func TestTheAuthorIsReadToo(t *testing.T) {
	for author, want := range map[string]event.Status{"": event.Approved, "Ann": event.Approved, "Orange": event.Rejected, "Ms. Ｏrángé": event.Rejected} {
		if got, _ := decide(Default, event.Comment{Content: "Hello", Author: author}); got != want {
			t.Errorf("%q is %s, want %s", author, got, want)
		}
	}
	// The page shows a name on one line, however long it is.
	for author, want := range map[string]event.Status{
		"or\u200b\nange": event.Rejected, "or\n\u200bange": event.Rejected, "or\u200b \nange": event.Rejected, "or\u202a \n \u200bange": event.Rejected,
		"\u202e\negnaro": event.Rejected, "\u202e\r\negnaro": event.Rejected, "or\u202eegna\nxx": event.Rejected, "ｏｒ\nａｎｇｅ": event.Rejected,
		"or\nange": event.Approved, "or\u200b ange": event.Approved, "or \n\t ange": event.Approved, "": event.Approved, "\n": event.Approved,
	} {
		if got, _ := decide(Default, event.Comment{Content: "Hello", Author: author}); got != want {
			t.Errorf("%+q is %s, want %s", author, got, want)
		}
	}
	// Half a word in each field is no word.
	if got, _ := decide(Default, event.Comment{Content: "or", Author: "ange"}); got != event.Approved {
		t.Errorf("half a word each is %s", got)
	}
}

// A decision that depended on anything else could differ on redelivery.
func TestTheDecisionIsThatOfTheTextAlone(t *testing.T) {
	for _, c := range []event.Comment{
		{Content: "orange", Status: event.Approved, Reason: "kept"},
		{Content: "orange", ID: event.NewID(), Revision: 7},
	} {
		if got, _ := decide(Default, c); got != event.Rejected {
			t.Errorf("%+v is %s", c, got)
		}
	}
}

// A policy with a rule for a word, for a part of one, for a phrase, for words in other
// scripts and for a sign.
func TestAPolicyOfWordsAndPartsOfThem(t *testing.T) {
	p := Rules{Words: []WordRule{
		whole("orange"), {"pear", Part, Reject}, whole("blood moon"), whole("straße"), whole("νίκη"), whole("橙子"), whole("תפוז"), whole("🍋"),
	}}
	for text, want := range map[string]string{
		"An orange.":            "contains the word “orange”",
		"ORANGE!":               "contains the word “orange”",
		"the orange's peel":     "contains the word “orange”",
		"the orange’s peel":     "contains the word “orange”",
		"orange_juice":          "contains the word “orange”",
		"orange-red":            "contains the word “orange”",
		"“0range”":              "contains the word “orange”",
		"🍊orange🍊":              "contains the word “orange”",
		"私はorangeが好き":           "contains the word “orange”",
		"an\x07orange":          "contains the word “orange”",
		"an\u3164orange":        "contains the word “orange”",
		"o\u00adran\u200bge":    "contains the word “orange”",
		"an \u202eegnaro\u202c": "contains the word “orange”",
		"\u202eyregnaro":        "",
		"oranges":               "",
		"orangery":              "",
		"vorangegangener Fall":  "",
		"blutorange":            "",
		"orange2":               "",
		"an\u200borange":        "",
		"an\u202eegnaro" + strings.Repeat("x", 100):           "",
		"an \u202eegnaro " + strings.Repeat("x", 100):         "contains the word “orange”",
		"\u202e" + strings.Repeat("x", 100) + " ro\u202cange": "contains the word “orange”",
		"\u202e" + strings.Repeat("x", 100) + "ro\u202cange":  "",
		"or\u202eegna" + strings.Repeat("x", 100):             "",
		"שלום " + strings.Repeat("oranges שלום ", 700):        "",
		"spearmint":                       "contains “pear”",
		"pear and orange":                 "contains the word “orange”",
		"Blood\nMoon":                     "contains the word “blood moon”",
		"a blood-moon":                    "contains the word “blood moon”",
		"blood on the moon":               "",
		"blood moons":                     "",
		"bloodmoon":                       "",
		"STRASSE":                         "contains the word “straße”",
		"Straßen":                         "",
		"ΝΊΚΗ":                            "contains the word “νίκη”",
		"我吃橙子了":                           "contains the word “橙子”",
		"橙 and 子":                         "",
		"יש תפוז כאן":                     "contains the word “תפוז”",
		"\u202dזופת\u202c":                "contains the word “תפוז”",
		"זופת":                            "",
		"a🍋b":                             "contains the word “🍋”",
		"Nothing of the kind, or an age.": "",
	} {
		status, reason := decide(p, event.Comment{Content: text})
		if reason != want || (status == event.Rejected) != (want != "") {
			t.Errorf("%+q is %s because it %q, want %q", text, status, reason, want)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Ｏ\u200bＲ\u0301\u00adÅＮ\ufeffｇ\u034fÉ")
	f.Add("ﷺ")
	f.Add("\xff")
	f.Add("or\range")
	f.Add("\u202eegn\u202daro\u202c\u2067\u2069")
	f.Add("0ra\u039dge \u0456 ß \u13a4")
	f.Add("an\u3164orange\u2800\ue000")
	f.Fuzz(func(t *testing.T, text string) {
		// A text that hides the word from one folding must not reveal it to a second one.
		status, _ := decide(Default, event.Comment{Content: text})
		forms := shown.Read(text)
		for _, form := range append(forms.Written, forms.Shown...) {
			if again, _ := decide(Default, event.Comment{Content: form}); again == event.Rejected && status == event.Approved {
				t.Errorf("%q is approved, and its form %q is not", text, form)
			}
		}
	})
}

// A comment of usual length, and the longest one.
func BenchmarkDecide(b *testing.B) {
	for name, text := range map[string]string{
		"sixty characters":      "Quiet rivers carry small boats past old stone bridges, slowly.",
		"sixty, accented":       "Füße tragen kleine Boote über alte steinerne Brücken, langsam.",
		"sixty, Hebrew":         strings.Repeat("שלום עולם ", 6),
		"two hundred":           strings.Repeat("rivers and ", 20)[:200],
		"ten thousand mixed":    string([]rune(strings.Repeat("שלום عالم 12, rivers (مرحبا) ", 400))[:10_000]),
		"ten thousand brackets": "א" + strings.Repeat("()", 4_999),
		"ten thousand isolates": strings.Repeat("\u2067", 10_000),
		"ten thousand":          strings.Repeat("rivers and ", 910)[:10_000],
		"ten thousand accented": strings.Repeat("é", 10_000),
		"ten thousand reversed": "\u202e" + strings.Repeat("x", 9_999),
		"ten thousand cuts":     "\u202e" + strings.Repeat("o", 5_000) + "\u202cr\u202e" + strings.Repeat("a", 4_990) + "\u202cnge",
	} {
		b.Run(name, func(b *testing.B) {
			p := New(Default, 1, nil)
			for b.Loop() {
				p.Decide(&Case{Comment: event.Comment{Content: text}})
			}
		})
	}
}

// The first rule that matches decides, whatever it does.
func TestAWordMayApproveAndHold(t *testing.T) {
	rules := Rules{Words: []WordRule{{"blood orange", Whole, Approve}, {"orange", Part, Hold}, {"pear", Part, Reject}}}
	for text, want := range map[string]event.Status{
		"A blood orange, and a pear": event.Approved, "an orange and a pear": event.Held, "A pear": event.Rejected, "An apple": event.Approved,
	} {
		if got, reason := decide(rules, event.Comment{Content: text}); got != want {
			t.Errorf("%q is %s because it %q, want %s", text, got, reason, want)
		}
	}
}
