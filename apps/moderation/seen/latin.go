package seen

import (
	_ "embed" // for the letters by their names
	"strings"
	"unicode"
)

// named has Latin letters that Unicode's confusables do not have as such: small capitals,
// those in frames, flags' halves. apps/moderation/seen/latin says how it is made.
//
//go:embed latin.txt
var named string

// latin maps a character to the letters that a reader sees in it, unless its form
// already has nothing but letters: of two published opinions, the confusables' stands.
var latin = func() map[rune]string {
	letters := map[rune]string{}
	for line := range strings.Lines(named) {
		source, target, ok := strings.Cut(strings.TrimSpace(line), ";")
		if !ok || line[0] == '#' {
			continue
		}
		r := codePoint(source)
		if form := settled(string(r), prototypes); strings.IndexFunc(form, notALetter) >= 0 {
			letters[r] = target
		}
	}
	return letters
}()

func notALetter(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) }

// inLatin puts the letters in place of what they are seen in. It comes before NFKD, which
// makes three characters of a letter in parentheses.
func inLatin(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return latin[r] != "" }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if letters, ok := latin[r]; ok {
			b.WriteString(letters)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
