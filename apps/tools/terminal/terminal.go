// Package terminal makes text of others safe to print.
package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Line is text as one line that can only appear on a terminal. It escapes, as in a Go
// string, everything that Go does not count as printable (strconv.IsPrint): control
// characters, which could move the cursor, set the title or answer for the user; line
// breaks and tabs, which could imitate another line or column; characters that change the
// order or width of their neighbours; and bytes that are not UTF-8. A backslash stays.
func Line(text string) string { return escape(text, "") }

// Lines is Line for text of several lines. It keeps line breaks and tabs.
func Lines(text string) string { return escape(text, "\n\t") }

func escape(text, keep string) string {
	var out strings.Builder
	out.Grow(len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			_, _ = fmt.Fprintf(&out, `\x%02x`, text[0])
		case strconv.IsPrint(r) || strings.ContainsRune(keep, r):
			_, _ = out.WriteString(text[:size])
		default:
			quoted := strconv.QuoteRune(r)
			_, _ = out.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return out.String()
}
