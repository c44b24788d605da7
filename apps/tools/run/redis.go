package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/postbus/postbus/apps/tools/system"
)

const (
	redisPort    = 6379
	defaultRedis = "localhost:6379" // as in components/
)

// aRedis is the Redis that the system uses.
type aRedis struct {
	address string
	started *system.Redis // nil if it was running already
}

// findRedis finds the Redis that REDIS_HOST names. Without REDIS_HOST it uses the default
// address, and starts a Redis if none answers there.
func findRedis(ctx context.Context, c system.Checkout) (aRedis, error) {
	if address := os.Getenv("REDIS_HOST"); address != "" && address != defaultRedis {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return aRedis{}, fmt.Errorf("REDIS_HOST=%s: %w; it has to be host:port, as in REDIS_HOST=%s", address, err, defaultRedis)
		}
		if err := system.RedisAnswers(address); err != nil {
			return aRedis{}, fmt.Errorf("no Redis that can be used is at REDIS_HOST=%s: %w; start it, or unset REDIS_HOST to have one started here", address, err)
		}
		fmt.Fprintf(os.Stderr, "postbus: using the Redis at %s\n", address)
		return aRedis{address: address}, nil
	}
	unusable := system.RedisAnswers(defaultRedis)
	if unusable == nil {
		fmt.Fprintf(os.Stderr, "postbus: using the Redis at %s\n", defaultRedis)
		return aRedis{address: defaultRedis}, nil
	}
	if err := system.Free([]system.Use{{Port: redisPort, For: "for Redis", Mend: "name a Redis without a password: REDIS_HOST=host:port make run"}}); err != nil {
		return aRedis{}, errors.Join(err, fmt.Errorf("(it is no Redis that can be used: %w)", unusable))
	}
	dir := filepath.Join(c.Kept(), "redis")
	redis, err := system.StartRedis(ctx, dir, redisPort)
	if err != nil {
		return aRedis{}, err
	}
	fmt.Fprintf(os.Stderr, "postbus: started Redis on port %d, its data is in %s\n", redisPort, dir)
	return aRedis{defaultRedis, redis}, nil
}

// stop stops the Redis that was started.
func (r aRedis) stop() {
	if r.started == nil {
		return
	}
	if err := r.started.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "postbus: stopping Redis:", err)
	}
}
