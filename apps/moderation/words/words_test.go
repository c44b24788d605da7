package words

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"go.mau.fi/util/confusable"
)

func TestTheFormsOfAText(t *testing.T) {
	for text, want := range map[string]struct{ Written, Shown []string }{
		"":                         {[]string{""}, []string{""}},
		"A Plain\ttext\n":          {[]string{"a plain\ttext\n"}, []string{"a plain\ttext\n"}},
		"FAIL 10 m|":               {[]string{"fail lo rnl"}, []string{"fail lo rnl"}},
		"a\x00b\rc":                {[]string{"abc", "a b c"}, []string{"abc", "a b c"}},
		"a\u200bb\u00adc":          {[]string{"abc"}, []string{"abc"}},
		"a\u3164b":                 {[]string{"ab", "a b"}, []string{"ab", "a b"}},
		"a\u2800b\u00a0c":          {[]string{"a\u2800b c"}, []string{"a\u2800b c"}},
		"É":                        {[]string{"e"}, []string{"e"}},
		"Straße":                   {[]string{"straße", "strasse"}, []string{"straße", "strasse"}},
		"\u039d":                   {[]string{"n", "v"}, []string{"n", "v"}}, // "Ν", and "ν"
		"\u0406\u0399":             {[]string{"ii"}, []string{"ii"}},         // "ІΙ", Cyrillic and Greek
		"\u0141":                   {[]string{"l"}, []string{"l"}},
		"\u202eba":                 {[]string{"ba"}, []string{"ab"}},
		"x\u202eBA\u202c\nא1":      {[]string{"xba\nאl"}, []string{"xab\nlא"}},
		"\u200fange\u200for":       {[]string{"angeor"}, []string{"angeor", "orange"}}, // a page from right to left shows "orange"
		"or🍎ange":                  {[]string{"or🍎ange"}, []string{"or🍎ange"}},         // its prototype is newer than Go's tables
		"👨‍👩‍👧":                    {[]string{"👨👩👧"}, []string{"👨👩👧"}},
		"half of \xff a character": {[]string{"half of � a character"}, []string{"half of � a character"}},
	} {
		if got := Read(text); !slices.Equal(got.Written, want.Written) || !slices.Equal(got.Shown, want.Shown) {
			t.Errorf("%+q has the forms %+q and %+q, want %+q", text, got.Written, got.Shown, want)
		}
	}
}

// By every line of the published table, a look-alike of a Latin letter or a digit has
// that form.
func TestAllThatLooksLikeAsciiHasItsForm(t *testing.T) {
	lines := 0
	for r := range rune(unicode.MaxRune + 1) {
		prototype := confusable.GetReplacement(r)
		if prototype == "" {
			continue
		}
		lines++
		got := lookAlike(r) // also shows that it ends for each
		if strings.IndexFunc(prototype, func(r rune) bool { return r > unicode.MaxASCII }) >= 0 {
			continue
		}
		want := Read(prototype).Written[0]
		if prototype == "l" && unicode.IsUpper(r) {
			want = "i"
		}
		if got != want {
			t.Errorf("%U looks like %q, and its form is %q, not %q", r, prototype, got, want)
		}
	}
	if lines != 6565 {
		t.Errorf("%d mappings, not the 6565 of Unicode 17.0.0", lines)
	}
}

// ASCII has a faster path, which must agree.
func TestASCIIHasTheFormThatAnyTextHas(t *testing.T) {
	for r := rune(' '); r < unicode.MaxASCII; r++ {
		if got, want := Read("x"+string(r)).Written, Read("é"+string(r)).Written; got[0] != "x"+want[0][1:] {
			t.Errorf("%q: %q alone, and %q beside an é", r, got, want)
		}
	}
}
