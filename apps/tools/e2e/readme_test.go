package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTheREADMEsCurlLinesWork runs them in their order against the test's own
// ports, each until it answers as the README says.
func TestTheREADMEsCurlLinesWork(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(built.checkout.Root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	// What the lines have to answer, in their order.
	expected := []string{
		"201 Created", `"status":"pending"`, `"status":"rejected"`, `"type":"CommentUpdated"`, "id: ", "201 Created",
	}
	shift := shared.App("posts").Port - 4000
	port := regexp.MustCompile(`localhost:(3000|400\d)`)
	setup := ""
	for line := range strings.Lines(string(raw)) {
		command, isCode := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		command = strings.TrimLeft(command, " ")
		if !isCode || !strings.HasPrefix(command, "curl ") && !strings.HasPrefix(command, "ID=$(curl ") {
			continue
		}
		if strings.Contains(command, "posts.com") { // those need a cluster; its flow test sends the same
			continue
		}
		command = port.ReplaceAllStringFunc(command, func(host string) string {
			n, err := strconv.Atoi(strings.TrimPrefix(host, "localhost:"))
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("localhost:%d", n+shift)
		})
		command = strings.ReplaceAll(command, "curl ", "curl --fail-with-body -sS ")
		if strings.Contains(command, " -N ") { // a stream has no end: curl's 28 is what ends it
			command = strings.ReplaceAll(command, " -N ", " -N --max-time 1 ") + " || test $? -eq 28"
		}
		if strings.HasPrefix(command, "ID=") {
			setup = command + "\n"
			continue
		}
		if len(expected) == 0 {
			t.Fatalf("what does the README say that %q answers?", command)
		}
		eventually(t, func() error {
			out, err := exec.Command("bash", "-euc", setup+command).CombinedOutput() //nolint:gosec // the README's
			if err == nil && !strings.Contains(string(out), expected[0]) {
				err = fmt.Errorf("no %s", expected[0])
			}
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", command, err, out)
			}
			return nil
		})
		expected = expected[1:]
	}
	if len(expected) > 0 {
		t.Errorf("the README has too few curl lines: none answers %q", expected)
	}
}
