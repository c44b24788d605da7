package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// readmes are the contents of the READMEs, by path from the checkout's root.
func readmes(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"README.md", "*/README.md", "apps/*/README.md", "apps/tools/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(built.checkout.Root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(built.checkout.Root, file)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.ToSlash(name)] = string(raw)
		}
	}
	if len(all) < 2 {
		t.Fatal("there are too few READMEs: ", len(all))
	}
	return all
}

// codeInLine is code in a line of text.
var codeInLine = regexp.MustCompile("`([^`\n]+)`")

// documented returns the code in a line of some README that begins with begin.
func documented(t *testing.T, begin string) string {
	t.Helper()
	for _, text := range readmes(t) {
		for _, m := range codeInLine.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], begin) {
				return m[1]
			}
		}
	}
	t.Fatalf("no README has code that begins with %s", begin)
	return ""
}

// curls are the curl commands of a README in order, changed for the test's system. Each
// is preceded by the last line that sets ID.
func curls(t *testing.T, text string) (all []string) {
	t.Helper()
	shift := shared.App("posts").Port - 4000 // each port of dapr.yaml is shifted by as much
	port := regexp.MustCompile(`localhost:(3000|400\d|35\d\d|38\d\d)\b`)
	setup := ""
	for line := range strings.Lines(text) {
		var found []string
		if code, isCode := strings.CutPrefix(strings.TrimRight(line, "\n"), "    "); isCode {
			found = append(found, strings.TrimLeft(code, " "))
		} else {
			for _, m := range codeInLine.FindAllStringSubmatch(line, -1) {
				found = append(found, m[1])
			}
		}
		for _, command := range found {
			// Commands for other hosts need a cluster. Its flow test sends the same
			// requests.
			isCurl := strings.HasPrefix(command, "curl ") || strings.HasPrefix(command, "ID=$(curl ")
			if !isCurl || !port.MatchString(command) {
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
			all = append(all, setup+command)
		}
	}
	return all
}

// answers runs a README's command until it succeeds and its output has the text.
func answers(t *testing.T, command, text string) {
	t.Helper()
	eventually(t, func() error {
		out, err := exec.Command("bash", "-euc", command).CombinedOutput() //nolint:gosec // the README's
		if err == nil && !strings.Contains(string(out), text) {
			err = fmt.Errorf("no %s", text)
		}
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", command, err, out)
		}
		return nil
	})
}

// TestTheREADMEsCurlLinesWork runs the commands of the top README in order, each until
// its answer is as documented.
func TestTheREADMEsCurlLinesWork(t *testing.T) {
	expected := []string{
		"201 Created", `"status":"pending"`, `"status":"rejected"`, `"type":"CommentUpdated"`, "id: ", "201 Created",
	}
	commands := curls(t, readmes(t)["README.md"])
	if len(commands) != len(expected) {
		t.Fatalf("the README has %d curl lines, and %d answers are expected: %q", len(commands), len(expected), commands)
	}
	for i, command := range commands {
		answers(t, command, expected[i])
	}
}

// TestTheOtherREADMEsCurlLinesWork runs the commands of each other README in order, each
// until it succeeds.
func TestTheOtherREADMEsCurlLinesWork(t *testing.T) {
	all := readmes(t)
	delete(all, "README.md")
	ran := []string{}
	for file, text := range all {
		for _, command := range curls(t, text) {
			// The shared system has app ids of its own, as it has ports of its own.
			command = strings.ReplaceAll(command, "/invoke/comments/", "/invoke/"+shared.App("comments").ID+"/")
			answers(t, command, "")
			ran = append(ran, file)
		}
	}
	if !slices.Contains(ran, "components/README.md") {
		t.Errorf("no curl line of components/README.md was run, but those of %q", ran)
	}
}

// TestTheREADMEsWayToTheGroupsWorks runs the command that shows how far each service is.
func TestTheREADMEsWayToTheGroupsWorks(t *testing.T) {
	needs(t, redisKind, "consumer groups are Redis's")
	if _, err := system.Install(t.Context(), "the commands of the READMEs", "redis-cli", "redis-tools"); err != nil {
		t.Fatal(err)
	}
	shared.createPost(t, "for a group")
	command := documented(t, "redis-cli xinfo groups ")
	host, port, _ := strings.Cut(shared.redis.Address(), ":")
	answers(t, strings.Replace(command, "redis-cli ", "redis-cli -h "+host+" -p "+port+" ", 1), shared.App("moderation").ID)
}
