package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postbus/postbus/apps/tools/system"
)

// builder builds the test binary of package world with changes of the source.
type builder struct {
	apps, goroot, dir string
	built             int
}

func newBuilder(ctx context.Context, c system.Checkout) (*builder, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	dir, err := os.MkdirTemp("", "simulate-")
	if err != nil {
		return nil, err
	}
	return &builder{filepath.Join(c.Root, "apps"), filepath.Join(strings.TrimSpace(string(root)), "src"), dir, 0}, nil
}

func (b *builder) close() { _ = os.RemoveAll(b.dir) }

// sources are all changes, by absolute file.
func (b *builder) sources(m *mutation) (changes []change) {
	for _, c := range seededGo {
		c.file = filepath.Join(b.goroot, c.file)
		changes = append(changes, c)
	}
	own := smallSizes
	if m != nil {
		own = append(own[:len(own):len(own)], m.change)
	}
	for _, c := range own {
		c.file = filepath.Join(b.apps, c.file)
		changes = append(changes, c)
	}
	return changes
}

// build returns the binary, with a mistake if m is not nil.
func (b *builder) build(ctx context.Context, m *mutation) (string, error) {
	b.built++
	dir := filepath.Join(b.dir, fmt.Sprint(b.built))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	list, err := overlay(dir, b.sources(m))
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "world.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./simulate/world") //nolint:gosec // the arguments are ours
	cmd.Dir = filepath.Join(b.apps, "tools")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("building the simulation: %w\n%s", err, out), ctx.Err())
	}
	return binary, nil
}
