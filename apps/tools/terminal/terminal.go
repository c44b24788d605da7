// Package terminal makes text that a tool did not write itself fit to be printed.
package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Line is text as one line that a terminal only shows: everything in it that Go does
// not count as printable (strconv.IsPrint) is escaped as in a Go string. Those are
// the control characters, with which text could move the cursor, set the title or
// answer in the user's name; line breaks and tabs, with which it could pretend to be
// another line or column; what changes the order or the width of its neighbours; and
// bytes that are no UTF-8. A backslash stays as it is.
func Line(text string) string { return escape(text, "") }

// Lines is Line for text of several lines: line breaks and tabs stay.
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
