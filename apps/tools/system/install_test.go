package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bare is a machine without tool. Its PATH has only fakes of these programs, which record
// their calls.
func bare(t *testing.T, programs ...string) (called func() string) {
	t.Helper()
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	scripts := map[string]string{
		// Installing creates the program.
		"apt-get": `[ "$1" = update ] || { printf '#!/bin/sh\n' > ` + dir + `/tool; /bin/chmod 700 ` + dir + `/tool; }`,
		"sudo":    `while [ "$1" = -n ]; do shift; done; [ "$1" = -v ] || exec "$@"`,
		// A sudo that asks for a password, which -n refuses.
		"asking-sudo":   `if [ "$1" = -n ]; then exit 1; fi; [ "$1" = -v ] || exec "$@"`,
		"refusing-sudo": `exit 1`,
		"true":          "",
		"env":           `while case "$1" in *=*) true;; *) false;; esac; do shift; done; exec "$@"`,
	}
	for _, program := range append(programs, "true", "env") {
		name := program[strings.LastIndex(program, "-sudo")+1:]
		if !strings.HasSuffix(program, "-sudo") {
			name = program
		}
		text := "#!/bin/sh\nPATH=" + dir + "\n"
		if name == "apt-get" || name == "sudo" {
			text += `echo ` + name + ` "$@" >> ` + notes + "\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+scripts[program]+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	t.Setenv("NO_INSTALL", "")
	return func() string {
		raw, _ := os.ReadFile(notes) // missing if nothing was called
		return string(raw)
	}
}

// said returns what f prints.
func said(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = stderr }()
	f()
	raw, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const (
	update  = "apt-get update -q\n"
	install = "apt-get install -qy --no-install-recommends tool libtool\n"
)

func TestAMissingCommandIsInstalled(t *testing.T) {
	tests := []struct {
		name     string
		who      installer
		programs []string
		sudo     string // the calls of sudo that only look or ask
		as       string // what goes before apt-get
	}{
		{"by root", installer{root: true}, []string{"apt-get", "sudo"}, "", ""},
		{"by sudo without a password", installer{}, []string{"apt-get", "sudo"}, "sudo -n true\n", "-n "},
		{"by sudo that asks on a terminal", installer{terminal: true}, []string{"apt-get", "asking-sudo"}, "sudo -n true\nsudo -v\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			called := bare(t, test.programs...)
			var path string
			var err error
			out := said(t, func() { path, err = test.who.install(t.Context(), "the tests", "tool", "tool", "libtool") })
			if err != nil || filepath.Base(path) != "tool" {
				t.Fatalf("%q, %v", path, err)
			}
			if first, _, _ := strings.Cut(out, "\n"); !strings.Contains(first, "tool is missing, which is needed for the tests: installing the packages tool libtool (NO_INSTALL=1 prevents that)") {
				t.Errorf("it begins with %q", first)
			}
			got := strings.ReplaceAll(called(), os.Getenv("PATH")+"/", "")
			want := update + install
			if !test.who.root {
				const env = "env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 "
				want = test.sudo + "sudo " + test.as + env + update + update + "sudo " + test.as + env + install + install
			}
			if got != want {
				t.Errorf("called:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestWhatCanNotBeInstalledIsSaidWithTheCommand(t *testing.T) {
	tests := []struct {
		name      string
		noInstall string
		who       installer
		programs  []string
		want      []string
	}{
		{"root does not want it", "1", installer{root: true}, []string{"apt-get"}, []string{"NO_INSTALL is set", "`apt-get install tool libtool`"}},
		{"a user does not want it", "1", installer{terminal: true}, []string{"apt-get", "sudo"}, []string{"NO_INSTALL is set", "`sudo apt-get install tool libtool`"}},
		{"no apt", "", installer{root: true}, nil, []string{"no apt-get", "install tool libtool as your system does that"}},
		{"no sudo", "", installer{terminal: true}, []string{"apt-get"}, []string{"you are not root", "`sudo apt-get install tool libtool`"}},
		{"no terminal", "", installer{}, []string{"apt-get", "asking-sudo"}, []string{"no terminal", "`sudo apt-get install tool libtool`"}},
		{"sudo refuses", "", installer{terminal: true}, []string{"apt-get", "refusing-sudo"}, []string{"sudo refuses", "`sudo apt-get install tool libtool`"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			called := bare(t, test.programs...)
			t.Setenv("NO_INSTALL", test.noInstall)
			var err error
			said(t, func() { _, err = test.who.install(t.Context(), "the tests", "tool", "tool", "libtool") })
			wantSaid(t, err, append(test.want, "tool is missing, which is needed for the tests", "start this again")...)
			for call := range strings.Lines(called()) {
				if strings.HasPrefix(call, "apt-get") || test.noInstall != "" {
					t.Errorf("it calls %s", call)
				}
			}
		})
	}
}

func TestAnInstalledCommandIsNotInstalledAgain(t *testing.T) {
	called := bare(t, "apt-get")
	t.Setenv("NO_INSTALL", "1")
	if path, err := Install(t.Context(), "the tests", "true", "coreutils"); err != nil || filepath.Base(path) != "true" || called() != "" {
		t.Errorf("%q, %v, calls %q", path, err, called())
	}
}
