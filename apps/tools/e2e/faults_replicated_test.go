package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

const (
	// nodeAway is how long a node is away.
	nodeAway = 15 * time.Second
	// untilPromoted is the time in which an operator's tool notices that the primary is gone.
	untilPromoted = 3 * time.Second
)

// replicatedFaults break one of several servers of a kind, which take over from each other.
func replicatedFaults() []fault {
	var all []fault
	add := func(kind, name string, run func(t *testing.T, s *stack, l *load)) {
		f := fault{name: name, of: kind, replicated: true, on: replicated, within: repairedWithin, run: run}
		if why := mayHang[kind]; why != "" {
			f.within, f.hangs = hungWithin, why
		}
		all = append(all, f)
	}
	add("PostgreSQL", "PostgreSQL's primary killed (kill -9), and its standby promoted", func(t *testing.T, s *stack, _ *load) {
		pair, _ := serverOf[*system.PostgresPair](s)
		killDaemons(t, []*system.Daemon{&pair.Primary.Daemon})
		pause(t, untilPromoted)
		if err := pair.Promote(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	// Each commit waits for it. A wait that is cut off by a timeout leaves the commit on the primary
	// alone, so a standby that hung is not one to promote (components/README.md).
	add("PostgreSQL", fmt.Sprintf("SIGSTOP PostgreSQL's standby for %s", hang), func(t *testing.T, s *stack, _ *load) {
		pair, _ := serverOf[*system.PostgresPair](s)
		whileStopped(t, pair.Standby.SignalAll, func() { pause(t, hang) })
	})
	add("RabbitMQ", "one RabbitMQ node of three killed (kill -9)", func(t *testing.T, s *stack, _ *load) {
		cluster, _ := serverOf[*system.RabbitMQCluster](s)
		nodeKilled(t, cluster.Nodes[len(cluster.Nodes)-1])
	})
	add("RabbitMQ", "the leader of a quorum queue killed (kill -9)", func(t *testing.T, s *stack, _ *load) {
		cluster, _ := serverOf[*system.RabbitMQCluster](s)
		leader, err := cluster.Leader(t.Context(), s.queue("moderation", "CommentCreated"))
		if err != nil {
			t.Fatal(err)
		}
		nodeKilled(t, leader)
	})
	return all
}

// replicated starts a system on the engine's replicated form.
func replicated(t *testing.T) *stack {
	t.Helper()
	s, err := startOn(t.Context(), system.Derivation{Into: folderOf(t), Engine: engine, Replicated: true, Binaries: plain(t)})
	return s.ofTest(t, err)
}

// nodeKilled kills a node, and starts it again when the others have worked without it.
func nodeKilled(t *testing.T, node *system.RabbitMQ) {
	t.Helper()
	if err := node.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := node.AwaitEnd(); err != nil {
		t.Fatal(err)
	}
	pause(t, nodeAway)
	if err := node.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}
