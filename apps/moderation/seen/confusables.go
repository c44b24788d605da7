package seen

import (
	_ "embed" // for the published mappings
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// published has Unicode's confusables (UTS #39). Its header says of which version, and
// apps/moderation/seen/confusables how it is made.
//
//go:embed confusables.txt
var published string

// prototypes maps a character to what the published file says it looks like. Latin
// letters are themselves in either case: "I" is not "l".
var prototypes = func() map[rune]string {
	prototypes := map[rune]string{}
	for line := range strings.Lines(published) {
		source, target, ok := strings.Cut(strings.TrimSpace(line), ";")
		if !ok || line[0] == '#' {
			continue
		}
		prototype := ""
		for _, hex := range strings.Fields(target) {
			prototype += string(codePoint(hex))
		}
		if r := codePoint(source); r > unicode.MaxASCII || !unicode.IsUpper(r) {
			prototypes[r] = prototype
		}
	}
	return prototypes
}()

// looksLike maps a character to what it looks like, in lower case. It has all characters
// that are not in lower case or look like others.
var looksLike = func() map[rune]string {
	like := make(map[rune]string, len(prototypes))
	for r, prototype := range prototypes {
		like[r] = settled(prototype, prototypes)
		if unicode.IsUpper(r) && like[r] == "l" && !strings.HasPrefix(prototype, "L") {
			like[r] = "i" // "I" has the prototype "l", and a capital like that is read as "I"
		}
	}
	for _, cased := range unicode.CaseRanges {
		for r := rune(cased.Lo); r <= rune(cased.Hi); r++ {
			if _, ok := like[r]; !ok {
				like[r] = settled(string(r), prototypes)
			}
		}
	}
	return like
}()

// settled folds s until nothing in it looks like something else: a small letter may do so
// where its capital doesn't.
func settled(s string, prototypes map[rune]string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(cases.Fold().String(s)) {
		next, ok := prototypes[r]
		switch {
		case isHidden(r) || unicode.Is(unicode.M, r):
		case ok && next != s:
			b.WriteString(settled(next, prototypes))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// codePoint is the character that the published file names.
func codePoint(hex string) rune {
	r, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || r > unicode.MaxRune {
		panic("confusables.txt: " + hex + " is no code point") // the tests read all of it
	}
	return rune(r)
}
