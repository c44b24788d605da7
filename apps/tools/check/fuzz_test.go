package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// someModule is a module with a target that fails soon, one that does not fail, and a
// test.
func someModule(t *testing.T) string {
	t.Helper()
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/some\n\ngo 1.26\n",
		"deep/some_test.go": `package deep

import "testing"

func FuzzFails(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1 {
			t.Fatal("too long")
		}
	})
}

func FuzzHolds(f *testing.F) {
	f.Fuzz(func(*testing.T, string) {})
}

func TestNothing(*testing.T) {}
`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestATargetThatFailsNamesItsInput(t *testing.T) {
	module := someModule(t)
	found, err := targets(t.Context(), module, []string{"./..."})
	if err != nil || len(found) != 2 || found[0].name != "FuzzFails" || found[1].name != "FuzzHolds" || found[0].pkg != "example.com/some/deep" {
		t.Fatalf("%+v, %v", found, err)
	}
	if said, err := found[1].run(t.Context(), time.Second); err != nil || !strings.HasPrefix(said, "execs: ") {
		t.Errorf("%q, %v", said, err)
	}
	_, err = found[0].run(t.Context(), 30*time.Second)
	if err == nil {
		t.Fatal("a target that fails is none")
	}
	inputs, globErr := filepath.Glob(filepath.Join(module, "deep", "testdata", "fuzz", "FuzzFails", "*"))
	if globErr != nil || len(inputs) != 1 || !strings.Contains(err.Error(), "the input that fails is "+inputs[0]) || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v; the inputs are %v, %v", err, inputs, globErr)
	}
}

// These are outputs of Go.
func TestOnlyTheEndOfTheTimeIsNoFailure(t *testing.T) {
	const over = "fuzz: elapsed: 20s, execs: 40304 (0/sec), new interesting: 1 (total: 2)\n--- FAIL: FuzzParse (20.20s)\n    context deadline exceeded\nFAIL\nexit status 1\nFAIL\texample.com/some\t20.2s\n"
	for out, want := range map[string]bool{
		over: true,
		strings.Replace(over, "    context", "    --- FAIL: FuzzParse (0.00s)\n        some_test.go:9: context", 1):             false,
		strings.Replace(over, "exceeded\n", "exceeded\n    \n    Failing input written to testdata/fuzz/FuzzParse/0f\n", 1):     false,
		strings.Replace(over, "context deadline exceeded", "fuzzing process hung or terminated unexpectedly: exit status 2", 1): false,
	} {
		if timeIsOver.MatchString(out) != want {
			t.Errorf("%t for:\n%s", !want, out)
		}
	}
}
