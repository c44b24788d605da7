package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestWithoutRedisWritesAre503AndReadsGoOn covers a Redis that is gone and one
// that hangs: what waits for it must not wait for long.
func TestWithoutRedisWritesAre503AndReadsGoOn(t *testing.T) {
	s := shared
	before := s.write(t, 1, 2)
	eventually(t, func() error { return before.shownAt(t, s, s.App("query").Port) })
	for name, fault := range map[string]struct{ breakIt, mendIt func() error }{
		"stopped": {s.redis.Stop, func() error { return s.redis.Start(t.Context()) }},
		"hanging": {
			func() error { return s.redis.Signal(syscall.SIGSTOP) },
			func() error { return s.redis.Signal(syscall.SIGCONT) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := fault.breakIt(); err != nil {
				t.Fatal(err)
			}
			mended := false
			mend := func() {
				if err := fault.mendIt(); err != nil {
					t.Fatal(err)
				}
				mended = true
			}
			defer func() {
				if !mended {
					mend()
				}
			}()
			requests := map[string]string{
				s.url("posts", "/posts/create"):                             `{"title":"x"}`,
				s.url("comments", "/posts/"+before.posts[0].ID+"/comments"): `{"content":"x"}`,
			}
			for url, body := range requests {
				for _, headers := range [][]string{nil, {"Idempotency-Key: during " + name}} {
					r := want(t, 503, "POST", url, body, headers...)
					for again := 0; r.took > 3*time.Second && again < 3; again++ { // the machine may be busy
						r = want(t, 503, "POST", url, body, headers...)
					}
					if r.took > 3*time.Second {
						t.Errorf("POST %s took %s", url, r.took)
					}
					if r.header.Get("Retry-After") == "" {
						t.Errorf("POST %s: no Retry-After", url)
					}
				}
				if err := before.shownAt(t, s, s.App("query").Port); err != nil {
					t.Error("reads do not go on:", err)
				}
			}
			mend()
			within(t, 5*time.Second, func() error {
				answers := make(chan error, len(requests)) // at the same time: each may take its 2 s
				for url, body := range requests {
					go func() {
						r, err := do("POST", url, body)
						if err == nil && r.status != 201 {
							err = fmt.Errorf("POST %s: %s", url, r)
						}
						answers <- err
					}()
				}
				var errs []error
				for range requests {
					errs = append(errs, <-answers)
				}
				return errors.Join(errs...)
			})
			after := s.write(t, 1, 2)
			within(t, 2*soon, func() error { return after.shownAt(t, s, s.App("query").Port) })
			checkLog(t, events(t, s.App("eventlog")))
		})
	}
}

// Every consumer takes an event twice for once, so whatever a group has missed is put
// right by setting it back. What was acknowledged and not handled is taken from the
// group here while its service is down.
func TestAGroupThatIsSetBackGetsWhatItMissed(t *testing.T) {
	s := shared
	store := s.store(t)
	for service, topics := range map[string][]string{
		"moderation": {"CommentCreated"},
		"eventlog":   {"PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated"},
	} {
		t.Run(service, func(t *testing.T) {
			s.quiet(t, store)
			group, before := s.App(service).ID, time.Now()
			killed := s.killAll(t, s.App(service).Port, s.App(service).HTTPPort)
			for _, p := range killed {
				if err := p.AwaitEnd(t.Context()); err != nil { // it is given nothing any more
					t.Fatal(err)
				}
			}
			missed := s.write(t, 1, 2)
			for _, topic := range topics {
				eventually(t, func() error { return acknowledgeAll(t, store, topic, group) })
			}
			s.restart(t, killed)
			awaitReady(t, s.App(service))
			after := s.write(t, 1, 2)
			eventually(t, func() error { return after.shownAt(t, s, s.App("query").Port) })
			if err := missed.shownAt(t, s, s.App("query").Port); err == nil {
				t.Fatal("nothing was missed")
			}
			for _, topic := range topics {
				if err := store.XGroupSetID(t.Context(), topic, group, strconv.FormatInt(before.UnixMilli(), 10)).Err(); err != nil {
					t.Fatal(err)
				}
			}
			s.write(t, 1, 2) // A sidecar that waits for something new wakes up with that alone.
			eventually(t, func() error { return missed.shownAt(t, s, s.App("query").Port) })
			s.quiet(t, store)
			checkLog(t, events(t, s.App("eventlog")))
		})
	}
}

// acknowledgeAll acknowledges what the group has not been given yet, and returns an
// error when there is nothing of that.
func acknowledgeAll(t *testing.T, store *redis.Client, topic, group string) error {
	t.Helper()
	read, err := store.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: group, Streams: []string{topic, ">"}, Block: -1}).Result()
	if err != nil {
		return err
	}
	var ids []string
	for _, m := range read[0].Messages {
		ids = append(ids, m.ID)
	}
	return store.XAck(t.Context(), topic, group, ids...).Err()
}
