// Package policy defines what no comment may contain.
package policy

import (
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/moderation/words"
)

// Default is the policy of this blog. Like the NodeJS example it looks for "orange"
// anywhere, so it also rejects "oranges", "orangery" and "vorangegangen".
var Default = Policy{Part("orange")}

// Policy is a list of rules. The first rule that matches decides.
type Policy []Rule

// Rule is a pattern, and the reason that a rejected comment gets.
type Rule struct {
	reason  string
	pattern words.Pattern
}

// Part rejects comments with the text, also within a longer word.
func Part(text string) Rule {
	return Rule{"contains “" + text + "”", words.Part(text)}
}

// Word rejects comments with the word, or with the words in sequence. A longer word does
// not match.
func Word(text string) Rule {
	return Rule{"contains the word “" + text + "”", words.Whole(text)}
}

// Decide returns the comment's status and, for a rejection, the reason. It compares what
// a reader sees of the content and of the author's name, and depends on nothing else.
func (p Policy) Decide(c event.Comment) (event.Status, string) {
	// Pages show the content with its line breaks (white-space: pre-wrap), and names
	// usually without.
	for _, s := range []string{c.Content, c.Author, words.Collapsed(c.Author)} {
		text := words.Read(s)
		for _, rule := range p {
			if rule.pattern.In(text) {
				return event.Rejected, rule.reason
			}
		}
	}
	return event.Approved, ""
}
