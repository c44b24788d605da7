package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Engine is the software behind the event bus and the state stores: a folder of components/ with
// that name.
type Engine string

// The engines.
const (
	// RedisEngine is the default.
	RedisEngine       Engine = "redis"
	PostgresRabbitMQ  Engine = "postgres-rabbitmq"
	PostgresJetStream Engine = "postgres-jetstream"
	RedisHA           Engine = "redis-ha"
)

// engines are all engines, the default first, with the kinds of servers that they consist of, in
// the order in which those start. The default's Redis is none of them: components/ has its address.
// In their replicated form, which is for tests, none of the servers is the only one of its kind.
var engines = []struct {
	engine            Engine
	kinds, replicated []*Kind
}{
	{engine: RedisEngine},
	{PostgresRabbitMQ, []*Kind{&postgres, &rabbitMQ}, []*Kind{&postgresPair, &rabbitMQCluster}},
	{engine: PostgresJetStream, kinds: []*Kind{&postgres, &nats}},
	{engine: RedisHA, kinds: []*Kind{&redisHA}},
}

// Engines are all engines, the default first.
func Engines() []Engine {
	var all []Engine
	for _, e := range engines {
		all = append(all, e.engine)
	}
	return all
}

// EngineOf returns the engine with a name, or the default if the name is empty.
func EngineOf(name string) (Engine, error) {
	if name == "" {
		return RedisEngine, nil
	}
	var names []string
	for _, e := range Engines() {
		if string(e) == name {
			return e, nil
		}
		names = append(names, string(e))
	}
	return "", fmt.Errorf("there is no engine %q: ENGINE is one of %s", name, strings.Join(names, ", "))
}

// RunFile is the path of the engine's run file in a checkout: the default's is dapr.yaml.
func (e Engine) RunFile(root string) string {
	if e == RedisEngine {
		return filepath.Join(root, "dapr.yaml")
	}
	return filepath.Join(root, "components", string(e)+".yaml")
}

// Kinds are the kinds of servers that the engine consists of, in the order in which they start.
func (e Engine) Kinds() []*Kind {
	for _, known := range engines {
		if known.engine == e {
			return known.kinds
		}
	}
	return nil
}

// ReplicatedKinds are the kinds of servers of its replicated form, in the same order. They choose
// their ports by themselves. Without such a form there are none.
func (e Engine) ReplicatedKinds() []*Kind {
	for _, known := range engines {
		if known.engine == e {
			return known.replicated
		}
	}
	return nil
}

// Kind is a kind of server that components/ finds by the environment.
type Kind struct {
	// Name is the product's.
	Name string
	// Env is the environment variable that names such a server.
	Env string
	// Ports are where it listens under `make run`. They are not its usual ones, where the user may
	// have his own.
	Ports []int
	// start starts it on loopback, with its data below dir, and returns when it takes work.
	start func(ctx context.Context, c Checkout, dir string, ports []int) (Server, error)
	// version is that of the server that start takes. Without it, none is known.
	version func(ctx context.Context) (string, error)
	// adopt, if not nil, makes in a server that the user has named what the bus or a store needs
	// there.
	adopt func(ctx context.Context, c Checkout, connection string) error
}

// Versions are the servers of an engine, with their versions.
func (e Engine) Versions(ctx context.Context) (string, error) {
	var all []string
	for _, kind := range e.Kinds() {
		version := ""
		if kind.version != nil {
			known, err := kind.version(ctx)
			if err != nil {
				return "", fmt.Errorf("the version of %s: %w", kind.Name, err)
			}
			version = " " + known
		}
		all = append(all, kind.Name+version)
	}
	return strings.Join(all, ", "), nil
}

// Server is a server that this process has started: one daemon, or several that work as one.
type Server interface {
	// Connection is what its clients need, as the environment variable of its kind has it.
	Connection() string
	// Daemons are its daemons, in the order in which they were started.
	Daemons() []*Daemon
	// Stop stops it in order, and waits for its end.
	Stop() error
}

// Servers are the servers of an engine that this process has started, in that order.
type Servers struct {
	Started []Server
	env     []string
}

// StartServers starts servers of some kinds, with their data below dir, but for those that the
// user has named. It prepares those. If one fails, those before it are stopped.
func (c Checkout) StartServers(ctx context.Context, kinds []*Kind, dir string, portsOf func(*Kind) ([]int, error), named func(env string) string) (*Servers, error) {
	s := &Servers{}
	for _, kind := range kinds {
		var err error
		if own := named(kind.Env); own == "" {
			err = s.add(ctx, c, kind, dir, portsOf)
		} else if kind.adopt != nil {
			err = kind.adopt(ctx, c, own)
		}
		if err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return s, nil
}

// add starts a server.
func (s *Servers) add(ctx context.Context, c Checkout, kind *Kind, dir string, portsOf func(*Kind) ([]int, error)) error {
	ports, err := portsOf(kind)
	if err != nil {
		return err
	}
	server, err := kind.start(ctx, c, dir, ports)
	if err != nil {
		return err
	}
	s.Started = append(s.Started, server)
	s.env = append(s.env, kind.Env+"="+server.Connection())
	return nil
}

// Env is what the sidecars need in their environment to find the servers.
func (s *Servers) Env() []string { return s.env }

// Stop stops the servers, the last one first.
func (s *Servers) Stop() error {
	var errs []error
	for _, server := range slices.Backward(s.Started) {
		errs = append(errs, server.Stop())
	}
	return errors.Join(errs...)
}
