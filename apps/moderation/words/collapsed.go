package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Collapsed returns s as a page shows it with the style white-space: normal (CSS Text,
// 4.1). White space becomes one space. White space with a line break becomes nothing
// beside a zero-width space, or between two wide characters that are not Hangul. Not all
// browsers do the latter.
func Collapsed(s string) string {
	var b strings.Builder
	for s != "" {
		to := strings.IndexAny(s, whiteSpace)
		if to < 0 {
			to = len(s)
		}
		b.WriteString(s[:to])
		rest := strings.TrimLeft(s[to:], whiteSpace)
		space := s[to : len(s)-len(rest)]
		if space != "" && (!strings.Contains(space, "\n") || !dropsLineBreak(b.String(), rest)) {
			b.WriteByte(' ')
		}
		s = rest
	}
	return b.String()
}

// Here a carriage return counts as white space, like a tab.
const whiteSpace = " \t\r\n"

// dropsLineBreak reports whether a line break between the two texts is shown as nothing.
func dropsLineBreak(before, after string) bool {
	before, after = strings.TrimRightFunc(before, directs), strings.TrimLeftFunc(after, directs)
	return strings.HasSuffix(before, "\u200b") || strings.HasPrefix(after, "\u200b") ||
		isWide(utf8.DecodeLastRuneInString(before)) && isWide(utf8.DecodeRuneInString(after))
}

func directs(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }

func isWide(r rune, _ int) bool {
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth, width.EastAsianHalfwidth:
		return !unicode.Is(unicode.Hangul, r)
	}
	return false
}
