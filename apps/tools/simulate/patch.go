package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A change is an exact text replacement in a source file.
type change struct {
	// file is relative to the checkout's apps folder, or to the src folder of Go.
	file string
	// old is in the file exactly once.
	old, new string
}

// overlay writes changed copies of source files into dir, and the JSON file that has
// `go test -overlay` build with them, whose name it returns. It fails if a text to replace
// is not there exactly once: the change has to be written anew.
func overlay(dir, root string, changes []change) (string, error) {
	replace := map[string]string{}
	for _, c := range changes {
		file := filepath.Join(root, c.file)
		current := file
		if copied, again := replace[file]; again {
			current = copied
		}
		text, err := os.ReadFile(current) //nolint:gosec // a source file
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), c.old); n != 1 {
			return "", fmt.Errorf("%s has %d times, and not once, the text\n%s", file, n, c.old)
		}
		copied := filepath.Join(dir, strings.ReplaceAll(c.file, "/", "+"))
		if err := os.WriteFile(copied, []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o600); err != nil {
			return "", err
		}
		replace[file] = copied
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}
