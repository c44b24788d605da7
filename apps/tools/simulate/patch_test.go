package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// The texts that the simulation replaces, in Go and in the services, are all there.
func TestEveryChangeFits(t *testing.T) {
	checkout, err := system.FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(t.Context(), checkout)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if len(mutations) != 9 {
		t.Errorf("%d mutations", len(mutations))
	}
	for _, m := range mutations {
		if _, err := overlay(t.TempDir(), b.sources(&m)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

func TestAChangeThatDoesNotFitIsAnError(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.go")
	if err := os.WriteFile(file, []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]string{"three": "0 times", "two": "2 times"} {
		if _, err := overlay(dir, []change{{file, old, "x"}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", old, err)
		}
	}
	list, err := overlay(dir, []change{{file, "one", "1"}, {file, "1 two", "1 2"}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	copied := strings.Split(string(raw), `"`)
	text, err := os.ReadFile(copied[len(copied)-2])
	if err != nil || string(text) != "1 2 two" {
		t.Errorf("%q, %v", text, err)
	}
}
