package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// EpmdPort is where Erlang's port mapper listens under `make run`.
const EpmdPort = 4370

var rabbitMQ = Kind{
	Name: "RabbitMQ", Env: "RABBITMQ", Ports: []int{4672, 4673, EpmdPort},
	start: func(ctx context.Context, _ Checkout, dir string, ports []int) (Server, error) {
		return StartRabbitMQ(ctx, filepath.Join(dir, "rabbitmq"), ports[0], ports[1], ports[2])
	},
	version: func(ctx context.Context) (string, error) {
		out, err := exec.CommandContext(ctx, rabbitmqctl, "version").Output()
		return strings.TrimSpace(string(out)), err
	},
}

// RabbitMQ is a RabbitMQ that this process started.
type RabbitMQ struct {
	Daemon
	env  []string
	epmd int // the port of Erlang's port mapper, which outlives the server
}

// RabbitMQ's programs as Debian packages them. What that has on PATH asks for root.
const (
	rabbitmqServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	rabbitmqctl    = "/usr/lib/rabbitmq/bin/rabbitmqctl"
)

// StartRabbitMQ starts a node of RabbitMQ on loopback, with its data in dir, and waits until it
// answers. If it is missing, it is installed first. Erlang listens on two more ports: for other
// nodes and tools, and for its port mapper.
func StartRabbitMQ(ctx context.Context, dir string, port, distribution, epmd int) (*RabbitMQ, error) {
	r, err := newRabbitMQ(ctx, dir, "postbus@localhost", port, distribution, epmd, "")
	if err != nil {
		return nil, err
	}
	return r, r.Start(ctx)
}

// newRabbitMQ returns a node that is not started yet, with its data and its cookie in dir. settings
// are more lines of its configuration.
func newRabbitMQ(ctx context.Context, dir, name string, port, distribution, epmd int, settings string) (*RabbitMQ, error) {
	path, err := Install(ctx, "the event bus", rabbitmqServer, "rabbitmq-server")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := writeCookie(filepath.Join(dir, ".erlang.cookie")); err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	// Every program of this machine is trusted, as with Redis: the password is the
	// well-known one, which RabbitMQ takes from loopback alone.
	conf := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nlog.console = false\n%s", port, settings)
	err = errors.Join(
		os.WriteFile(in("rabbitmq.conf"), []byte(conf), 0o600),
		os.WriteFile(in("plugins"), []byte("[].\n"), 0o600),
	)
	if err != nil {
		return nil, err
	}
	r := &RabbitMQ{Daemon: Daemon{Port: port, name: "RabbitMQ", log: in("log")}, epmd: epmd}
	r.env = append(os.Environ(),
		"HOME="+dir, // for Erlang's cookie
		"RABBITMQ_NODENAME="+name,
		"RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+in("plugins"),
		"RABBITMQ_CONF_ENV_FILE="+in("none"), // and not the system's
		"RABBITMQ_MNESIA_BASE="+in("data"), "RABBITMQ_LOG_BASE="+in("log"),
		// Both would listen on every interface.
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprint("ERL_EPMD_PORT=", epmd),
		fmt.Sprint("RABBITMQ_DIST_PORT=", distribution), "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		// The script becomes the server, and does not stay its parent.
		"RUNNING_UNDER_SYSTEMD=true",
	)
	r.command = func() *exec.Cmd {
		cmd := exec.Command(path) //nolint:gosec // found by us
		cmd.Dir, cmd.Env = dir, r.env
		return cmd
	}
	r.answers = func() error { return RabbitMQAnswers(r.Address()) }
	return r, nil
}

// writeCookie writes a secret, if there is none. Who has it may have the node run code. Erlang
// would make one that can be guessed.
func writeCookie(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, []byte(rand.Text()), 0o400)
}

// Connection is its URL.
func (r *RabbitMQ) Connection() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d", r.Port) }

// Control runs rabbitmqctl on it, and returns what that prints.
func (r *RabbitMQ) Control(ctx context.Context, args ...string) (string, error) {
	ctl := exec.CommandContext(ctx, rabbitmqctl, append([]string{"--quiet"}, args...)...) //nolint:gosec // the arguments are ours
	ctl.Dir, ctl.Env = "/", r.env
	var stderr strings.Builder
	ctl.Stderr = &stderr
	out, err := ctl.Output()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// Stop stops it in order, with Erlang's port mapper.
func (r *RabbitMQ) Stop() error {
	return errors.Join(r.Daemon.Stop(), StopEpmd(r.epmd))
}

// StopEpmd stops Erlang's port mapper on a port, if it is there and no node uses it.
func StopEpmd(port int) error {
	if AllFree([]int{port}) {
		return nil
	}
	kill := exec.Command("epmd", "-port", fmt.Sprint(port), "-kill") //nolint:gosec // our own port
	kill.Env = append(os.Environ(), "ERL_EPMD_ADDRESS=127.0.0.1")
	return kill.Run()
}

// RabbitMQAnswers returns an error unless a RabbitMQ answers at the address. To a wrong protocol
// it answers with the right one (AMQP 0-9-1, 4.2.2).
func RabbitMQAnswers(address string) error {
	answer, err := firstAnswer(address, "AMQP\x00\x00\x00\x00")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "AMQP") {
		return fmt.Errorf("%s answers, but not as a RabbitMQ does: %q", address, answer)
	}
	return nil
}
