//go:build !k8s

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx := context.Background()
	go stopWhenInterrupted()
	dir, err := os.MkdirTemp("", "postbus-e2e-")
	if err == nil {
		err = build(ctx, filepath.Join(dir, "bin"))
	}
	if err == nil {
		shared, err = start(ctx, filepath.Join(dir, "shared"), built.binaries, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the system does not start:", err)
		return 1
	}
	defer func() {
		if err := shared.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the system does not stop:", err)
			code = 1
		}
		if code == 0 {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "logs are kept in", dir)
		}
	}()
	return m.Run()
}
