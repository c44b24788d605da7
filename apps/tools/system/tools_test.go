package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// runtime writes a program that prints its usage, or its arguments.
func runtime(t *testing.T, usage string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a user's own")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "daprd")
	text := "#!/bin/sh\nif [ \"$1\" = --help ]; then echo '" + usage + "'; else printf '<%s>' \"$@\"; fi\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestARuntimeIsKeptToLoopback(t *testing.T) {
	const internal, metrics = "--dapr-internal-grpc-listen-address", "--metrics-listen-address"
	tests := []struct{ name, usage, want string }{
		{"one of today", internal + " string, " + metrics + " string", "<--app-id><a b><" + internal + "=127.0.0.1><" + metrics + "=127.0.0.1>"},
		{"one that lacks a flag", metrics + " string", "<--app-id><a b><" + metrics + "=127.0.0.1>"},
		{"one that has none", "", "<--app-id><a b>"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := Checkout{Root: t.TempDir()}
			d, err := c.KeepToLoopback(t.Context(), Dapr{CLI: "dapr", Daprd: runtime(t, test.usage)})
			if err != nil {
				t.Fatal(err)
			}
			if d.CLI != "dapr" || d.Runtime != filepath.Join(c.Kept(), "own") {
				t.Errorf("the CLI is %q, its runtime in %q", d.CLI, d.Runtime)
			}
			got, err := exec.Command(filepath.Join(d.Runtime, ".dapr", "bin", "daprd"), "--app-id", "a b").CombinedOutput()
			if err != nil || string(got) != test.want {
				t.Errorf("it is started with %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestWhatTheCheckoutBuiltIsNotTheUsersOwnDapr(t *testing.T) {
	c, own := Checkout{Root: t.TempDir()}, t.TempDir()
	program := func(path string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{c.bin("dapr"), filepath.Join(own, "dapr"), filepath.Join(c.Kept(), ".dapr", "bin", "daprd"), filepath.Join(own, ".dapr", "bin", "daprd")} {
		program(path)
	}
	for _, test := range []struct {
		path, runtime string
		found         bool
	}{
		{own, own, true},
		{filepath.Join(c.Kept(), "bin"), own, false},
		{own, c.Kept(), false},
		{own, filepath.Join(c.Kept(), "own"), false},
		{own, c.Root, false}, // where there is none
	} {
		t.Setenv("PATH", test.path)
		t.Setenv("DAPR_RUNTIME_PATH", test.runtime)
		d, found := c.FindDapr()
		if found != test.found || found && d.Daprd != filepath.Join(own, ".dapr", "bin", "daprd") {
			t.Errorf("%+v: found %t, %+v", test, found, d)
		}
	}
}
