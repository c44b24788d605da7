package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// change is an exact replacement of a text in a source file.
type change struct {
	// file is relative to the checkout's apps folder, or to the src folder of Go.
	file string
	// old is in the file exactly once.
	old, new string
}

// overlay writes changed copies of source files into dir, and the JSON file that has
// `go test -overlay` build with them, whose name it returns. It fails if a text to replace
// is not there exactly once: then the change has to be written anew.
func overlay(dir string, changes []change) (string, error) {
	texts := map[string]string{}
	for _, c := range changes {
		text, isChanged := texts[c.file]
		if !isChanged {
			source, err := os.ReadFile(c.file)
			if err != nil {
				return "", err
			}
			text = string(source)
		}
		if n := strings.Count(text, c.old); n != 1 {
			return "", fmt.Errorf("%s has %d times, and not once, the text\n%s", c.file, n, c.old)
		}
		texts[c.file] = strings.Replace(text, c.old, c.new, 1)
	}
	replace := map[string]string{}
	for file, text := range texts {
		replace[file] = filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(file, "/"), "/", "+"))
		if err := os.WriteFile(replace[file], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}
