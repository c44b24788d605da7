package documents

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/postbus/postbus/apps/tools/system"
)

// installed is a version of Dapr that a document has a reader install.
var installed = regexp.MustCompile(`--runtime-version (\S+)`)

func TestTheVersionsAreThoseThatArePinned(t *testing.T) {
	pinned, err := system.Checkout{Root: root}.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	work, err := modfile.ParseWork("go.work", []byte(read(t, "go.work")), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := documents(t)
	table := section(all["apps/tools/README.md"], "Versions")
	for what, version := range map[string]string{
		"Dapr runtime": pinned.Runtime, "components-contrib": pinned.Components, "Dapr CLI": pinned.CLI, "go-sdk": pinned.SDK, "Go": work.Go.Version, "NATS": pinned.NATS,
	} {
		if row := fmt.Sprintf("\n| %s | %s |", what, version); !strings.Contains(table, row) {
			t.Errorf("apps/tools/README.md, Versions, has no row that begins with %q", strings.TrimSpace(row))
		}
	}
	seen := 0
	for file, text := range all {
		for _, m := range installed.FindAllStringSubmatch(text, -1) {
			if seen++; m[1] != pinned.Runtime {
				t.Errorf("%s installs Dapr %s, and %s is pinned", file, m[1], pinned.Runtime)
			}
		}
	}
	if seen == 0 {
		t.Error("no document has a reader install Dapr's runtime")
	}
}

// section is the text below a heading of the second level.
func section(document, title string) string {
	_, text, _ := strings.Cut(document, "\n## "+title+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}
