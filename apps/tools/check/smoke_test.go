package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A test that was renamed would not run any more.
func TestEverySmokeTestIsThere(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "e2e", "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // ours
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	names := strings.Split(strings.Trim(smoke, "^()$"), "|")
	if len(names) < 5 {
		t.Errorf("the names are %q", names)
	}
	for _, name := range names {
		if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("there is no test %s", name)
		}
	}
}
