package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// redisNodes are a master and two replicas: with one, the survivor of a failover would have none,
	// and take no writes (min-replicas-to-write).
	redisNodes = 3
	// sentinelNodes is how many Sentinels agree on the master although one of them is dead.
	sentinelNodes = 3
	// SentinelMaster is the Sentinels' name for the master, as in components/redis-ha.
	SentinelMaster = "mymaster"
)

var redisHA = Kind{
	Name: "Redis with Sentinels", Env: "REDIS_SENTINELS", Ports: []int{4379, 4380, 4381, 4382, 4383, 4384},
	start: func(ctx context.Context, _ Checkout, dir string, ports []int) (Server, error) {
		return startRedisHA(ctx, filepath.Join(dir, "redis-ha"), ports[:redisNodes], ports[redisNodes:])
	},
	version: func(ctx context.Context) (string, error) {
		out, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
		if err != nil {
			return "", err
		}
		_, version, _ := strings.Cut(string(out), "v=")
		version, _, _ = strings.Cut(version, " ")
		return version, nil
	},
}

// RedisGroup is a Redis with replicas and Sentinels that this process started.
type RedisGroup struct {
	nodes, sentinels []*Daemon
}

// startRedisHA starts Redis's nodes and Sentinels on loopback, with the data of each in a folder of
// dir, and waits until one may take over from another. If Redis is missing, it is installed first.
func startRedisHA(ctx context.Context, dir string, nodes, sentinels []int) (*RedisGroup, error) {
	path, err := Install(ctx, "the event bus and the stores", "redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	r := &RedisGroup{}
	for i, port := range nodes {
		replicaOf := ""
		if i > 0 {
			replicaOf = fmt.Sprintf("replicaof 127.0.0.1 %d\n", nodes[0])
		}
		d, err := startRedisNode(ctx, path, filepath.Join(dir, fmt.Sprint("node-", i+1)), port, replicaOf,
			"--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
			// A master whose replicas are all gone, or further behind than these seconds, refuses
			// writes: it may be the old one, of which the others know no more.
			"--min-replicas-to-write", "1", "--min-replicas-max-lag", "5")
		if err != nil {
			return nil, errors.Join(err, r.Stop())
		}
		r.nodes = append(r.nodes, d)
	}
	for i, port := range sentinels {
		monitor := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d\n", SentinelMaster, nodes[0], sentinelNodes/2+1) +
			fmt.Sprintf("sentinel down-after-milliseconds %s 3000\n", SentinelMaster) +
			fmt.Sprintf("sentinel failover-timeout %s 10000\n", SentinelMaster)
		d, err := startRedisNode(ctx, path, filepath.Join(dir, fmt.Sprint("sentinel-", i+1)), port, monitor, "--sentinel")
		if err != nil {
			return nil, errors.Join(err, r.Stop())
		}
		r.sentinels = append(r.sentinels, d)
	}
	ready := func() error { return Until(ctx, daemonStart, r.Whole) }
	if err := wait("waiting for Redis's replicas and Sentinels", ready); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// startRedisNode starts a node or a Sentinel. Its configuration file is made once: Redis itself
// keeps in it who is the master.
func startRedisNode(ctx context.Context, path, dir string, port int, first string, args ...string) (*Daemon, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "redis.conf")
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) {
		// At once, or not at all: without its first lines it would be another kind of node.
		if err := errors.Join(os.WriteFile(conf+".new", []byte(first), 0o600), os.Rename(conf+".new", conf)); err != nil {
			return nil, err
		}
	}
	log := filepath.Join(dir, "redis.log")
	args = append([]string{conf, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--logfile", log}, args...)
	d := &Daemon{Port: port, name: filepath.Base(dir) + " of Redis", log: log}
	d.command = func() *exec.Cmd {
		cmd := exec.Command(path, args...) //nolint:gosec // found on PATH by us
		cmd.Dir = dir
		return cmd
	}
	d.answers = func() error { return RedisAnswers(d.Address()) }
	return d, d.Start(ctx)
}

// Whole returns an error unless every Sentinel knows the master, its replicas and the other
// Sentinels, and the replicas follow. Before that nobody takes over from a master that dies.
func (r *RedisGroup) Whole() error {
	for _, s := range r.sentinels {
		known, err := knownBy(s)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("slaves=%d,sentinels=%d", redisNodes-1, sentinelNodes); !strings.Contains(known, "status=ok") || !strings.Contains(known, want) {
			return fmt.Errorf("the %s knows %q, want %s", s.name, known, want)
		}
	}
	master, err := r.Master()
	if err != nil {
		return err
	}
	info, err := firstAnswer(master.Address(), "INFO replication\r\n")
	if err != nil {
		return err
	}
	if want := fmt.Sprint("min_slaves_good_slaves:", redisNodes-1); !strings.Contains(info, "role:master") || !strings.Contains(info, want) {
		return fmt.Errorf("%s is no master with its replicas: %q, want %s", master.name, info, want)
	}
	return nil
}

// knownBy is what a Sentinel knows of the master.
func knownBy(sentinel *Daemon) (string, error) {
	info, err := firstAnswer(sentinel.Address(), "INFO sentinel\r\n")
	_, known, _ := strings.Cut(info, "master0:")
	return known, err
}

// Master is the node that all Sentinels take for the master.
func (r *RedisGroup) Master() (*Daemon, error) {
	var master *Daemon
	for _, s := range r.sentinels {
		known, err := knownBy(s)
		if err != nil {
			return nil, err
		}
		_, address, _ := strings.Cut(known, "address=")
		address, _, _ = strings.Cut(address, ",")
		i := slices.IndexFunc(r.nodes, func(node *Daemon) bool { return node.Address() == address })
		if i < 0 || master != nil && master != r.nodes[i] {
			return nil, fmt.Errorf("the %s takes %q for the master, and not all do", s.name, address)
		}
		master = r.nodes[i]
	}
	return master, nil
}

// Nodes are the master and the replicas.
func (r *RedisGroup) Nodes() []*Daemon { return r.nodes }

// Connection is the addresses of its Sentinels.
func (r *RedisGroup) Connection() string {
	var addresses []string
	for _, s := range r.sentinels {
		addresses = append(addresses, s.Address())
	}
	return strings.Join(addresses, ",")
}

// Daemons are its nodes and its Sentinels.
func (r *RedisGroup) Daemons() []*Daemon {
	return append(append([]*Daemon{}, r.nodes...), r.sentinels...)
}

// Stop stops the Sentinels and then the nodes, so that nobody takes a node that stops for a dead
// one.
func (r *RedisGroup) Stop() error {
	return errors.Join(stopTogether(r.sentinels), stopTogether(r.nodes))
}
