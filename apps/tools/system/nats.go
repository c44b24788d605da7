package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	natsclient "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer is the Go package of NATS's server.
const natsServer = "github.com/nats-io/nats-server/v2"

// nodesOfNATS is how many servers are a cluster that goes on without one of them.
const nodesOfNATS = 3

var nats = Kind{
	Name: "NATS", Env: "NATS", Ports: []int{4721, 4722, 4723, 4731, 4732, 4733},
	start: func(ctx context.Context, c Checkout, dir string, ports []int) (Server, error) {
		return c.startNATS(ctx, filepath.Join(dir, "nats"), ports[:nodesOfNATS], ports[nodesOfNATS:])
	},
	adopt: func(ctx context.Context, c Checkout, url string) error { return c.MakeStreams(ctx, url) },
	version: func(context.Context) (string, error) {
		c, err := FindCheckout()
		if err != nil {
			return "", err
		}
		pinned, err := c.Pinned()
		return pinned.NATS, err
	},
}

// NATSCluster is a cluster of NATS servers that this process started. Each stream is on all of them.
type NATSCluster struct{ nodes []*Daemon }

// startNATS starts a cluster on loopback, with the data of each node in a folder of dir, and waits
// until it takes messages. If the server is missing, it is built first. clients are the ports for
// clients, routes those for the other nodes.
func (c Checkout) startNATS(ctx context.Context, dir string, clients, routes []int) (*NATSCluster, error) {
	path, err := c.BuildNATS(ctx)
	if err != nil {
		return nil, err
	}
	n := &NATSCluster{}
	for i, port := range clients {
		node := filepath.Join(dir, fmt.Sprint(i+1))
		if err := os.MkdirAll(node, 0o700); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
		conf := filepath.Join(node, "nats.conf")
		if err := os.WriteFile(conf, []byte(nodeOfNATS(i, node, clients, routes)), 0o600); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
		d := &Daemon{Port: port, name: fmt.Sprint("NATS server ", i+1), log: filepath.Join(node, "nats.log")}
		d.command = func() *exec.Cmd {
			cmd := exec.Command(path, "-c", conf) //nolint:gosec // built by us
			cmd.Dir = node
			return cmd
		}
		d.answers = func() error { return NATSAnswers(d.Address()) }
		if err := d.Start(ctx); err != nil {
			return nil, errors.Join(err, n.Stop())
		}
		n.nodes = append(n.nodes, d)
	}
	// Until its nodes have elected a leader, the cluster takes nothing.
	ready := func() error {
		return Until(ctx, daemonStart, func() error { return c.MakeStreams(ctx, n.Connection()) })
	}
	if err := wait("waiting for NATS to elect its leaders", ready); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

func nameOfNATS(i int) string { return fmt.Sprint("postbus-", i+1) }

// nodeOfNATS is the configuration of a node. All its ports are on loopback: neither clients nor
// routes ask for a password, because every program of this machine is trusted, as with Redis. There
// is no port for monitoring.
func nodeOfNATS(i int, dir string, clients, routes []int) string {
	var others []string
	for _, port := range routes {
		others = append(others, fmt.Sprintf("%q", fmt.Sprint("nats-route://127.0.0.1:", port)))
	}
	return fmt.Sprintf(`server_name: %s
listen: "127.0.0.1:%d"
log_file: %q
jetstream {
  store_dir: %q
  # What is acknowledged is on the disk. By default it gets there within two minutes.
  sync_interval: always
}
cluster {
  name: postbus
  listen: "127.0.0.1:%d"
  routes: [%s]
}
`, nameOfNATS(i), clients[i], filepath.Join(dir, "nats.log"), dir, routes[i], strings.Join(others, ", "))
}

// Connection is the URL of its nodes.
func (n *NATSCluster) Connection() string {
	var urls []string
	for _, node := range n.nodes {
		urls = append(urls, "nats://"+node.Address())
	}
	return strings.Join(urls, ",")
}

// Daemons are its nodes.
func (n *NATSCluster) Daemons() []*Daemon { return n.nodes }

// Open connects to the cluster. The caller closes the connection.
func (n *NATSCluster) Open() (jetstream.JetStream, error) { return openJetStream(n.Connection(), "") }

// openJetStream connects to the NATS at a URL, which may ask for a token. The caller closes the
// connection.
func openJetStream(url, token string) (jetstream.JetStream, error) {
	conn, err := natsclient.Connect(url, natsclient.Token(token), natsclient.Timeout(natsTimeout))
	if err != nil {
		return nil, fmt.Errorf("NATS at %s: %w", url, err)
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(natsTimeout))
	if err != nil {
		conn.Close()
	}
	return js, err
}

// Leader is the node that leads the stream of a topic.
func (n *NATSCluster) Leader(ctx context.Context, topic string) (*Daemon, error) {
	js, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer js.Conn().Close()
	stream, err := js.Stream(ctx, topic) // which asks for its state
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if info.Cluster == nil || len(info.Cluster.Replicas) != nodesOfNATS-1 {
		return nil, fmt.Errorf("the stream %s is not on %d nodes: %+v", topic, nodesOfNATS, info.Cluster)
	}
	for i, node := range n.nodes {
		if info.Cluster.Leader == nameOfNATS(i) {
			return node, nil
		}
	}
	return nil, fmt.Errorf("no node leads the stream %s: %+v", topic, info.Cluster)
}

// Stop stops all nodes at once.
func (n *NATSCluster) Stop() error { return stopTogether(n.nodes) }

// NATSAnswers returns an error unless a NATS answers at the address. It speaks first.
func NATSAnswers(address string) error {
	answer, err := firstAnswer(address, "PING\r\n")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "INFO {") {
		return fmt.Errorf("%s answers, but not as a NATS does: %.40q", address, answer)
	}
	return nil
}

