package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

// TestAFullRedisRefusesWritesAndLosesNothing fills Redis of the system on this machine.
func TestAFullRedisRefusesWritesAndLosesNothing(t *testing.T) {
	needs(t, redisKind, "it lowers Redis's maxmemory")
	s := shared
	fullRedis(t, s, func() string {
		pids := fmt.Sprint("redis:", s.redis.PID())
		for _, a := range s.Apps {
			for _, port := range []int{a.Port, a.HTTPPort} {
				pid, _ := system.Holder(port)
				pids += fmt.Sprintf(" %s:%d", a.Name, pid)
			}
		}
		return pids
	})
}

// fullRedis fills a system's Redis under writes. Redis then refuses commands that need
// memory: XADD, and HSET, with which a store's script begins. It still reads,
// acknowledges, claims and deletes. So a writer gets a 503, readers notice nothing, and
// accepted events wait in the topics while their consumers cannot write. The function
// alive returns the running processes, to show that none was restarted.
func fullRedis(t *testing.T, s *stack, alive func() string) {
	store := s.store(t)
	posts := s.url("posts", "/posts/create")
	before, running := s.write(t, 1, 2), alive()
	comments := s.url("comments", "/posts/"+before.posts[0].ID+"/comments")
	shown := func(c content) error { return c.shownAt(t, s, s.App("query").Port) }
	eventually(t, func() error { return shown(before) })

	raise := lowerMaxmemory(t, store)
	accepted := content{posts: slices.Clone(before.posts), statuses: map[string]map[string]string{before.posts[0].ID: {}}}
	refused := "" // the key of the POST that is refused
	eventually(t, func() error {
		r, err := do("POST", comments, `{"content":"`+strings.Repeat("x", 8000)+`"}`)
		if err == nil && r.status == 201 {
			accepted.statuses[before.posts[0].ID][decode[comment](t, r.body).ID] = "approved"
		}
		refused = "Idempotency-Key: " + uuid.NewString()
		if r, err = do("POST", posts, `{"title":"refused at first"}`, refused); err != nil || r.status != 201 {
			return errors.Join(err, refusedForNow(r))
		}
		accepted.posts = append(accepted.posts, decode[post](t, r.body))
		return errors.New("there is room still")
	})
	// There is no room, whatever is freed from now on.
	setMaxmemory(t, store, func(used int) int { return used / 2 })
	for range 3 {
		for url, body := range map[string]string{posts: `{"title":"refused at first"}`, comments: `{"content":"refused"}`} {
			if r, err := do("POST", url, body, refused); err != nil || refusedForNow(r) != nil {
				t.Errorf("POST %s: %s, %v; want 503 with Retry-After", url, r, err)
			}
		}
		if err := shown(before); err != nil {
			t.Error("reads do not go on:", err)
		}
		want(t, 200, "GET", comments, "")
	}
	if now := alive(); now != running {
		t.Errorf("before, %s ran; now, %s", running, now)
	}

	raise()
	var late post
	eventually(t, func() error {
		r, err := do("POST", posts, `{"title":"refused at first"}`, refused)
		if err == nil && r.status != 201 {
			err = errors.New(r.String())
		}
		if err == nil {
			late = decode[post](t, r.body)
		}
		return err
	})
	if again := decode[post](t, want(t, 201, "POST", posts, `{"title":"refused at first"}`, refused).body); again.ID != late.ID {
		t.Errorf("one key, and two posts: %s and %s", late.ID, again.ID)
	}
	accepted.posts = append(accepted.posts, late)
	within(t, 2*soon, func() error { return errors.Join(shown(before), shown(accepted)) })
	s.quiet(t)
	checkLog(t, events(t, s.App("eventlog")))
}

// refusedForNow returns nil for a 503 with a Retry-After.
func refusedForNow(r response) error {
	if r.status != 503 || r.header.Get("Retry-After") == "" {
		return fmt.Errorf("%s, Retry-After %q", r, r.header.Get("Retry-After"))
	}
	return nil
}

// lowerMaxmemory leaves Redis 256 KiB. It returns a function that restores the old limit,
// which the end of the test also does.
func lowerMaxmemory(t *testing.T, store *redis.Client) (raise func()) {
	t.Helper()
	had, err := store.ConfigGet(t.Context(), "maxmemory").Result()
	if err != nil {
		t.Fatal(err)
	}
	raise = func() {
		if err := store.ConfigSet(context.Background(), "maxmemory", had["maxmemory"]).Err(); err != nil { // the test's own context may be done
			t.Error(err)
		}
	}
	t.Cleanup(raise)
	setMaxmemory(t, store, func(used int) int { return used + 256<<10 })
	return raise
}

// setMaxmemory sets the bytes that Redis may use, computed from those in use.
func setMaxmemory(t *testing.T, store *redis.Client, of func(used int) int) {
	t.Helper()
	memory, err := store.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(memory, "used_memory:")
	text, _, _ = strings.Cut(text, "\r\n")
	used, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.ConfigSet(t.Context(), "maxmemory", strconv.Itoa(of(used))).Err(); err != nil {
		t.Fatal(err)
	}
}
