// Command latin prints ../latin.txt: the characters that Unicode's names call a Latin
// letter in another style, or several, and that neither NFKD nor case folding make
// plain. The names are those of golang.org/x/text/unicode/runenames, which would add
// 1 MB to the service and is only needed here.
//
//	go run ./latin > latin.txt
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"
)

func main() {
	if _, err := os.Stdout.WriteString(table()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Latin letters by the names of Unicode %s; made by apps/moderation/seen/latin.\n", runenames.UnicodeVersion)
	for r := rune(unicode.MaxASCII + 1); r <= unicode.MaxRune; r++ {
		if letters := letters(r); letters != "" {
			fmt.Fprintf(&b, "%04X;%s\n", r, letters)
		}
	}
	return b.String()
}

// A turned, reversed or half letter is not among them: upside down, an "n" reads as "u".
// Nor are combining letters and tags: marks and hidden characters are left out anyway.
var (
	oneLetter = regexp.MustCompile(`^(?:` +
		`LATIN (?:SMALL|CAPITAL) LETTER|LATIN LETTER SMALL CAPITAL|LATIN SUBSCRIPT SMALL LETTER|` +
		`MODIFIER LETTER (?:SMALL|CAPITAL|SMALL CAPITAL)|REGIONAL INDICATOR SYMBOL LETTER|` +
		`(?:PARENTHESIZED|TORTOISE SHELL BRACKETED|(?:CROSSED )?NEGATIVE (?:CIRCLED|SQUARED)) LATIN (?:SMALL|CAPITAL) LETTER` +
		`)(?: BARRED| BLACKLETTER| BROKEN| SCRIPT| STIRRUP)? ([A-Z])(?: WITH .*)?$`)
	withALetter = regexp.MustCompile(` WITH SMALL LETTER `)
	abbreviated = regexp.MustCompile(`^(?:NEGATIVE )?(?:CIRCLED|SQUARED) ([A-Z]{2,4})$`)
)

// letters are those that a reader sees in r, in lower case, or "" for none.
func letters(r rune) string {
	name := runenames.Name(r)
	found := oneLetter.FindStringSubmatch(name)
	if found == nil && inEnclosedSupplement(r) {
		found = abbreviated.FindStringSubmatch(name)
	}
	if found == nil || withALetter.MatchString(name) {
		return ""
	}
	letters := strings.ToLower(found[1])
	plain := strings.Map(withoutMarks, norm.NFKD.String(string(r)))
	if strings.EqualFold(plain, letters) {
		return ""
	}
	return letters
}

// inEnclosedSupplement keeps to the block of letters in frames: elsewhere such names say
// what a sign means, as SQUARED PLUS does.
func inEnclosedSupplement(r rune) bool { return r >= 0x1f100 && r <= 0x1f1ff }

func withoutMarks(r rune) rune {
	if unicode.Is(unicode.M, r) {
		return -1
	}
	return r
}
