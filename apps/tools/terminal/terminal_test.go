package terminal

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextIsShownAndDoesNothing(t *testing.T) {
	for name, test := range map[string]struct{ text, line, lines string }{
		"nothing":              {"", "", ""},
		"what can be shown":    {`Grüße, 世界 🍊 "so" \n`, `Grüße, 世界 🍊 "so" \n`, `Grüße, 世界 🍊 "so" \n`},
		"an escape sequence":   {"a\x1b[31mb", `a\x1b[31mb`, `a\x1b[31mb`},
		"one of a single rune": {"a\u009b31mb", `a\u009b31mb`, `a\u009b31mb`},
		"the character BEL":    {"\a", `\a`, `\a`},
		"a backspace":          {"ok\b\bno", `ok\b\bno`, `ok\b\bno`},
		"a carriage return":    {"ok\rno", `ok\rno`, `ok\rno`},
		"a deletion":           {"\x7f\x00", `\x7f\x00`, `\x7f\x00`},
		"lines and columns":    {"a\tb\nc\vd\fe", `a\tb\nc\vd\fe`, "a\tb\nc" + `\vd\fe`},
		"other line ends":      {"a\u0085b\u2028c\u2029d", `a\u0085b\u2028c\u2029d`, `a\u0085b\u2028c\u2029d`},
		"another order":        {"a\u202eb\u2066c", `a\u202eb\u2066c`, `a\u202eb\u2066c`},
		"what has no width":    {"a\u200bb\u00adc\ufeffd", `a\u200bb\u00adc\ufeffd`, `a\u200bb\u00adc\ufeffd`},
		"other spaces":         {"a\u00a0b\u3000c", `a\u00a0b\u3000c`, `a\u00a0b\u3000c`},
		"far away":             {"\U000e0001", `\U000e0001`, `\U000e0001`},
		"bytes":                {"a\xffb\x9b31m\xc3", `a\xffb\x9b31m\xc3`, `a\xffb\x9b31m\xc3`},
		"a replacement":        {"a\ufffdb", "a\ufffdb", "a\ufffdb"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Line(test.text); got != test.line {
				t.Errorf("Line: %q, want %q", got, test.line)
			}
			if got := Lines(test.text); got != test.lines {
				t.Errorf("Lines: %q, want %q", got, test.lines)
			}
		})
	}
}

func FuzzTextIsShownAndDoesNothing(f *testing.F) {
	f.Add("a\x1b[31mb\u009b\xff\n\t")
	f.Fuzz(func(t *testing.T, text string) {
		for _, shown := range []string{Line(text), strings.NewReplacer("\n", "", "\t", "").Replace(Lines(text))} {
			if !utf8.ValidString(shown) {
				t.Errorf("%q: not UTF-8: %q", text, shown)
			}
			if shown != Line(shown) {
				t.Errorf("%q: not only shown: %q", text, shown)
			}
			for _, r := range shown {
				if r < ' ' || r >= 0x7f && r < 0xa0 {
					t.Errorf("%q: a control character: %q", text, shown)
				}
			}
		}
	})
}
