package main

import (
	"slices"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/moderation/seen"
)

// rules are what no comment may contain. The one is that of the NodeJS example, which
// looks for "orange" anywhere: so also in "oranges", "orangery" and "vorangegangen".
var rules = policy{partOfAWord("orange")}

// policy is a list of rules; the first that finds something decides.
type policy []rule

// Decide returns the comment's status and, for a rejection, the reason. It compares what
// a reader sees of the content and of the author's name, and depends on nothing else.
func (p policy) Decide(c event.Comment) (event.Status, string) {
	// Pages show the content with its line breaks (white-space: pre-wrap), and names
	// mostly without.
	for _, text := range []string{c.Content, c.Author, seen.Collapsed(c.Author)} {
		shown := seen.Of(text)
		for _, r := range p {
			if r.finds(shown) {
				return event.Rejected, r.reason
			}
		}
	}
	return event.Approved, ""
}

// rule is a word or a phrase that is looked for.
type rule struct {
	reason         string
	written, shown []pattern
}

// partOfAWord finds the text wherever it is seen.
func partOfAWord(text string) rule {
	return newRule("contains “"+text+"”", text, func(form string) pattern { return pattern{form: form} })
}

// wholeWord finds a word, or words that follow each other, and not a part of another.
func wholeWord(text string) rule {
	return newRule("contains the word “"+text+"”", text, func(form string) pattern { return pattern{form: form, words: words(form)} })
}

func newRule(reason, text string, compile func(form string) pattern) rule {
	r := rule{reason: reason}
	forms := seen.Of(text)
	for _, form := range forms.Written {
		r.written = append(r.written, compile(form))
	}
	for _, form := range forms.Shown {
		r.shown = append(r.shown, compile(form))
	}
	return r
}

func (r rule) finds(text seen.Text) bool {
	return anyIn(r.written, text.Written) || anyIn(r.shown, text.Shown) ||
		slices.ContainsFunc(r.shown, func(p pattern) bool { return p.onALine(text) })
}

func anyIn(patterns []pattern, texts []string) bool {
	for _, text := range texts {
		for _, p := range patterns {
			if p.in(text) {
				return true
			}
		}
	}
	return false
}

// pattern is a form of what a rule looks for, and its words if they must be whole.
type pattern struct {
	form  string
	words []string
}

func (p pattern) in(text string) bool {
	if p.words == nil {
		return strings.Contains(text, p.form)
	}
	return strings.Contains(text, p.words[0]) && follow(words(text), p.words)
}

// onALine reports whether the pattern is in a line that a browser may make of the text.
func (p pattern) onALine(text seen.Text) bool {
	for line := range text.Lines(p.form, p.words != nil) {
		if p.in(line) {
			return true
		}
	}
	return false
}

// words cuts a text into its words, by UAX #29 and at all that is neither letter, mark
// nor digit: "orange's" and "orange_juice" have the word "orange".
func words(text string) []string {
	var all []string
	for state := -1; text != ""; {
		var word string
		word, text, state = uniseg.FirstWordInString(text, state)
		all = append(all, strings.FieldsFunc(word, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) })...)
	}
	return all
}

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
