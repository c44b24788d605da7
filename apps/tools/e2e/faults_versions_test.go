package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/tools/system"
)

// firstVersion is the commit of the version from which a system is rolled to this one, and
// to which it is rolled back.
const firstVersion = "3b4f435"

// versionFaults replace the services of one version by those of another, under load. The
// resources are this version's from the start: on Kubernetes they are applied first. The
// first version knows no engine but Redis.
func versionFaults() []fault {
	var first string
	return []fault{{
		name: "rolled from " + firstVersion + " to this version, back, and to this one again", within: repairedWithin, of: redisKind,
		on: func(t *testing.T) *stack {
			t.Helper()
			first = buildFirstVersion(t)
			s := another(t, nil, first)
			s.isModerated, s.isMixed = false, true // the first version knows nobody
			return s
		},
		run: func(t *testing.T, s *stack, _ *load) {
			for _, version := range []string{plain(t), first, plain(t)} {
				s.rollTo(t, version)
				pause(t, 5*time.Second) // of one version alone
			}
		},
	}}
}

// buildFirstVersion builds the services of that commit, which the history must have.
func buildFirstVersion(t *testing.T) (binaries string) {
	t.Helper()
	dir := t.TempDir()
	archive, source := filepath.Join(dir, "source.tar"), filepath.Join(dir, "source")
	git := exec.CommandContext(t.Context(), "git", "-C", built.checkout.Root, "archive", "--output", archive, firstVersion, "apps", "go.work", "go.work.sum")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("the git history has no commit %s, which this test builds (git fetch --unshallow gets it): %v\n%s", firstVersion, err, out)
	}
	if err := os.Mkdir(source, 0o750); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	binaries = filepath.Join(dir, "bin")
	// Its issuer, if it has one, is no part of what is rolled.
	if err := errors.Join((system.Checkout{Root: source}).Compile(t.Context(), binaries, system.Services),
		built.checkout.Compile(t.Context(), binaries, []string{system.Issuer})); err != nil {
		t.Fatal(err)
	}
	return binaries
}

// rollTo replaces each service by that of a folder of binaries. As on Kubernetes, the new
// one works before the old one ends, and query is first (../../../k8s/README.md).
func (s *stack) rollTo(t *testing.T, binaries string) {
	t.Helper()
	for _, name := range []string{"query", "eventlog", "posts", "comments", "moderation"} {
		a, program := s.App(name), filepath.Join(binaries, name)
		b, sidecar, app := s.shifted(t, name)
		app.Args[0] = program
		s.launch(t, sidecar)
		s.launch(t, app)
		awaitReady(t, b)
		pause(t, time.Second) // of both versions

		old := []*system.Process{s.process(t, a.HTTPPort), s.process(t, a.Port)}
		endInOrder(t, old[1], old[0])
		old[1].Args[0] = program
		for _, p := range old { // the new ones now
			s.launch(t, p)
		}
		awaitReady(t, a)
		endInOrder(t, app, sidecar)
	}
}

// withoutSecondDecisions removes the dead letters that differ from what the log has only in the
// version of the policy, which the first version does not write. Both versions keep one decision
// a comment, so they decide the same. Their events have one id, and the first in the log stands.
func (s *stack) withoutSecondDecisions(t *testing.T, letters []letter) []letter {
	t.Helper()
	logged := map[string]event.Comment{}
	for _, e := range events(t, s.App("eventlog")) {
		if e.Type == string(event.CommentModerated) || e.Type == string(event.CommentUpdated) {
			var c event.Comment
			if err := json.Unmarshal(e.Data, &c); err != nil {
				t.Fatal(err)
			}
			logged[e.ID] = c
		}
	}
	return slices.DeleteFunc(letters, func(l letter) bool {
		e, err := event.Parse(event.Type(l.Topic), l.Payload)
		if err != nil || e.Comment == nil {
			return false
		}
		first, isLogged := logged[e.ID]
		second := *e.Comment
		second.PolicyVersion = first.PolicyVersion
		return isLogged && e.Comment.PolicyVersion != first.PolicyVersion && !first.Contradicts(second)
	})
}

// endInOrder ends an app and then its sidecar (SIGTERM), as the kubelet ends a pod whose
// sidecar is a native one.
func endInOrder(t *testing.T, app, sidecar *system.Process) {
	t.Helper()
	for _, p := range []*system.Process{app, sidecar} {
		if err := errors.Join(p.Signal(syscall.SIGTERM), p.AwaitEnd(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}
