package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/text/unicode/runenames"
)

func TestTheTableIsThatOfTheNames(t *testing.T) {
	kept, err := os.ReadFile("../../../moderation/words/latin_letters.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(kept), "Unicode "+runenames.UnicodeVersion+".") {
		t.Fatalf("the names are by now those of Unicode %s: run go generate in apps/moderation/words", runenames.UnicodeVersion)
	}
	made, err := table()
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != string(made) {
		t.Error("latin_letters.go is not what go run ./latin prints")
	}
}

func TestWhichNamesAreLetters(t *testing.T) {
	for r, want := range map[rune]string{
		'ᴀ': "a", 'ʀ': "r", 'ɴ': "n", '🅾': "o", '🅞': "o", '🇪': "e", '⒜': "a", '🄐': "a", 'ᶰ': "n", '𐞪': "r", 'ɠ': "g", '🆖': "ng", '🆊': "p",
		'é': "", 'ⓐ': "", 'ɐ': "", 'ʁ': "", '⊞': "", 'ŋ': "", 'ǆ': "", 'ǈ': "", '\u0363': "", '\U000e0061': "", 'я': "", '🆙': "",
	} {
		if got := letters(r); got != want {
			t.Errorf("%c (%s) is %q, want %q", r, runenames.Name(r), got, want)
		}
	}
}
