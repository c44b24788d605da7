package main

import (
	"context"
	"fmt"
	"os"

	"github.com/postbus/postbus/apps/tools/system"
)

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
	var uses []system.Use
	for _, kind := range name.Kinds() {
		if os.Getenv(kind.Env) != "" {
			continue
		}
		for _, port := range kind.Ports {
			uses = append(uses, system.Use{Port: port, For: "for " + kind.Name, Mend: "name a " + kind.Name + " of your own: " + kind.Env + "=... make run ENGINE=" + string(name)})
		}
	}
	if err := system.Free(uses); err != nil {
		return anEngine{}, err
	}
	portsOf := func(kind *system.Kind) ([]int, error) { return kind.Ports, nil }
	servers, err := c.StartServers(ctx, name.Kinds(), c.Kept(), portsOf, os.Getenv)
	if err != nil {
		return anEngine{}, err
	}
	for _, kind := range name.Kinds() {
		if os.Getenv(kind.Env) != "" {
			say("using the %s that %s names", kind.Name, kind.Env)
		} else {
			say("started %s on port %d, its data is in %s", kind.Name, kind.Ports[0], c.Kept())
		}
	}
	return anEngine{servers: servers}, nil
}

// enginePorts are all ports of the servers that `make run` may start.
func enginePorts() []int {
	ports := []int{redisPort}
	for _, engine := range system.Engines() {
		for _, kind := range engine.Kinds() {
			ports = append(ports, kind.Ports...)
		}
	}
	return ports
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "postbus: "+format+"\n", args...) }

// stop stops the servers that were started.
func (e anEngine) stop() {
	e.redis.stop()
	if err := e.servers.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "postbus: stopping the engine:", err)
	}
}
