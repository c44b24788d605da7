package sidecar_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// replacement is what go.mod has in place of a module.
type replacement struct {
	Old, New struct{ Path, Version string }
}

// replacements are those of a go.mod.
func replacements(t *testing.T, path string) (all []replacement) {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", path).Output()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var mod struct{ Replace []replacement }
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	return mod.Replace
}

// Go heeds the replacements of the main module alone. So this one repeats those of the runtime,
// with which the runtime was tested.
func TestTheReplacementsAreDaprsOwn(t *testing.T) {
	theirs, err := exec.Command("go", "list", "-m", "-f", "{{.GoMod}}", "github.com/dapr/dapr").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := replacements(t, "go.mod")
	for _, r := range replacements(t, strings.TrimSpace(string(theirs))) {
		if i := slices.Index(ours, r); i < 0 {
			t.Errorf("there is no replacement of %s by %s %s", r.Old.Path, r.New.Path, r.New.Version)
		} else {
			ours = slices.Delete(ours, i, i+1)
		}
	}
	for _, r := range ours {
		t.Errorf("%s is replaced, and in the runtime it is not", r.Old.Path)
	}
}
