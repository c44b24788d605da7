// Package text knows which characters are invisible, by Unicode's published properties.
package text

import (
	"strings"
	"unicode"
)

// Ignorable reports whether Unicode shows r as nothing where it has no meaning
// (Default_Ignorable_Code_Point). The Unicode Character Database derives that from
// properties that Go has (DerivedCoreProperties.txt).
func Ignorable(r rune) bool {
	switch {
	case !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Cf, unicode.Variation_Selector):
		return false
	case unicode.In(r, unicode.White_Space, unicode.Prepended_Concatenation_Mark):
		return false
	}
	return !unicode.Is(shownFormats, r)
}

// shownFormats are the format characters that the derivation excludes: interlinear
// annotation and Egyptian hieroglyph format controls.
var shownFormats = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0xfff9, Hi: 0xfffb, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x13430, Hi: 0x1343f, Stride: 1}},
}

// inkless are characters without ink, although no property says so: the blank Braille
// pattern, the object replacement character, blank hieroglyphs, the Khitan filler and the
// null notehead.
var inkless = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}, {Lo: 0xfffc, Hi: 0xfffc, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x13441, Hi: 0x13442, Stride: 1}, {Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, {Lo: 0x1d159, Hi: 0x1d159, Stride: 1}},
}

// IsBlank reports whether a reader sees nothing of s: it has only white space, control
// characters, and characters that Unicode says have no ink. Keep it in step with
// apps/client/web/src/write/limits.ts.
func IsBlank(s string) bool {
	return strings.IndexFunc(s, hasInk) < 0
}

func hasInk(r rune) bool {
	return !unicode.In(r, unicode.White_Space, unicode.Cc, shownFormats, inkless) && !Ignorable(r)
}
