package system

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Engine is the software behind the event bus and the state stores: a folder of components/ with
// that name.
type Engine string

// The engines.
const (
	// RedisEngine is the default.
	RedisEngine      Engine = "redis"
	PostgresRabbitMQ Engine = "postgres-rabbitmq"
)

// Engines are all engines, the default first.
var Engines = []Engine{RedisEngine, PostgresRabbitMQ}

// EngineOf returns the engine with a name, or the default if the name is empty.
func EngineOf(name string) (Engine, error) {
	if name == "" {
		return RedisEngine, nil
	}
	var names []string
	for _, e := range Engines {
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

// The environment variables by which components/ finds the servers of an engine that is not the
// default.
const (
	PostgresEnv = "POSTGRES"
	RabbitMQEnv = "RABBITMQ"
)

// Servers are the servers of an engine that this process has started.
type Servers struct {
	Postgres *Postgres
	RabbitMQ *RabbitMQ
}

// PortsOf are where an engine's servers listen, beside Redis.
type PortsOf struct{ Postgres, RabbitMQ, RabbitMQDistribution, Epmd int }

// FreePorts are ports that are free now.
func FreePorts() (p PortsOf, err error) {
	for _, port := range []*int{&p.Postgres, &p.RabbitMQ, &p.RabbitMQDistribution, &p.Epmd} {
		if *port, err = FreePort(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// All are the ports.
func (p PortsOf) All() []int { return []int{p.Postgres, p.RabbitMQ, p.RabbitMQDistribution, p.Epmd} }

// StartServers starts the servers of an engine, with their data in dir, but for those whose
// environment variable isNamed says that the user has his own. If one does not start, those
// before it are stopped.
func StartServers(ctx context.Context, e Engine, dir string, ports PortsOf, isNamed func(env string) bool) (*Servers, error) {
	s := &Servers{}
	if e != PostgresRabbitMQ {
		return s, nil
	}
	if !isNamed(PostgresEnv) {
		postgres, err := StartPostgres(ctx, filepath.Join(dir, "postgres"), ports.Postgres)
		if err != nil {
			return nil, err
		}
		s.Postgres = postgres
	}
	if !isNamed(RabbitMQEnv) {
		rabbitMQ, err := StartRabbitMQ(ctx, filepath.Join(dir, "rabbitmq"), ports.RabbitMQ, ports.RabbitMQDistribution, ports.Epmd)
		if err != nil {
			return nil, errors.Join(err, s.Stop())
		}
		s.RabbitMQ = rabbitMQ
	}
	return s, nil
}

// Env is what the sidecars need in their environment to find the servers.
func (s *Servers) Env() []string {
	var env []string
	if s.Postgres != nil {
		env = append(env, PostgresEnv+"="+s.Postgres.ConnectionString())
	}
	if s.RabbitMQ != nil {
		env = append(env, RabbitMQEnv+"="+s.RabbitMQ.URL())
	}
	return env
}

// Stop stops the servers.
func (s *Servers) Stop() error {
	var errs []error
	if s.RabbitMQ != nil {
		errs = append(errs, s.RabbitMQ.Stop())
	}
	if s.Postgres != nil {
		errs = append(errs, s.Postgres.Stop())
	}
	return errors.Join(errs...)
}
