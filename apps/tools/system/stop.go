package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// StopHolders stops the processes that listen on the ports, if they belong to this
// checkout's Postbus. It leaves others alone, and returns how many it stopped.
func (c Checkout) StopHolders(ctx context.Context, ports []int) (int, error) {
	stopped := map[int]bool{}
	for _, port := range ports {
		pid, ok := Holder(port)
		if !ok || stopped[pid] || !c.owns(pid) {
			continue
		}
		// The CLI that started it would otherwise stay behind, without children.
		if group, err := syscall.Getpgid(pid); err == nil && group != pid && group != syscall.Getpgrp() && c.ownsCLI(group) {
			say("stopping process group %d", group)
			_ = syscall.Kill(-group, syscall.SIGINT)
		} else {
			say("stopping process %d", pid)
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		stopped[pid] = true
	}
	return len(stopped), Until(ctx, 30*time.Second, func() error {
		var left []error
		for pid := range stopped {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				left = append(left, fmt.Errorf("process %d is still there", pid))
			}
		}
		return errors.Join(left...)
	})
}

func (c Checkout) owns(pid int) bool { return checkoutOf(pid) == c.Root }

// ownsCLI reports whether a process is a Dapr CLI that runs this checkout, even if it is
// a bare `dapr run -f .`.
func (c Checkout) ownsCLI(pid int) bool {
	args, _ := Look(pid).CmdlineSlice()
	cwd, err := Look(pid).Cwd()
	return c.owns(pid) || err == nil && cwd == c.Root && len(args) > 0 && filepath.Base(args[0]) == "dapr" && slices.Contains(args, "run")
}
