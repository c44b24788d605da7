package main

import (
	"context"
	"fmt"
	"os"

	"github.com/postbus/postbus/apps/tools/system"
)

// enginePorts are those of the servers that are started for an engine which is not the default.
// They are not the servers' usual ports, where the user may have his own.
var enginePorts = system.PortsOf{Postgres: 4432, RabbitMQ: 4672, RabbitMQDistribution: 4673, Epmd: 4370}

// anEngine is what the system uses for its bus and its stores.
type anEngine struct {
	redis   aRedis
	servers *system.Servers
}

// findEngine finds the engine's servers, or starts them.
func findEngine(ctx context.Context, c system.Checkout, name system.Engine) (anEngine, error) {
	if name == system.RedisEngine {
		redis, err := findRedis(ctx, c)
		return anEngine{redis, &system.Servers{}}, err
	}
	isNamed := func(env string) bool { return os.Getenv(env) != "" }
	var uses []system.Use
	for _, u := range []struct {
		env, what string
		port      int
	}{{system.PostgresEnv, "PostgreSQL", enginePorts.Postgres}, {system.RabbitMQEnv, "RabbitMQ", enginePorts.RabbitMQ}} {
		if !isNamed(u.env) {
			uses = append(uses, system.Use{Port: u.port, For: "for " + u.what, Mend: "name a " + u.what + " of your own: " + u.env + "=... make run ENGINE=" + string(name)})
		}
	}
	if err := system.Free(uses); err != nil {
		return anEngine{}, err
	}
	servers, err := system.StartServers(ctx, name, c.Kept(), enginePorts, isNamed)
	if err != nil {
		return anEngine{}, err
	}
	if servers.Postgres != nil {
		say("started PostgreSQL on port %d, its data is in %s", servers.Postgres.Port, c.Kept())
	} else {
		say("using the PostgreSQL that POSTGRES names")
	}
	if servers.RabbitMQ != nil {
		say("started RabbitMQ on port %d, its data is in %s", servers.RabbitMQ.Port, c.Kept())
	} else {
		say("using the RabbitMQ that RABBITMQ names")
	}
	return anEngine{servers: servers}, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "postbus: "+format+"\n", args...) }

// stop stops the servers that were started.
func (e anEngine) stop() {
	e.redis.stop()
	if err := e.servers.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "postbus: stopping the engine:", err)
	}
}
