package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTheRuntimeIsConfiguredAsDaprsOwn compares what main.go and Dapr's own command pass
// to the runtime. So it notices a new version's options.
func TestTheRuntimeIsConfiguredAsDaprsOwn(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/dapr/dapr/cmd/daprd/app").Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs := literals(t, filepath.Join(strings.TrimSpace(string(dir)), "app.go"))
	ours := literals(t, "main.go")
	for _, name := range []string{"security.Options", "runtime.Config", "metrics.Options"} {
		if len(theirs[name]) == 0 {
			t.Errorf("Dapr's own command has no %s", name)
		}
		for _, field := range slices.Sorted(maps.Keys(theirs[name])) {
			if ours[name][field] != theirs[name][field] {
				t.Errorf("%s: %s is %q, not %q", name, field, ours[name][field], theirs[name][field])
			}
		}
	}
}

// elsewhere are the values that main.go makes outside the literal.
var elsewhere = []string{"Metrics", "Meter", "Registry"}

// literals are the fields of the struct literals in a file, as source text, by type.
func literals(t *testing.T, path string) map[string]map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := func(n ast.Node) string {
		var b bytes.Buffer
		if err := printer.Fprint(&b, fset, n); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	found := map[string]map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || literal.Type == nil {
			return true
		}
		fields := map[string]string{}
		for _, e := range literal.Elts {
			field, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			name := text(field.Key)
			if fields[name] = text(field.Value); slices.Contains(elsewhere, name) {
				fields[name] = "made elsewhere"
			}
		}
		found[text(literal.Type)] = fields
		return true
	})
	return found
}
