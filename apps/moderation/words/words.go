// Package words finds words in a text as its readers see them in a browser.
//
// A writer can hide a word from a plain search in three ways:
//
//   - by look-alikes: "Оrаnge" has two Cyrillic letters, "🅾range" and "órange" are others;
//   - by characters that show nothing: "or\u00adange" has a soft hyphen;
//   - by writing from right to left: "\u202eegnaro" is shown as "orange". So is
//     "or\u202eegna peels", but only in a window where a line breaks after "egna".
//
// [Read] brings a text into forms that compare: look-alikes as one letter (lookalikes.go),
// without marks and what shows nothing, both as written and in visual order (order.go).
// [Pattern.In] then looks for the forms of a word in the forms of the text (pattern.go),
// and on each line that a browser may break the text into (lines.go).
package words

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/postbus/postbus/apps/internal/text"
)

// Text is a text in the forms that can be compared. It has several forms where fonts, or
// the case of letters, show different things. Two texts may look alike if they share a
// form.
type Text struct {
	// Written has the forms in the order in which the characters are stored.
	Written []string
	// Shown has the forms in visual order, in each direction in which the text may be shown,
	// where each paragraph fits on one line.
	Shown []string

	rows []row // for the search on narrower lines; none if all lines read as written
}

// Read returns the forms of s. They depend on s alone.
func Read(s string) Text {
	if form, ok := formOfASCII(s); ok {
		return Text{Written: []string{form}, Shown: []string{form}}
	}
	text := []rune(s)
	readings := readingsOf(text)
	var t Text
	for _, forms := range readings {
		if form := strings.Join(forms, ""); !slices.Contains(t.Written, form) {
			t.Written = append(t.Written, form)
		}
	}
	if !slices.ContainsFunc(text, mayReorder) {
		t.Shown = t.Written
		return t
	}
	for _, direction := range directionsOf(text) {
		paragraphs := inVisualOrder(text, direction)
		for _, forms := range readings {
			rows, form := rowsOf(forms, paragraphs)
			if !slices.Contains(t.Shown, form) {
				t.Shown, t.rows = append(t.Shown, form), append(t.rows, rows...)
			}
		}
	}
	return t
}

// reading is one way to read characters, each by itself.
type reading struct {
	// lower reads a letter by its small form, not by the looks of its capital: "Ν" looks
	// like "N", and its small letter "ν" like "v".
	lower bool
	// gap stands for a character that some browsers hide and others show as a gap or a box.
	gap string
}

// readingsOf returns the forms of all characters, for each reading that may differ.
func readingsOf(text []rune) [][]string {
	readings := []reading{{}, {lower: true}}
	if slices.ContainsFunc(text, mayTakeRoom) {
		readings = append(readings, reading{gap: " "}, reading{lower: true, gap: " "})
	}
	var forms [][]string
	for _, r := range readings {
		forms = append(forms, r.forms(text))
	}
	return forms
}

// forms returns the form of each character of a text.
func (r reading) forms(text []rune) []string {
	forms := make([]string, len(text))
	known := map[rune]string{}
	for i, c := range text {
		if c <= unicode.MaxASCII && asciiForms[c] != "" {
			forms[i] = asciiForms[c]
			continue
		}
		form, ok := known[c]
		if !ok {
			form = r.form(c)
			known[c] = form
		}
		forms[i] = form
	}
	return forms
}

// form returns the form of a character: lower case, decomposed into plain characters
// (NFKD, UAX #15), without marks, and each of those as the character it looks like.
func (r reading) form(c rune) string {
	s := norm.NFKD.String(inLatin(c))
	if r.lower {
		s = norm.NFKD.String(cases.Fold().String(s))
	}
	var b strings.Builder
	for _, c := range s {
		switch {
		case mayTakeRoom(c):
			b.WriteString(r.gap)
		case isHidden(c) || unicode.Is(unicode.M, c):
		default:
			b.WriteString(lookAlike(c))
		}
	}
	return b.String()
}

// isHidden reports whether browsers show nothing for c, or some of them a box. Tab and
// line feed are not hidden, because they separate words.
func isHidden(c rune) bool {
	return text.Ignorable(c) || c == '\ufffc' || unicode.Is(unicode.C, c) && c != '\t' && c != '\n'
}

// mayTakeRoom reports whether c is hidden, but some browser or font shows a gap or a box
// for it. Those are controls, private characters and the ignorable letters (Hangul
// fillers).
func mayTakeRoom(c rune) bool {
	return isHidden(c) && (!text.Ignorable(c) || unicode.Is(unicode.L, c))
}

// formOfASCII returns the one form of a text of printable ASCII, tabs and line feeds, and
// false for any other text. Most texts are ASCII, and this takes a thirtieth of the time.
func formOfASCII(s string) (form string, ok bool) {
	b := make([]byte, 0, len(s)+len(s)/8)
	for i := range len(s) {
		if s[i] > unicode.MaxASCII || asciiForms[s[i]] == "" {
			return "", false
		}
		b = append(b, asciiForms[s[i]]...)
	}
	return string(b), true
}

// asciiForms has the form of each ASCII character, "" for those that are hidden.
var asciiForms = func() (forms [unicode.MaxASCII + 1]string) {
	for c := range forms {
		forms[c] = reading{}.form(rune(c))
	}
	return forms
}()
