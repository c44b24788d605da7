package words

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-text/typesetting/bidi"
	property "golang.org/x/text/unicode/bidi"
)

// linesOf returns every line that the paragraph may be broken into, in each direction in
// which it may be shown, each ordered by the rules L1 and L2.
func linesOf(runes []rune) (all []string) {
	for _, direction := range directionsOf(runes) {
		all = append(all, linesIn(runes, direction)...)
	}
	return all
}

func linesIn(runes []rune, direction bidi.Direction) []string {
	paragraph, base := levels(runes, direction), 0
	if direction == bidi.RightToLeft {
		base = 1
	}
	var all []string
	for from := range runes {
		for to := from + 1; to <= len(runes); to++ {
			line := slices.Clone(paragraph[from:to])
			for i := len(line) - 1; i >= 0 && endsLine(runes[from+i]); i-- {
				line[i] = min(line[i], base) // L1
			}
			var b strings.Builder
			for _, i := range reorder(line) {
				b.WriteString(reading{}.form(runes[from+i]))
			}
			all = append(all, b.String())
		}
	}
	return all
}

// endsLine reports whether rule L1 moves the character, or a removed one beside it, to
// the end of a line.
func endsLine(r rune) bool {
	switch class(r) {
	case property.WS, property.LRI, property.RLI, property.FSI, property.PDI:
		return true
	}
	return isRemoved(r)
}

// linesWith returns the lines with the form that the search finds.
func linesWith(form string, rows []row) []string {
	var all []string
	for _, r := range rows {
		s := &search{row: r, form: form}
		s.anyLine(func(first, last int) bool {
			all = append(all, s.text(first, last))
			return false
		})
	}
	return all
}

func TestLinesAreThoseThatATextMayBeBrokenInto(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune("abcאבج\u0665\u06601-, \t\u200b\u0301\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200f()")
	found := 0
	for range 3_000 {
		runes := make([]rune, 1+random.IntN(12))
		for i := range runes {
			runes[i] = letters[random.IntN(len(letters))]
		}
		text, lines := Read(string(runes)), linesOf(runes)
		if text.rows == nil {
			if all := linesOf(runes); slices.ContainsFunc(all, func(line string) bool { return !strings.Contains(text.Shown[0], line) }) {
				t.Fatalf("%+q is said to keep its order, and has the lines %+q", string(runes), all)
			}
			continue
		}
		for range 40 {
			line := []rune(lines[random.IntN(len(lines))])
			if len(line) < 2 {
				continue
			}
			from := random.IntN(len(line) - 1)
			word := line[from : from+2+random.IntN(len(line)-from-1)]
			if random.IntN(2) == 0 {
				random.Shuffle(len(word), func(i, j int) { word[i], word[j] = word[j], word[i] })
			}
			form := string(word)
			if strings.TrimSpace(form) != form {
				continue // L1 applies only to white space at the end of a line
			}
			phrase := strings.ContainsAny(form, " \t") // may end with the white space of a line
			want := slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, form) })
			got := false
			for _, line := range linesWith(form, text.rows) {
				got = true
				if !phrase && (!strings.Contains(line, form) || !slices.Contains(lines, line)) {
					t.Fatalf("%+q is no line of %+q with %+q", line, string(runes), form)
				}
			}
			if got != want && (want || !phrase) {
				t.Fatalf("%+q on a line of %+q: %v, want %v", form, string(runes), got, want)
			}
			if got && !slices.ContainsFunc(text.Shown, func(shown string) bool { return strings.Contains(shown, form) }) {
				found++
			}
		}
	}
	if found < 1_000 {
		t.Errorf("only %d were on lines that are broken", found)
	}
}

// No text within the bounds of a comment takes long, whatever it repeats.
func BenchmarkLines(b *testing.B) {
	var paragraphs strings.Builder
	for n := range 4_990 {
		paragraphs.WriteString(string(rune(0x4e00+n)) + "\n")
	}
	for name, text := range map[string]string{
		"plain":       strings.Repeat("rivers and ", 910),
		"two runs":    "\u202e" + strings.Repeat("o", 4_990) + "\u202cr\u202e" + strings.Repeat("a", 4_990) + "\u202cnge",
		"one run":     "o\u202e" + strings.Repeat("ro", 4_990) + "\u202crange",
		"many runs":   strings.Repeat("o\u202er\u202ca", 2_000),
		"nested runs": strings.Repeat("o\u202er\u202da", 60) + strings.Repeat("orang", 1_900),
		"one letter":  "\u202e" + strings.Repeat("o", 9_999),
		"Hebrew":      strings.Repeat("שלום oranges ", 770),
		"paragraphs":  "א\x01\n" + paragraphs.String(),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				for _, r := range Read(text).rows {
					s := &search{row: r, form: "orange"}
					s.anyLine(func(first, last int) bool {
						s.text(s.wholeWords(first, last))
						return false
					})
				}
			}
		})
	}
}

func TestACollapsedText(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "a", " a \t b\n": " a b ", "a\r\nb": "a b", "a\n\n\nb": "a b", "\n": " ",
		"a\u200b\nb": "a\u200bb", "a\n\u200bb": "a\u200bb", "a \n \u200bb": "a\u200bb", "a\u200b b": "a\u200b b", "a\u200b\u202c\nb": "a\u200b\u202cb",
		"名\n名": "名名", "名 名": "名 名", "名\na": "名 a", "한\n한": "한 한", "ｏ\nｒ": "ｏｒ",
	} {
		if got := Collapsed(text); got != want {
			t.Errorf("%+q is shown as %+q, want %+q", text, got, want)
		}
	}
}
