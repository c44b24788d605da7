package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Checkout is the root of a checkout, with its tools.
type Checkout struct {
	// Root is the folder of go.work.
	Root string
}

// FindCheckout looks for go.work, from the working directory upward.
func FindCheckout() (Checkout, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Checkout{}, err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return Checkout{dir}, nil
		}
		if dir == filepath.Dir(dir) {
			return Checkout{}, errors.New("no go.work here or above: run this inside the checkout")
		}
	}
}

// Kept is the git-ignored folder of everything that is built, downloaded or stored.
func (c Checkout) Kept() string { return filepath.Join(c.Root, kept) }

const kept = ".postbus"

func (c Checkout) bin(name string) string { return filepath.Join(c.Kept(), "bin", name) }

// Dapr is a Dapr CLI with its runtime.
type Dapr struct {
	// CLI is the path of the dapr command.
	CLI string
	// Runtime is the value of DAPR_RUNTIME_PATH, or empty for the user's own
	// installation.
	Runtime string
	// Daprd is the path of the runtime.
	Daprd string
}

// FindDapr returns the user's own Dapr, if it is installed and initialised. The Dapr that
// this checkout has built does not count, even if PATH and DAPR_RUNTIME_PATH lead to it.
func (c Checkout) FindDapr() (Dapr, bool) {
	cli, err := exec.LookPath("dapr")
	if err != nil || cli == c.bin("dapr") {
		return Dapr{}, false
	}
	base := os.Getenv("DAPR_RUNTIME_PATH")
	if base == "" {
		if base, err = os.UserHomeDir(); err != nil {
			return Dapr{}, false
		}
	}
	if inside, err := filepath.Rel(c.Kept(), base); err == nil && filepath.IsLocal(inside) {
		return Dapr{}, false
	}
	daprd := filepath.Join(base, ".dapr", "bin", "daprd")
	if _, err := os.Stat(daprd); err != nil { //nolint:gosec // where the user says that it is
		return Dapr{}, false
	}
	return Dapr{CLI: cli, Daprd: daprd}, true
}

// BuildDapr returns the pinned Dapr. It builds it from its Go modules if necessary.
func (c Checkout) BuildDapr(ctx context.Context) (Dapr, error) {
	d := Dapr{CLI: c.bin("dapr"), Runtime: c.Kept(), Daprd: c.bin("daprd")}
	pinned, err := c.Pinned()
	if err != nil {
		return d, err
	}
	if err := c.buildRuntime(ctx, pinned, d.Daprd); err != nil {
		return d, err
	}
	if err := c.build(ctx, "building the Dapr CLI "+pinned.CLI+" from its Go module (some minutes, once)", d.CLI, cliModule,
		"github.com/dapr/cli", "-ldflags", "-s -w -X main.version="+pinned.CLI); err != nil {
		return d, err
	}
	return c.KeepToLoopback(ctx, d)
}

// BuildNATS returns the path of the pinned nats-server. It builds it if necessary.
func (c Checkout) BuildNATS(ctx context.Context) (string, error) {
	out := c.bin("nats-server")
	pinned, err := c.Pinned()
	if err != nil {
		return out, err
	}
	return out, c.build(ctx, "building NATS "+pinned.NATS+" from its Go module", out, natsModule, natsServer, "-ldflags", "-s -w")
}

// BuildRuntimeWithEtcd returns the path of the pinned runtime with one more component, state.etcd.
// It builds it if necessary. It is for a test: no engine has that store.
func (c Checkout) BuildRuntimeWithEtcd(ctx context.Context) (string, error) {
	out := c.bin("daprd-etcd")
	pinned, err := c.Pinned()
	if err != nil {
		return out, err
	}
	return out, c.buildRuntime(ctx, pinned, out, "-tags", "state_etcd")
}

func (c Checkout) buildRuntime(ctx context.Context, pinned Pinned, out string, flags ...string) error {
	// Dapr's own Makefile sets the same: the output of daprd --version, and "ver" in its
	// log.
	stamp := fmt.Sprintf("-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=%s -X github.com/dapr/kit/logger.DaprVersion=%[1]s", pinned.Runtime)
	what := fmt.Sprintf("building the Dapr runtime %s from its Go module as %s (some minutes, once)", pinned.Runtime, filepath.Base(out))
	return c.build(ctx, what, out, runtimeModule, "./daprd", append(flags, "-ldflags", stamp)...)
}

// loopbackFlags keep those listeners of a sidecar on this machine that have no setting in
// dapr.yaml.
var loopbackFlags = []string{"--dapr-internal-grpc-listen-address", "--metrics-listen-address"}

