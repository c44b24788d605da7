package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"
)

// Install returns the path of a command that is needed for something. If the command is
// missing, it installs packages with apt. It says which and why before it begins, and asks
// for a password only where there is a terminal. If NO_INSTALL is set, or nothing can be
// installed, the error names what the user has to run.
func Install(ctx context.Context, neededFor, command string, packages ...string) (string, error) {
	who := installer{root: os.Geteuid() == 0, terminal: term.IsTerminal(int(os.Stdin.Fd()))}
	return who.install(ctx, neededFor, command, packages...)
}

// InstallEtcd returns the path of an etcd for a test. It installs one if necessary.
func InstallEtcd(ctx context.Context) (string, error) {
	return Install(ctx, "the test of a store that is refused", "etcd", "etcd-server")
}

// installer installs packages.
type installer struct {
	root bool
	// terminal means that sudo can ask for a password.
	terminal bool
}

func (i installer) install(ctx context.Context, neededFor, command string, packages ...string) (string, error) {
	if path, err := exec.LookPath(command); err == nil {
		return path, nil
	}
	names := strings.Join(packages, " ")
	missing := fmt.Sprintf("%s is missing, which is needed for %s", command, neededFor)
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return "", fmt.Errorf("%s, and there is no apt-get to install it with: install %s as your system does that, and start this again", missing, names)
	}
	byHand := "apt-get install " + names
	if !i.root {
		byHand = "sudo " + byHand
	}
	if os.Getenv("NO_INSTALL") != "" {
		return "", fmt.Errorf("%s, and NO_INSTALL is set: run `%s`, and start this again", missing, byHand)
	}
	say("%s: installing the packages %s (NO_INSTALL=1 prevents that)", missing, names)
	prefix, err := i.asRoot(ctx)
	if err != nil {
		return "", fmt.Errorf("%s, and %w: run `%s`, and start this again", missing, err, byHand)
	}
	// The package's own service is not started: Postbus runs its own.
	prefix = append(prefix, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", apt)
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-qy", "--no-install-recommends"}, packages...)} {
		argv := append(append([]string{}, prefix...), args...)
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the arguments are ours
		if err := step(ctx, "apt-get "+strings.Join(args, " "), cmd); err != nil {
			return "", fmt.Errorf("%s, and can't be installed: %w", missing, err)
		}
	}
	return exec.LookPath(command)
}

// asRoot returns the prefix with which root runs a command: nothing, or sudo. If sudo
// needs a password, asRoot lets it ask first.
func (i installer) asRoot(ctx context.Context) ([]string, error) {
	if i.root {
		return nil, nil
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return nil, errors.New("you are not root")
	}
	if exec.CommandContext(ctx, sudo, "-n", "true").Run() == nil { //nolint:gosec // found on PATH
		return []string{sudo, "-n"}, nil
	}
	if !i.terminal {
		return nil, errors.New("sudo asks for a password, for which there is no terminal")
	}
	ask := exec.CommandContext(ctx, sudo, "-v") //nolint:gosec // found on PATH
	ask.Stdin, ask.Stdout, ask.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := ask.Run(); err != nil {
		return nil, fmt.Errorf("sudo refuses: %w", err)
	}
	return []string{sudo}, nil
}
