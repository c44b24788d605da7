package words

import (
	"strings"
	"unicode"

	"go.mau.fi/util/confusable"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

//go:generate sh -c "cd ../../tools/unicode && go run ./latin > ../../moderation/words/latin_letters.go"

// lookAlike returns one form for c and all characters that look like it, in lower case
// and without marks. Unicode publishes a prototype for each character that looks like
// others (UTS #39).
func lookAlike(c rune) string {
	prototype := prototypeOf(c)
	if prototype == "" {
		if unicode.ToLower(c) == c && unicode.ToUpper(c) == c {
			return string(c)
		}
		return settled(string(c))
	}
	form := settled(prototype)
	if form == "l" && unicode.IsUpper(c) && !strings.HasPrefix(prototype, "L") {
		return "i" // a capital that looks like "I", whose published prototype is "l"
	}
	return form
}

// settled replaces characters by their prototypes until nothing changes. It takes several
// steps where a small letter has a prototype and its capital has none.
func settled(s string) string {
	var b strings.Builder
	for _, c := range norm.NFKD.String(cases.Fold().String(s)) {
		prototype := prototypeOf(c)
		switch {
		case isHidden(c) || unicode.Is(unicode.M, c):
		case prototype != "" && prototype != s:
			b.WriteString(settled(prototype))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// prototypeOf returns the published prototype of c, or "". Capitals from A to Z have none
// here: "I" is the letter i, not l.
func prototypeOf(c rune) string {
	if 'A' <= c && c <= 'Z' {
		return ""
	}
	prototype := confusable.GetReplacement(c)
	if strings.IndexFunc(prototype, isUnassigned) >= 0 {
		return "" // newer than Go's tables, which would count it as hidden
	}
	return prototype
}

// inLatin returns the Latin letters that a reader sees in c. Unicode's prototypes lack
// small capitals, letters in frames and the halves of flags. latinLetters has those by
// their names. Where both have the character, the prototype counts.
func inLatin(c rune) string {
	letters := latinLetters[c]
	if letters == "" || strings.IndexFunc(settled(string(c)), notALetter) < 0 {
		return string(c)
	}
	return letters
}

func isUnassigned(c rune) bool { return unicode.Is(unicode.Cn, c) }

func notALetter(c rune) bool { return c > unicode.MaxASCII || !unicode.IsLetter(c) }
