package words

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-text/typesetting/bidi"
)

// Unicode's own conformance test.
func TestTheOrderIsThatOfUAX9(t *testing.T) {
	raw, err := os.ReadFile("testdata/BidiCharacterTest.txt")
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	for line := range strings.Lines(string(raw)) {
		fields := strings.Split(strings.TrimSpace(line), ";")
		if line[0] == '#' || len(fields) != 5 {
			continue
		}
		tests++
		var runes []rune
		for _, hex := range strings.Fields(fields[0]) {
			r, err := strconv.ParseUint(hex, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			runes = append(runes, rune(r))
		}
		resolved := levels(runes, bidi.LeftToRight)
		var indexes, published []string
		for _, i := range reorder(resolved) {
			indexes = append(indexes, strconv.Itoa(i))
		}
		for _, level := range resolved {
			if level == removed {
				published = append(published, "x")
			} else {
				published = append(published, strconv.Itoa(level))
			}
		}
		if got := strings.Join(published, " ") + ";" + strings.Join(indexes, " "); got != fields[3]+";"+fields[4] {
			t.Errorf("%s: got %s", line, got)
		}
	}
	if tests < 500 {
		t.Errorf("%d tests were read", tests)
	}
}

// shown returns the characters of a text in visual order.
func shown(text []rune) string {
	var b strings.Builder
	for _, p := range inVisualOrder(text, bidi.LeftToRight) {
		for _, i := range p.order {
			b.WriteRune(text[p.start+i])
		}
	}
	return b.String()
}

func TestEachParagraphHasItsOwnOrder(t *testing.T) {
	for text, want := range map[string]string{
		"\u202ecba\ncba":                                     "abc\ncba",
		"\u202ecba\u2029cba":                                 "abc\u2029cba",
		"\u202ecba\r\n\u202efed":                             "abc\r\ndef",
		"x\u2067\u202ecba\u202c\u2069y":                      "x\u2067abc\u2069y",
		"\u202eed\u202dabc\u202cf":                           "fabcde",
		"\u202e\u202dora\u202cegn":                           "ngeora",
		"\u202e" + strings.Repeat("\u202d\u202e", 70) + "ba": "ab",
		"": "",
	} {
		if got := shown([]rune(text)); got != want {
			t.Errorf("%+q stands as %+q, want %+q", text, got, want)
		}
	}
}

// No text within the bounds of a comment takes long, however deep it nests.
func TestTheOrderOfAnyTextIsFoundSoon(t *testing.T) {
	for name, unit := range map[string]string{
		"overrides": "\u202ea", "isolates": "\u2067a", "first-strong isolates": "\u2068!", "closed isolates": "\u2068!\u2069א", "brackets": "(א)", "nested brackets": "((((((((א))))))))",
		"open brackets": "([", "embeddings": "\u202b1\u202aא\u202c", "numbers": "1,#", "marks": "(\u0301", "plain Hebrew": "שלום ",
	} {
		runes := []rune(strings.Repeat(unit, 10_000))[:10_000]
		start := time.Now()
		shown(runes)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
}
