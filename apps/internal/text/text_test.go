package text

import (
	"strings"
	"testing"
	"unicode"
)

// published is Default_Ignorable_Code_Point of Unicode 15.0.0, from
// DerivedCoreProperties.txt.
var published = [][2]rune{
	{0x00ad, 0x00ad}, {0x034f, 0x034f}, {0x061c, 0x061c}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f},
	{0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff},
	{0xffa0, 0xffa0}, {0xfff0, 0xfff8}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
}

func TestIgnorableIsThePublishedProperty(t *testing.T) {
	want := map[rune]bool{}
	for _, r := range published {
		for c := r[0]; c <= r[1]; c++ {
			want[c] = true
		}
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if got := Ignorable(r); got != want[r] {
			t.Errorf("%U: %v, want %v", r, got, want[r])
		}
	}
}

func TestTextThatShowsNothingIsBlank(t *testing.T) {
	for name, s := range map[string]string{
		"nothing": "", "spaces": " \t\n\r\u00a0\u3000\u2028", "a zero-width space": "\u200b", "a soft hyphen": "\u00ad",
		"a blank Braille pattern": "\u2800", "a Hangul filler": "\u3164", "its narrow form": "\uffa0", "a byte order mark": "\ufeff",
		"controls": "\x00\x07\x1b\u0085\x7f", "direction marks": "\u200e\u202e\u2066\u2069", "joiners": "\u200d\u200c\u2060",
		"variation selectors": "\ufe0f\U000e0100", "tags": "\U000e0067\U000e007f", "an unassigned ignorable": "\u2065\U000e0fff",
		"annotations": "\ufff9\ufffa\ufffb", "an object replacement": "\ufffc", "a null notehead": "\U0001d159",
		"blank hieroglyphs": "\U00013441\U00013442", "their joiner": "\U00013430", "a Khitan filler": "\U00016fe4",
		"a Mongolian vowel separator": "\u180e", "all together": " \u200b\u2800\x01\u3164 ",
	} {
		if !IsBlank(s) {
			t.Errorf("%s (%+q) is seen", name, s)
		}
	}
}

func TestTextWithInkIsNotBlank(t *testing.T) {
	for name, s := range map[string]string{
		"a letter": "x", "a letter among blanks": "\u200b x\u2800", "a full stop": ".", "a family": "👨‍👩‍👧‍👦", "a flag": "🇳🇱", "a flag of tags": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
		"an emoji with a selector": "❤️", "Hebrew": "שלום", "Arabic with a joiner": "می\u200cخواهم", "an Arabic number sign": "\u0600", "a combining mark": "\u0301",
		"a replacement character": "\ufffd", "a private character": "\ue000", "a dotted Braille pattern": "\u2801", "Hangul with a filler": "\u1160ᆫ", "a hieroglyph": "𓀀",
	} {
		if IsBlank(s) {
			t.Errorf("%s (%+q) is blank", name, s)
		}
	}
}

func BenchmarkIsBlank(b *testing.B) {
	blank := strings.Repeat("\u200b", 10_000)
	for b.Loop() {
		if !IsBlank(blank) {
			b.Fatal("is seen")
		}
	}
}
