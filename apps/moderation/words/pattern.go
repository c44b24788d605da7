package words

import (
	"slices"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// Pattern is a word, a phrase or a part of a word to search for.
type Pattern struct {
	text  Text
	whole bool // words, and not parts of longer ones
}

// Part returns the pattern that finds s anywhere, also within a longer word.
func Part(s string) Pattern { return Pattern{text: Read(s)} }

// Whole returns the pattern that finds s as a word, or as words in sequence, but not
// within a longer word.
func Whole(s string) Pattern { return Pattern{text: Read(s), whole: true} }

// In reports whether some reader sees the pattern in the text. A text that makes the
// search too long counts as having every pattern. Nobody writes such a text by chance.
func (p Pattern) In(t Text) bool {
	return p.inAny(p.text.Written, t.Written) || p.inAny(p.text.Shown, t.Shown) ||
		slices.ContainsFunc(t.rows, p.onALine)
}

func (p Pattern) inAny(forms, texts []string) bool {
	for _, form := range forms {
		if slices.ContainsFunc(texts, func(text string) bool { return p.finds(form, text) }) {
			return true
		}
	}
	return false
}

// finds reports whether a form of the pattern is in a form of a text.
func (p Pattern) finds(form, text string) bool {
	var words []string
	if p.whole {
		words = split(form)
	}
	if len(words) == 0 { // as of "🍊"
		return strings.Contains(text, form)
	}
	return strings.Contains(text, words[0]) && follow(split(text), words)
}

// onALine reports whether the pattern is on a line that a browser may make of the row.
func (p Pattern) onALine(r row) bool {
	return slices.ContainsFunc(p.text.Shown, func(form string) bool {
		s := &search{row: r, form: form}
		return s.anyLine(func(first, last int) bool {
			return !p.whole || p.finds(form, s.text(s.wholeWords(first, last)))
		})
	})
}

// split cuts a text into words, by UAX #29 and at every character that is neither letter,
// mark nor digit. "orange's" and "orange_juice" have the word "orange".
func split(text string) []string {
	var all []string
	for state := -1; text != ""; {
		var word string
		word, text, state = uniseg.FirstWordInString(text, state)
		all = append(all, strings.FieldsFunc(word, func(r rune) bool { return !isOfWord(r) })...)
	}
	return all
}

func isOfWord(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N) }

// follow reports whether the words are among all, one after the other.
func follow(all, words []string) bool {
	for len(all) >= len(words) {
		if slices.Equal(all[:len(words)], words) {
			return true
		}
		all = all[1:]
	}
	return false
}
