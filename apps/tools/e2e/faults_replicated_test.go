package e2e

import (
	"errors"
	"fmt"
	"slices"
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
	// untilPromotedByItself bounds the time until Sentinels have agreed on another master. They
	// notice the death after 3 s, and try again after 20.
	untilPromotedByItself = 90 * time.Second
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
		nodeKilled(t, &cluster.Nodes[len(cluster.Nodes)-1].Daemon)
	})
	add("RabbitMQ", "the leader of a quorum queue killed (kill -9)", func(t *testing.T, s *stack, _ *load) {
		cluster, _ := serverOf[*system.RabbitMQCluster](s)
		leader, err := cluster.Leader(t.Context(), s.queue("moderation", "CommentCreated"))
		if err != nil {
			t.Fatal(err)
		}
		nodeKilled(t, &leader.Daemon)
	})
	return all
}

// nodeFaults break some nodes of a server that always has several.
func nodeFaults() []fault {
	var all []fault
	add := func(kind, name string, run func(t *testing.T, s *stack, l *load)) {
		all = append(all, fault{name: name, of: kind, on: alone, within: repairedWithin, run: run})
	}
	add("NATS", "one NATS server of three killed (kill -9)", func(t *testing.T, s *stack, _ *load) {
		nodeKilled(t, s.daemonsOf("NATS")[2])
	})
	add("NATS", "the leader of a stream killed (kill -9)", func(t *testing.T, s *stack, _ *load) {
		cluster, _ := serverOf[*system.NATSCluster](s)
		leader, err := cluster.Leader(t.Context(), "CommentCreated")
		if err != nil {
			t.Fatal(err)
		}
		nodeKilled(t, leader)
	})
	add("NATS", fmt.Sprintf("two NATS servers of three killed (kill -9), and back after %s", nodeAway), func(t *testing.T, s *stack, l *load) {
		two := s.daemonsOf("NATS")[:2]
		kill := func() error { killDaemons(t, two); return nil }
		withoutTheBus(t, l, nodeAway, kill, func() error { startDaemons(t, two); return nil })
	})
	add(redisHAKind, "Redis's master killed (kill -9), and a replica promoted", func(t *testing.T, s *stack, _ *load) {
		group, _ := serverOf[*system.RedisGroup](s)
		master := masterOf(t, group)
		killDaemons(t, []*system.Daemon{master})
		promoted(t, group, master)
		startDaemons(t, []*system.Daemon{master})
		eventually(t, group.Whole)
	})
	add(redisHAKind, "Redis's master lost with the 3 s that no replica has", func(t *testing.T, s *stack, _ *load) {
		s.loseWhatNoReplicaHas(t) // eventlog gives back at once what readers were shown
	})
	// Then the log's end comes back from the journals of those who had published it. Until then the
	// log is shorter.
	add(redisHAKind, "Redis's master lost with the 3 s that no replica has, and eventlog killed", func(t *testing.T, s *stack, l *load) {
		l.whileTheLogLosesItsEnd(func() { s.loseWhatNoReplicaHas(t, s.App("eventlog").Port, s.App("eventlog").HTTPPort) })
	})
	return all
}

// loseWhatNoReplicaHas has a Redis lose what it has acknowledged: its replicas get nothing for 3 s,
// and then all die, with the processes on some ports. One of the replicas becomes the master, and
// the old one its replica.
func (s *stack) loseWhatNoReplicaHas(t *testing.T, ports ...int) {
	t.Helper()
	group, _ := serverOf[*system.RedisGroup](s)
	master := masterOf(t, group)
	replicas := slices.DeleteFunc(slices.Clone(group.Nodes()), func(node *system.Daemon) bool { return node == master })
	if err := signalAll(replicas, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pause(t, 3*time.Second) // after 5 s the master would refuse writes (min-replicas-max-lag)
	killDaemons(t, group.Nodes())
	killed := s.killAll(t, ports...)
	startDaemons(t, replicas)
	promoted(t, group, master)
	startDaemons(t, []*system.Daemon{master})
	s.restart(t, killed)
	eventually(t, group.Whole)
	// If the log's end was not lost, this fault was none. What nobody had found in the log yet is
	// published again, and not given back.
	eventually(t, func() error {
		repaired := 0
		for _, counts := range s.repairs() {
			repaired += counts["given-back"] + counts["published-again"]
		}
		if repaired == 0 {
			return errors.New("nothing was lost")
		}
		return nil
	})
}

func masterOf(t *testing.T, group *system.RedisGroup) *system.Daemon {
	t.Helper()
	master, err := group.Master()
	if err != nil {
		t.Fatal(err)
	}
	return master
}

// promoted waits until the group has another master.
func promoted(t *testing.T, group *system.RedisGroup, than *system.Daemon) {
	t.Helper()
	within(t, untilPromotedByItself, func() error {
		master, err := group.Master()
		if err == nil && master == than {
			err = errors.New("no replica has been promoted")
		}
		return err
	})
}

// replicated starts a system on the engine's replicated form.
func replicated(t *testing.T) *stack {
	t.Helper()
	s, err := startOn(t.Context(), system.Derivation{Into: folderOf(t), Engine: engine, Replicated: true, Binaries: plain(t)})
	return s.ofTest(t, err)
}

// nodeKilled kills a node, and starts it again when the others have worked without it.
func nodeKilled(t *testing.T, node *system.Daemon) {
	t.Helper()
	killDaemons(t, []*system.Daemon{node})
	pause(t, nodeAway)
	startDaemons(t, []*system.Daemon{node})
}