const (
	// natsTimeout bounds a call of NATS. Without a leader it does not answer.
	natsTimeout = 2 * time.Second
	// keptByStream is how long the bus keeps a message, as components/redis/bus.yaml has it.
	keptByStream = time.Hour
	// shortestWindow is the shortest that NATS takes. Within it a message is dropped whose id the
	// stream has. The component takes the event's id for it, so the default, two minutes, would drop
	// what a publisher publishes again because it did not reach the log.
	shortestWindow = 100 * time.Millisecond
)

// MakeStreams makes the streams of the bus's topics in the NATS at a URL.
func (c Checkout) MakeStreams(ctx context.Context, url string) error {
	topics, err := c.topicsOf(PostgresJetStream)
	if err != nil {
		return err
	}
	return MakeStreams(ctx, url, "", topics)
}

// MakeStreams makes a stream for each topic in the NATS at a URL, which may ask for a token, or
// changes one that is otherwise. The component does not do it. In a cluster each stream is on
// nodesOfNATS nodes. It returns nil when every stream has a leader, which is when the bus works.
func MakeStreams(ctx context.Context, url, token string, topics []string) error {
	if url == "" {
		return errors.New("no NATS is named: NATS is to have its URL, as in NATS=nats://localhost:4222")
	}
	js, err := openJetStream(url, token)
	if err != nil {
		return err
	}
	defer js.Conn().Close()
	replicas := 1
	if js.Conn().ConnectedClusterName() != "" {
		replicas = nodesOfNATS
	}
	for _, topic := range topics {
		stream, err := js.CreateOrUpdateStream(ctx, streamOf(topic, replicas))
		if err != nil {
			return fmt.Errorf("the stream %s: %w", topic, err)
		}
		info, err := stream.Info(ctx)
		if err != nil {
			return fmt.Errorf("the stream %s: %w", topic, err)
		}
		if info.Cluster != nil && info.Cluster.Leader == "" {
			return fmt.Errorf("the stream %s has no leader", topic)
		}
	}
	return nil
}

func streamOf(topic string, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: topic, Subjects: []string{topic}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxAge: keptByStream, Duplicates: shortestWindow,
	}
}

// topicsOf are the topics that an engine's bus allows.
func (c Checkout) topicsOf(e Engine) ([]string, error) {
	file := filepath.Join(c.Root, "components", string(e), "bus.yaml")
	docs, err := ReadYAML(file)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		spec, _ := doc["spec"].(Document)
		fields, _ := spec["metadata"].([]any)
		for _, f := range fields {
			if field, _ := f.(Document); field["name"] == "allowedTopics" {
				return strings.Split(fmt.Sprint(field["value"]), ","), nil
			}
		}
	}
	return nil, fmt.Errorf("%s has no allowedTopics", file)
}
