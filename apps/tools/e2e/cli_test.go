package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// daprCLI runs the CLI and returns what it prints.
func daprCLI(t *testing.T, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.dapr.CLI, args...) //nolint:gosec // the pinned one
	cmd.Env = append(os.Environ(), "DAPR_RUNTIME_PATH="+built.dapr.Runtime)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dapr %v: %v\n%s", args, err, out)
	}
	return out
}

// TestARunWithATokenIsListedAndStopped runs the system as `make run` does, with a token
// for the app channels.
func TestARunWithATokenIsListedAndStopped(t *testing.T) {
	const token = "of-this-run-alone"
	s := another(t, nil, built.binaries, "APP_API_TOKEN="+token)
	for _, a := range s.Apps {
		app, sidecar := s.process(t, a.Port), s.process(t, a.HTTPPort)
		for what, p := range map[string]*system.Process{"app": app, "sidecar": sidecar} {
			if !slices.Contains(p.Env, "APP_API_TOKEN="+token) {
				t.Errorf("the %s of %s does not have the token", what, a.Name)
			}
			if strings.Contains(strings.Join(p.Args, " "), token) {
				t.Errorf("the %s of %s has the token on its command line", what, a.Name)
			}
		}
	}
	for _, a := range s.Services() {
		want(t, 401, "POST", fmt.Sprintf("http://127.0.0.1:%d/nothing", a.AppPort), `{}`)
		want(t, 404, "POST", fmt.Sprintf("http://127.0.0.1:%d/nothing", a.AppPort), `{}`, "dapr-api-token: "+token)
	}
	c := s.write(t, 1, 2)
	eventually(t, func() error { return c.shownAt(t, s, s.App("query").Port) })
	want(t, 200, "GET", s.url("client", "/posts"), "") // by invocation

	var listed []struct {
		AppID, RunTemplatePath string
		HTTPPort, GRPCPort     int
	}
	if err := json.Unmarshal(daprCLI(t, "list", "-o", "json"), &listed); err != nil {
		t.Fatal(err)
	}
	for _, a := range s.Apps {
		found := false
		for _, l := range listed {
			found = found || l.AppID == a.ID && l.RunTemplatePath == s.RunFile && l.HTTPPort == a.HTTPPort && l.GRPCPort == a.GRPCPort
		}
		if !found {
			t.Errorf("dapr list has no %s of %s: %+v", a.ID, s.RunFile, listed)
		}
	}
	daprCLI(t, "stop", "-f", s.RunFile)
	eventually(t, func() error {
		select {
		case <-s.Done():
			return nil
		default:
			return fmt.Errorf("dapr run goes on after dapr stop -f")
		}
	})
	eventually(t, func() error {
		return system.Free(s.Uses())
	})
}
