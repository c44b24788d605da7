package documents

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the checkout's.
const root = "../../.."

// maxLines bounds the top README.
const maxLines = 150

// firstLines is the number of lines in which a folder's README says what the folder is,
// how to read it and how to change it.
const firstLines = 10

// read returns a file of the checkout, by its path from the root.
func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// walk calls visit for each file of ours below dir, with its path from the root.
func walk(t *testing.T, dir string, visit func(file string)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "node_modules" || name == ".git" || name == ".postbus" || name == ".dapr" {
				return fs.SkipDir
			}
			return nil
		}
		file, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(file))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// documents are all Markdown files of the checkout, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	walk(t, ".", func(file string) {
		if filepath.Ext(file) == ".md" {
			all[file] = read(t, file)
		}
	})
	if len(all) < 2 {
		t.Fatal("there are too few documents: ", len(all))
	}
	return all
}

// folders are the READMEs that describe a folder.
var folders = []string{
	"apps/client", "apps/comments", "apps/eventlog", "apps/internal", "apps/moderation", "apps/posts", "apps/query",
	"apps/tools", "apps/tools/bench", "apps/tools/e2e", "apps/tools/simulate", "components", "k8s",
}

func TestEachFoldersREADMESaysHowToReadAndChangeIt(t *testing.T) {
	for _, folder := range folders {
		raw, err := os.ReadFile(filepath.Join(root, folder, "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.SplitN(string(raw), "\n", firstLines+1)
		head := strings.ToLower(strings.Join(lines[:min(len(lines), firstLines)], "\n"))
		for _, word := range []string{"read", "change"} {
			if !strings.Contains(head, word) {
				t.Errorf("the first %d lines of %s/README.md do not say how to %s it", firstLines, folder, word)
			}
		}
	}
}

func TestTheTopREADMEIsShort(t *testing.T) {
	if n := strings.Count(read(t, "README.md"), "\n"); n > maxLines {
		t.Errorf("README.md has %d lines; it may have %d", n, maxLines)
	}
}

var (
	// link is a Markdown link or image, or an image in HTML.
	link = regexp.MustCompile(`\]\(([^()\s]+)\)|src="([^"]+)"`)
	// heading is a heading, which a link can name.
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	// notInAnchors are the characters that GitHub drops from a heading's anchor.
	notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the anchors of a document's headings, as GitHub makes them.
func anchors(document string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(document, -1) {
		text := notInAnchors.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := documents(t)
	for file, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(m[1] + m[2])
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if target.Scheme != "" {
				continue // not of this checkout
			}
			linked := file
			if target.Path != "" {
				linked = filepath.ToSlash(filepath.Join(filepath.Dir(file), target.Path))
			}
			if _, err := os.Stat(filepath.Join(root, linked)); err != nil {
				t.Errorf("%s links to %s, which is not there", file, target)
				continue
			}
			if target.Fragment != "" && !slices.Contains(anchors(all[linked]), target.Fragment) {
				t.Errorf("%s links to %s, and %s has no such heading", file, target, linked)
			}
		}
	}
}

// counted is a row of the reading order: its place, a path, and the lines of Go without
// tests below it.
var counted = regexp.MustCompile(`(?m)^\| \d+ \| \[[^\]]*\]\(([^)]+)\)(?:, \[[^\]]*\]\(([^)]+)\))* \| ([\d,]+) \|`)

// paths are the links of a row before its count.
var paths = regexp.MustCompile(`\]\(([^)]+)\)`)

func TestTheLineCountsAreRight(t *testing.T) {
	rows := counted.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(rows) < 5 {
		t.Fatalf("README.md's reading order has %d rows with a count", len(rows))
	}
	for _, row := range rows {
		said, err := strconv.Atoi(strings.ReplaceAll(row[3], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for _, path := range paths.FindAllStringSubmatch(row[0], -1) {
			lines += goLines(t, path[1])
		}
		if off := max(said-lines, lines-said); off*10 > lines {
			t.Errorf("README.md says %d lines: %s has %d", said, row[0], lines)
		}
	}
}

// forTests are the packages that only tests import.
var forTests = []string{"statetest", "eventlogtest", "querytest", "journaltest"}

// generated begins a file that a program has written (go help generate).
const generated = "// Code generated "

// goLines counts the lines of Go in a file or folder, without tests, what only tests
// import, and generated files.
func goLines(t *testing.T, path string) (lines int) {
	t.Helper()
	walk(t, path, func(file string) {
		ofTests := strings.HasSuffix(file, "_test.go") || slices.Contains(forTests, filepath.Base(filepath.Dir(file)))
		if filepath.Ext(file) != ".go" || ofTests {
			return
		}
		if text := read(t, file); !strings.HasPrefix(text, generated) {
			lines += strings.Count(text, "\n")
		}
	})
	return lines
}

var (
	testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]+)`")
	// testNames are those that make prove runs.
	testNames = regexp.MustCompile(`TEST='([^']+)'`)
	testFunc  = regexp.MustCompile(`(?m)^func (Test[A-Z]\w+)\(`)
)