// KeepToLoopback returns the same Dapr with a runtime whose internal gRPC port and
// metrics listen on loopback. Without mTLS any machine that reaches the internal port may
// call every route of an app, deliveries too. The runtime has flags for it
// (dapr/dapr#7675), and the CLI has none (no issue found), so it starts a script in place
// of the runtime. The script is in a folder for each runtime, because a test may run
// beside a system with another one. It leaves out a flag that the runtime does not have.
// It can go when the CLI passes the flags on.
func (c Checkout) KeepToLoopback(ctx context.Context, d Dapr) (Dapr, error) {
	usage, _ := exec.CommandContext(ctx, d.Daprd, "--help").CombinedOutput() //nolint:gosec // the runtime that is to be run
	var flags strings.Builder
	for _, flag := range loopbackFlags {
		if strings.Contains(string(usage), flag) {
			fmt.Fprintf(&flags, " %s=127.0.0.1", flag)
			continue
		}
		say("%s has no %s: other machines reach what it is for", d.Daprd, flag)
	}
	d.Runtime = c.Kept()
	if d.Daprd != c.bin("daprd") {
		d.Runtime = filepath.Join(c.Kept(), "own")
	}
	script := filepath.Join(d.Runtime, ".dapr", "bin", "daprd")
	if err := os.MkdirAll(filepath.Dir(script), 0o750); err != nil {
		return d, err
	}
	quoted := "'" + strings.ReplaceAll(d.Daprd, "'", `'\''`) + "'"
	text := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"%s\n", quoted, flags.String())
	fresh := script + ".new"                                         // because the old file may be running
	if err := os.WriteFile(fresh, []byte(text), 0o700); err != nil { //nolint:gosec // a program
		return d, err
	}
	return d, os.Rename(fresh, script)
}

// BuildLinter returns the path of the pinned golangci-lint. It builds it if necessary.
func (c Checkout) BuildLinter(ctx context.Context) (string, error) {
	out := c.bin("golangci-lint")
	return out, c.build(ctx, "building golangci-lint from its Go module (some minutes, once)", out, ".ci/lint",
		"github.com/golangci/golangci-lint/v2/cmd/golangci-lint", "-ldflags", "-s -w")
}

// BuildGotestsum returns the path of the pinned gotestsum. It builds it if necessary.
func (c Checkout) BuildGotestsum(ctx context.Context) (string, error) {
	out := c.bin("gotestsum")
	return out, c.build(ctx, "building gotestsum from its Go module", out, "apps/tools", "gotest.tools/gotestsum", "-ldflags", "-s -w")
}

// build builds a package of a module, unless the binary is newer than both.
func (c Checkout) build(ctx context.Context, what, out, module, pkg string, flags ...string) error {
	changed, err := lastChange(filepath.Join(c.Root, module), pkg)
	if err != nil {
		return err
	}
	if built, err := os.Stat(out); err == nil && built.ModTime().After(changed) {
		return nil
	}
	fresh := out + ".new" // so that an interrupted build leaves no binary
	args := append(append([]string{"build", "-trimpath", "-o", fresh}, flags...), pkg)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are ours
	cmd.Dir = filepath.Join(c.Root, module)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if err := step(ctx, what, cmd); err != nil {
		return err
	}
	return os.Rename(fresh, out)
}

// lastChange is the time of the last change of a module's go.mod or a file of its
// package. A package of another module changes with go.mod.
func lastChange(module, pkg string) (time.Time, error) {
	files, err := filepath.Glob(filepath.Join(module, pkg, "*.go"))
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, file := range append(files, filepath.Join(module, "go.mod")) {
		info, err := os.Stat(file)
		if err != nil {
			return time.Time{}, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// Services are the services' names, in the order in which they start.
var Services = []string{"eventlog", "posts", "moderation", "query", "comments", "client"}

// Issuer is the name of the development issuer, which runs beside the services on this machine.
const Issuer = "issuer"

// BuildServices builds the services and the issuer into a folder, with flags. Before that it
// builds the web client, which one of them embeds.
func (c Checkout) BuildServices(ctx context.Context, into string, flags ...string) error {
	if err := c.BuildWeb(ctx); err != nil {
		return err
	}
	return c.CompileServices(ctx, into, flags...)
}

// CompileServices is BuildServices with the web client of the last build, if there is
// one.
func (c Checkout) CompileServices(ctx context.Context, into string, flags ...string) error {
	return c.Compile(ctx, into, append(slices.Clone(Services), Issuer), flags...)
}

// Compile builds some of the apps into a folder, with flags.
func (c Checkout) Compile(ctx context.Context, into string, names []string, flags ...string) error {
	args := append([]string{"build"}, flags...)
	args = append(args, "-o", into+string(filepath.Separator))
	for _, name := range names {
		args = append(args, "./apps/"+name)
	}
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are ours
	cmd.Dir = c.Root
	return step(ctx, "building the services", cmd)
}
