package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

// TestWithoutTheStoresWritesAre503AndReadsGoOn covers a server that has stopped and one that
// hangs. Requests that need it must fail soon.
func TestWithoutTheStoresWritesAre503AndReadsGoOn(t *testing.T) {
	s := shared
	before := s.write(t, 1, 2)
	eventually(t, func() error { return before.shownAt(t, s, s.App("query").Port) })
	for name, fault := range map[string]struct{ breakIt, mendIt func() error }{
		"stopped": {s.stopStores, func() error { return s.startStores(t.Context()) }},
		"hanging": {
			func() error { return s.signalStores(syscall.SIGSTOP) },
			func() error { return s.signalStores(syscall.SIGCONT) },
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
			within(t, s.storesBackWithin(), func() error {
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

// storesBackWithin is how long the stores may take to take writes again. Sentinels that were
// stopped may have another master first.
func (s *stack) storesBackWithin() time.Duration {
	if _, ok := serverOf[*system.RedisGroup](s); ok {
		return untilPromotedByItself
	}
	return 5 * time.Second
}

// Every consumer is idempotent, so setting a group back delivers what it missed and harms
// nothing else. The test acknowledges messages in the place of a service that is down.
func TestAGroupThatIsSetBackGetsWhatItMissed(t *testing.T) {
	needs(t, redisKind, "consumer groups are Redis's")
	s := shared
	store := s.store(t)
	for service, received := range map[string]map[string]int{ // events that it receives of a post with two comments
		"moderation": {"CommentCreated": 2},
		"eventlog":   {"PostCreated": 1, "CommentCreated": 2, "CommentModerated": 2, "CommentUpdated": 2},
	} {
		t.Run(service, func(t *testing.T) {
			s.quiet(t)
			group, before := s.App(service).ID, time.Now()
			var killed []*system.Process
			for _, port := range []int{s.App(service).Port, s.App(service).HTTPPort} {
				p := s.process(t, port)
				kill(t, p)
				killed = append(killed, p)
			}
			missed := s.write(t, 1, 2)
			for topic, left := range received {
				for left > 0 {
					eventually(t, func() error {
						n, err := acknowledgeNext(t, store, topic, group)
						left -= n
						return err
					})
				}
			}
			s.restart(t, killed)
			awaitReady(t, s.App(service))
			after := s.write(t, 1, 2)
			eventually(t, func() error { return after.shownAt(t, s, s.App("query").Port) })
			if err := missed.shownAt(t, s, s.App("query").Port); err == nil {
				t.Fatal("nothing was missed")
			}
			for topic := range received {
				if err := store.XGroupSetID(t.Context(), topic, group, strconv.FormatInt(before.UnixMilli(), 10)).Err(); err != nil {
					t.Fatal(err)
				}
			}
			s.write(t, 1, 2) // A sidecar that waits for something new wakes up with that alone.
			eventually(t, func() error { return missed.shownAt(t, s, s.App("query").Port) })
			s.quiet(t)
			checkLog(t, events(t, s.App("eventlog")))
			logged, err := inTheLogSoFar(s.App("eventlog"), 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range missed.posts {
				for _, topic := range topics {
					ofPost := topic == "PostCreated" // and the others of comments
					if n := logged[topic+" "+p.ID]; (n == 1) != ofPost || n > 1 {
						t.Errorf("the log has %d %s of the post", n, topic)
					}
					for id := range missed.statuses[p.ID] {
						if n := logged[topic+" "+id]; (n == 0) != ofPost || n > 1 {
							t.Errorf("the log has %d %s of a comment", n, topic)
						}
					}
				}
			}
		})
	}
}

// acknowledgeNext acknowledges the messages that the group has not received yet, and
// returns their number. It is an error if there are none.
func acknowledgeNext(t *testing.T, store *redis.Client, topic, group string) (int, error) {
	t.Helper()
	read, err := store.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: group, Streams: []string{topic, ">"}, Block: -1}).Result()
	if err != nil {
		return 0, err
	}
	var ids []string
	for _, m := range read[0].Messages {
		ids = append(ids, m.ID)
	}
	return len(ids), store.XAck(t.Context(), topic, group, ids...).Err()
}
