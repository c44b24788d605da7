package main

import (
	"strings"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"

	"github.com/postbus/postbus/apps/internal/event"
)

// forbidden is what no comment may have in it, already folded.
const forbidden = "orange"

// decide returns the comment's status and, for a rejection, the reason.
func decide(c event.Comment) (event.Status, string) {
	for _, text := range []string{c.Content, c.Author} {
		if strings.Contains(fold(text), forbidden) {
			return event.Rejected, "contains the word “" + forbidden + "”"
		}
	}
	return event.Approved, ""
}

// fold returns text in lower case and in its plainest form: compatibility decomposition
// (Unicode's NFKD, UAX #15) makes "ｏ" an "o" and "á" an "a" with a mark; marks and
// invisible characters then go. What only looks like a letter stays what it is, as
// Cyrillic "о" or the digit 0 do.
func fold(text string) string {
	t := transform.Chain(norm.NFKD, runes.Remove(runes.Predicate(func(r rune) bool {
		return unicode.In(r, unicode.M, unicode.C) && !unicode.IsSpace(r)
	})))
	folded, _, err := transform.String(t, text)
	if err != nil {
		folded = text // none of the three transformers fails on valid UTF-8
	}
	return strings.ToLower(folded)
}
