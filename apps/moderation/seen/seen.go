// Package seen finds out what a reader sees of a text in a browser, so that texts which
// look alike compare as equal.
package seen

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/postbus/postbus/apps/internal/text"
)

// Text is what is seen of a text, in the forms that compare: in lower case, of compatible
// characters the plain one (NFKD, UAX #15), of those that look alike always the same
// (UTS #39), without marks and without what is not shown. There are several forms where
// fonts or letters' cases differ in what they show; two texts may look alike if they
// have a form in common.
type Text struct {
	// Written has the forms in the order in which the characters are stored.
	Written []string
	// Shown has those in the order in which they stand on a left-to-right page (UAX #9)
	// that is wide enough for each paragraph to stand on one line. Lines has the others.
	Shown []string

	rows []row
}

// Of returns the forms of s. It depends on nothing else.
func Of(s string) Text {
	written := forms(s)
	if strings.IndexFunc(s, reorders) < 0 {
		return Text{Written: written, Shown: written}
	}
	paragraphs := inOrder([]rune(s))
	return Text{written, forms(string(visual(paragraphs))), rows(s, paragraphs)}
}

func forms(s string) []string {
	if plain, ok := foldASCII(s); ok {
		return []string{plain}
	}
	var all []string
	for _, way := range waysOf(s) {
		if form := way.of(s); !slices.Contains(all, form) {
			all = append(all, form)
		}
	}
	return all
}

// way is one of those to read a text. Each reads it character by character.
type way struct {
	// small is set to compare letters whose capitals look like others as small letters,
	// and not by their looks. A Greek word is the same in capitals.
	small bool
	// space stands for what is hidden and may take room all the same.
	space string
}

// waysOf returns those that may make a difference to s.
func waysOf(s string) []way {
	ways := []way{{}, {small: true}}
	if strings.IndexFunc(s, mayTakeRoom) >= 0 {
		ways = append(ways, way{space: " "}, way{true, " "})
	}
	return ways
}

func (w way) of(s string) string {
	s = norm.NFKD.String(inLatin(s))
	if w.small {
		s = norm.NFKD.String(cases.Fold().String(s))
	}
	return fold(s, w.space)
}

// fold returns the form of a decomposed text, with space for what is hidden and may
// take room all the same.
func fold(s, space string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case isHidden(r):
			if mayTakeRoom(r) {
				b.WriteString(space)
			}
		case unicode.Is(unicode.M, r):
		default:
			if like, ok := looksLike[r]; ok {
				b.WriteString(like)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// isHidden reports whether r is not shown, or by some browsers as a box. Tab and line
// feed separate words.
func isHidden(r rune) bool {
	return text.Ignorable(r) || r == '\ufffc' || unicode.Is(unicode.C, r) && r != '\t' && r != '\n'
}

// mayTakeRoom reports whether r is hidden and some browser or font shows a gap or a box
// for it: for controls, private characters and the ignorable letters (Hangul fillers).
func mayTakeRoom(r rune) bool {
	return isHidden(r) && (!text.Ignorable(r) || unicode.Is(unicode.L, r))
}

// foldASCII is fold for text of nothing but printable ASCII, tabs and line feeds; ok is
// false for any other. Most texts are like that.
func foldASCII(s string) (folded string, ok bool) {
	b := make([]byte, 0, len(s)+len(s)/8)
	for i := range len(s) {
		if s[i] > unicode.MaxASCII || asciiFolded[s[i]] == "" {
			return "", false
		}
		b = append(b, asciiFolded[s[i]]...)
	}
	return string(b), true
}

// asciiFolded is what fold makes of each ASCII character: nothing of a hidden one.
var asciiFolded = func() (folded [unicode.MaxASCII + 1]string) {
	for i := range folded {
		folded[i] = fold(string(rune(i)), "")
	}
	return folded
}()
