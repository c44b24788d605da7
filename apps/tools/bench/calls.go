package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// calls are the numbers of Redis's commands, by name. Every hop of an event and every
// document takes some of them.
type calls map[string]float64

// calls are none where the engine is not the default.
func (s *stack) calls(ctx context.Context) (calls, error) {
	if s.Redis == nil {
		return nil, nil
	}
	client := redis.NewClient(&redis.Options{Addr: s.Redis.Address()})
	defer func() { _ = client.Close() }()
	info, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	c := calls{}
	for line := range strings.Lines(info) {
		name, numbers, found := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !found {
			continue
		}
		var n float64
		if _, err := fmt.Sscanf(numbers, "%g", &n); err != nil {
			return nil, fmt.Errorf("redis's commandstats: %q: %w", line, err)
		}
		c[name] = n
	}
	return c, nil
}

// since are the calls after before, divided by count.
func (c calls) since(before calls, count uint64) calls {
	each := calls{}
	for name := range c {
		each[name] = (c[name] - before[name]) / float64(count)
	}
	return each
}
