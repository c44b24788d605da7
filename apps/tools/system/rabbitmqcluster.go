package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

var rabbitMQCluster = Kind{
	Name: rabbitMQ.Name, Env: rabbitMQ.Env,
	start: func(ctx context.Context, _ Checkout, dir string, _ []int) (Server, error) {
		return startRabbitMQCluster(ctx, filepath.Join(dir, "rabbitmq"))
	},
}

// nodesOfRabbitMQ is how many nodes are a cluster that goes on without one of them.
const nodesOfRabbitMQ = 3

// RabbitMQCluster are nodes that this process started. Their quorum queues have a member on each.
// A client finds a node that works by a proxy, because Dapr's component knows one address.
type RabbitMQCluster struct {
	Nodes []*RabbitMQ
	proxy *Daemon
}

// haproxy is the proxy as Debian packages it. Its folder is not on every user's PATH.
const haproxy = "/usr/sbin/haproxy"

// startRabbitMQCluster starts a new cluster and its proxy on loopback, with their data below dir.
func startRabbitMQCluster(ctx context.Context, dir string) (*RabbitMQCluster, error) {
	ports, err := FreePorts(2*nodesOfRabbitMQ + 2)
	if err != nil {
		return nil, err
	}
	listen, distribution, epmd, proxy := ports[:nodesOfRabbitMQ], ports[nodesOfRabbitMQ:2*nodesOfRabbitMQ], ports[2*nodesOfRabbitMQ], ports[2*nodesOfRabbitMQ+1]
	path, err := Install(ctx, "the event bus's nodes", haproxy, "haproxy")
	if err != nil {
		return nil, err
	}
	c := &RabbitMQCluster{}
	for i, port := range listen {
		settings := "cluster_partition_handling = pause_minority\n"
		if i > 0 { // it joins the first one
			settings += "cluster_formation.peer_discovery_backend = classic_config\ncluster_formation.classic_config.nodes.1 = " + nodeOfRabbitMQ(0) + "\n"
		}
		node, err := newRabbitMQ(ctx, filepath.Join(dir, fmt.Sprint(i+1)), nodeOfRabbitMQ(i), port, distribution[i], epmd, settings)
		if err == nil && i > 0 {
			err = copyCookie(filepath.Join(dir, "1"), filepath.Join(dir, fmt.Sprint(i+1)))
		}
		if err == nil {
			err = node.Start(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.Nodes = append(c.Nodes, node)
	}
	c.proxy, err = startProxy(ctx, path, dir, proxy, listen)
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func nodeOfRabbitMQ(i int) string { return fmt.Sprintf("postbus%d@localhost", i+1) }

// copyCookie gives a node the secret of another one, without which they do not talk.
func copyCookie(from, to string) error {
	cookie, err := os.ReadFile(filepath.Join(from, ".erlang.cookie")) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	name := filepath.Join(to, ".erlang.cookie")
	return errors.Join(os.Remove(name), os.WriteFile(name, cookie, 0o400)) //nolint:gosec // our own folder
}

// startProxy starts a proxy that gives each connection to a node that listens.
func startProxy(ctx context.Context, path, dir string, port int, nodes []int) (*Daemon, error) {
	conf := fmt.Sprintf(`defaults
  mode tcp
  timeout connect 1s
  # RabbitMQ and its clients look for each other every few seconds.
  timeout client 1h
  timeout server 1h
  option redispatch 1
listen rabbitmq
  bind 127.0.0.1:%d
  balance leastconn
`, port)
	for i, node := range nodes {
		conf += fmt.Sprintf("  server node%d 127.0.0.1:%d check inter 500ms\n", i+1, node)
	}
	name := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(name, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	d := &Daemon{Port: port, name: "HAProxy", log: name}
	d.command = func() *exec.Cmd { return exec.Command(path, "-db", "-q", "-f", name) } //nolint:gosec // found by us
	d.answers = func() error { return RabbitMQAnswers(d.Address()) }
	return d, d.Start(ctx)
}

// Connection is the URL of the proxy.
func (c *RabbitMQCluster) Connection() string {
	return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d", c.proxy.Port)
}

// Control runs rabbitmqctl on a node that runs.
func (c *RabbitMQCluster) Control(ctx context.Context, args ...string) (string, error) {
	i := slices.IndexFunc(c.Nodes, func(node *RabbitMQ) bool { return !node.hasEnded() })
	if i < 0 {
		return "", errors.New("no node runs")
	}
	return c.Nodes[i].Control(ctx, args...)
}

// Leader is the node that leads a quorum queue.
func (c *RabbitMQCluster) Leader(ctx context.Context, queue string) (*RabbitMQ, error) {
	out, err := c.Control(ctx, "list_queues", "--formatter", "json", "name", "leader", "members")
	if err != nil {
		return nil, err
	}
	var queues []struct {
		Name, Leader string
		Members      []string
	}
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	for _, q := range queues {
		if q.Name != queue {
			continue
		}
		if len(q.Members) != nodesOfRabbitMQ {
			return nil, fmt.Errorf("the queue %s is on %q", queue, q.Members)
		}
		for i, node := range c.Nodes {
			if q.Leader == nodeOfRabbitMQ(i) {
				return node, nil
			}
		}
	}
	return nil, fmt.Errorf("no node leads the queue %s: %s", queue, out)
}

// Daemons are its nodes.
func (c *RabbitMQCluster) Daemons() []*Daemon {
	var all []*Daemon
	for _, node := range c.Nodes {
		all = append(all, &node.Daemon)
	}
	return all
}

// Stop stops the proxy, the nodes that run, and Erlang's port mapper.
func (c *RabbitMQCluster) Stop() error {
	var errs []error
	if c.proxy != nil {
		errs = append(errs, c.proxy.Stop())
	}
	for _, node := range slices.Backward(c.Nodes) {
		if !node.hasEnded() {
			errs = append(errs, node.Daemon.Stop())
		}
	}
	if len(c.Nodes) > 0 {
		errs = append(errs, StopEpmd(c.Nodes[0].epmd))
	}
	return errors.Join(errs...)
}
