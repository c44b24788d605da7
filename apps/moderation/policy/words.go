package policy

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/postbus/postbus/apps/internal/event"
	shown "github.com/postbus/postbus/apps/moderation/words"
)

// Bounds of the words.
const (
	maxWords     = 1_000
	maxWordChars = 100
)

// Match is how a text is looked for.
type Match string

// The two ways.
const (
	// Part finds the text also within a longer word.
	Part Match = "part"
	// Whole finds the word, or the words in sequence. A longer word does not match.
	Whole Match = "whole"
)

// WordRule is a word or a phrase, and what happens to comments that have it. What a reader
// sees of the content and of the author's name is compared, so look-alikes do not get around
// it.
type WordRule struct {
	Text   string `json:"text"`
	Match  Match  `json:"match"`
	Action Action `json:"action"`
}

func (w WordRule) validate(place string) error {
	switch chars := utf8.RuneCountInString(w.Text); {
	case strings.TrimSpace(w.Text) == "" || shownNothing(w.Text):
		return &event.FieldError{Field: place + ".text", Detail: "must not be empty"}
	case chars > maxWordChars:
		return &event.FieldError{Field: place + ".text", Detail: fmt.Sprintf("has %d characters; at most %d are allowed", chars, maxWordChars)}
	case w.Match != Part && w.Match != Whole:
		return &event.FieldError{Field: place + ".match", Detail: fmt.Sprintf("is %.40q; it is part or whole", w.Match)}
	}
	return validAction(place+".action", w.Action)
}

// shownNothing says that a reader sees nothing of the text: it would be in every comment.
func shownNothing(text string) bool {
	forms := shown.Read(text)
	longest := ""
	for _, form := range forms.Written {
		longest = cmp.Or(strings.TrimSpace(form), longest)
	}
	return longest == ""
}

// words is the phase. The first rule that matches decides.
type words []word

type word struct {
	pattern shown.Pattern
	verdict Verdict
}

func newWords(rules []WordRule) words {
	var all words
	for _, r := range rules {
		w := word{shown.Part(r.Text), Verdict{Action: r.Action, Reason: "contains “" + r.Text + "”"}}
		if r.Match == Whole {
			w = word{shown.Whole(r.Text), Verdict{Action: r.Action, Reason: "contains the word “" + r.Text + "”"}}
		}
		all = append(all, w)
	}
	return all
}

func (all words) decide(c *Case) Verdict {
	if len(all) == 0 {
		return Verdict{}
	}
	// Pages show the content with its line breaks (white-space: pre-wrap), and names
	// usually without.
	for _, s := range []string{c.Comment.Content, c.Comment.Author, shown.Collapsed(c.Comment.Author)} {
		text := shown.Read(s)
		for _, w := range all {
			if w.pattern.In(text) {
				return w.verdict
			}
		}
	}
	return Verdict{}
}
