package model

import (
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// maxExcerpt is how many code points an excerpt has at most, without its ellipsis. It is
// more than a list shows.
const maxExcerpt = 600

// excerpt returns the beginning of a text as one paragraph. It is cut between grapheme
// clusters (Unicode Standard Annex #29), and ends with an ellipsis then. A cluster that is
// longer than an excerpt is cut between code points.
func excerpt(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= maxExcerpt {
		return text
	}
	end, points := 0, 0
	for rest, state := text, -1; ; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if points += utf8.RuneCountInString(cluster); points > maxExcerpt {
			break
		}
		end += len(cluster)
	}
	if end == 0 {
		end = len(string([]rune(text)[:maxExcerpt]))
	}
	return strings.TrimRight(text[:end], " ") + "…"
}
