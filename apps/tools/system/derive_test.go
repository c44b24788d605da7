package system

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// environments are the variables of each app of a run file, and its commands.
func environments(t *testing.T, runFile string) (env map[string]Document, commands map[string]string) {
	t.Helper()
	docs, err := ReadYAML(runFile)
	if err != nil {
		t.Fatal(err)
	}
	env, commands = map[string]Document{}, map[string]string{}
	apps, _ := docs[0]["apps"].([]any)
	for _, a := range apps {
		app, _ := a.(Document)
		name := filepath.Base(fmt.Sprint(app["appDirPath"]))
		env[name], _ = app["env"].(Document)
		commands[name] = fmt.Sprint(app["command"])
	}
	return env, commands
}

func TestADerivedSystemSignsPeopleInAtItsOwnIssuer(t *testing.T) {
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	runFile, err := c.Derive(Derivation{Into: dir, Binaries: filepath.Join(dir, "bin"), Suffix: "-t", Shift: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	env, _ := environments(t, runFile)
	for _, name := range append(slices.Clone(Services), Issuer) {
		var want any
		if name == Issuer || slices.Contains(signedInAt, name) {
			want = "http://localhost:14006"
		}
		if got := env[name]["ISSUER"]; got != want {
			t.Errorf("%s's ISSUER is %v, want %v", name, got, want)
		}
	}
	if got := env["client"]["PUBLIC_URL"]; got != "http://127.0.0.1:13000" {
		t.Errorf("the client's PUBLIC_URL is %v", got)
	}
	s, err := Load(Dapr{}, runFile)
	if err != nil {
		t.Fatal(err)
	}
	if a := s.App(Issuer); a.Port != 14006 || a.AppPort != 0 || a.HTTPPort != 13507 || len(s.Services()) != len(s.Apps)-1 {
		t.Errorf("the issuer is %+v", a)
	}
}

// A user's own issuer goes before the development issuer, which never has another URL and listens
// on this machine alone.
func TestTheCommittedSystemSignsPeopleInAtTheIssuerOfTheEnvironment(t *testing.T) {
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	// That of a Redis at another address, too.
	derived, err := c.Derive(Derivation{Into: t.TempDir(), Redis: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, runFile := range []string{RedisEngine.RunFile(c.Root), derived} {
		env, commands := environments(t, runFile)
		url := fmt.Sprintf("http://localhost:%d", issuerPort)
		if own := env[Issuer]; own["ISSUER"] != url || own["HOST"] != "127.0.0.1" || own["PORT"] != fmt.Sprint(issuerPort) {
			t.Errorf("the issuer has %v", own)
		}
		for _, name := range Services {
			has := strings.Contains(commands[name], "export ISSUER=${ISSUER-"+url+"};")
			if knows := slices.Contains(signedInAt, name); has != knows || env[name]["ISSUER"] != nil {
				t.Errorf("%s has %v and %s", name, env[name], commands[name])
			}
		}
	}
}
