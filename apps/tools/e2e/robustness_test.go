package e2e

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// caseOfFaults is what runs a part of the fault suite.
var caseOfFaults = regexp.MustCompile(`CASE='([^']+)'`)

func TestTheCasesThatAreCitedExist(t *testing.T) {
	page, err := os.ReadFile("ROBUSTNESS.md")
	if err != nil {
		t.Fatal(err)
	}
	cited := caseOfFaults.FindAllStringSubmatch(string(page), -1)
	if len(cited) < 4 {
		t.Errorf("only %d cases are cited", len(cited))
	}
	for _, m := range cited {
		pattern := regexp.MustCompile(m[1])
		if !slices.ContainsFunc(faults(), func(f fault) bool { return pattern.MatchString(f.name) }) {
			t.Errorf("no fault is named %s", m[1])
		}
	}
}