func TestTheTestsThatAreCitedExist(t *testing.T) {
	exist := map[string]bool{}
	walk(t, "apps", func(file string) {
		if strings.HasSuffix(file, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(read(t, file), -1) {
				exist[m[1]] = true
			}
		}
	})
	for file, text := range documents(t) {
		cited := append(testName.FindAllStringSubmatch(text, -1), testNames.FindAllStringSubmatch(text, -1)...)
		for _, m := range cited {
			for name := range strings.FieldsSeq(m[1]) {
				if !exist[name] {
					t.Errorf("%s cites %s, which is not there", file, name)
				}
			}
		}
	}
}

var (
	// codeLine is a line of an indented block, codeSpan is one between backquotes.
	codeLine = regexp.MustCompile(`(?m)^(?:  )?    (\S.*)$`)
	codeSpan = regexp.MustCompile("`([^`\n]+)`")

	makeTarget = regexp.MustCompile(`(?:^|&& |; )(?:\w+=\S+ )*make ([a-z0-9-]+)`)
	goRun      = regexp.MustCompile(`(?:cd (\S+) && )?(?:\w+=\S+ )*go run (\./\S+)`)
	only       = regexp.MustCompile(`apps/tools/check -only ([a-z0-9,]+)`)
	script     = regexp.MustCompile(`(?:^|[\s;])(k8s/(?:secrets|redis-users|backup|restore|[a-z-]+))(?:\s|$)`)
	ofACommand = regexp.MustCompile(`(?:apply -k|dev -f|run -f) (k8s/\S+)`)
)

// commands are the lines of code in a document.
func commands(document string) (all []string) {
	for _, m := range codeLine.FindAllStringSubmatch(document, -1) {
		all = append(all, m[1])
	}
	for _, m := range codeSpan.FindAllStringSubmatch(document, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestTheCommandsExist does not run commands. The end-to-end tests run those that call
// the API. This test checks that the targets, files and flags of the others exist.
func TestTheCommandsExist(t *testing.T) {
	makefile, checks := read(t, "Makefile"), read(t, "apps/tools/check/main.go")
	seen := 0
	for file, text := range documents(t) {
		for _, command := range commands(text) {
			missing := func(what string) { t.Errorf("%s: %q: there is no %s", file, command, what) }
			exists := func(path string) {
				seen++
				if _, err := os.Stat(filepath.Join(root, path)); err != nil {
					missing(path)
				}
			}
			for _, m := range makeTarget.FindAllStringSubmatch(command, -1) {
				if seen++; !strings.Contains(makefile, "\n"+m[1]+":") {
					missing("target " + m[1])
				}
			}
			for _, m := range goRun.FindAllStringSubmatch(command, -1) {
				exists(filepath.Join(m[1], m[2]))
			}
			for _, m := range only.FindAllStringSubmatch(command, -1) {
				for part := range strings.SplitSeq(m[1], ",") {
					if seen++; !strings.Contains(checks, fmt.Sprintf("{name: %q, ", part)) {
						missing("part " + part)
					}
				}
			}
			for _, m := range append(script.FindAllStringSubmatch(command, -1), ofACommand.FindAllStringSubmatch(command, -1)...) {
				exists(m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were looked at", seen)
	}
}

// TestMissingThingsAreNoticed shows that the patterns find what they are for.
func TestMissingThingsAreNoticed(t *testing.T) {
	const document = "# Some `words`, here\n\n    make fuzz FUZZTIME=1h\n    cd apps/tools/k8s && GOWORK=off go run ./images -push\n" +
		"`k8s/backup postbus.rdb`, `make nothing`, [a link](../a/b.md#some-words-here), `TestNothing`\n" +
		"`make prove TEST='TestNone TestNoOther'`\n" +
		"| 1 | [a](apps/a), [b](apps/b) | 1,234 | x |\n"
	var found bytes.Buffer
	for _, command := range commands(document) {
		for _, p := range []*regexp.Regexp{makeTarget, goRun, script} {
			for _, m := range p.FindAllStringSubmatch(command, -1) {
				fmt.Fprintf(&found, "%s\n", strings.Join(m[1:], " "))
			}
		}
	}
	for _, want := range []string{"fuzz\n", "apps/tools/k8s ./images\n", "k8s/backup\n", "nothing\n"} {
		if !strings.Contains(found.String(), want) {
			t.Errorf("no %q in %q", want, found.String())
		}
	}
	if got := anchors(document); !slices.Equal(got, []string{"some-words-here"}) {
		t.Errorf("the anchors are %q", got)
	}
	if m := link.FindStringSubmatch(document); m == nil || m[1] != "../a/b.md#some-words-here" {
		t.Errorf("the link is %q", m)
	}
	if m := testName.FindStringSubmatch(document); m == nil || m[1] != "TestNothing" {
		t.Errorf("the test is %q", m)
	}
	if m := testNames.FindStringSubmatch(document); m == nil || m[1] != "TestNone TestNoOther" {
		t.Errorf("the tests are %q", m)
	}
	if m := counted.FindStringSubmatch(document); m == nil || m[3] != "1,234" || len(paths.FindAllString(m[0], -1)) != 2 {
		t.Errorf("the row is %q", m)
	}
}
