package e2e

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
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
