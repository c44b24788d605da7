package comments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

func wantNobodyWaits(t *testing.T, a *arrivals) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) != 0 {
		t.Errorf("%d requests are counted, and none waits", len(a.waiting))
	}
}

// missing is an entity that no read finds. It counts the reads.
type missing struct {
	mu    sync.Mutex
	reads int
}

func (m *missing) read() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return false, nil
}

// fill has n requests wait, for ids of their own, until ctx is done or the returned
// channel has an error for each.
func fill(ctx context.Context, a *arrivals, n int) <-chan error {
	ended := make(chan error, n)
	for i := range n {
		go func() { ended <- a.await(ctx, fmt.Sprint(i), new(missing).read) }()
	}
	synctest.Wait()
	return ended
}

// A request for which there is no place is answered at once, and the others go on waiting.
func TestSoManyRequestsWaitAndNotOneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals()
		ended := fill(t.Context(), a, maxWaiting-1)
		start := time.Now()
		last := make(chan error, 1)
		go func() { last <- a.await(t.Context(), "the last", new(missing).read) }()
		synctest.Wait()

		var m missing
		for _, id := range []string{"one more", "the last"} { // also for an id that others wait for
			if err := a.await(t.Context(), id, m.read); !errors.Is(err, errTooManyWaiting) || time.Since(start) != 0 {
				t.Errorf("%s: error %v after %v", id, err, time.Since(start))
			}
		}
		if m.reads != 2 {
			t.Errorf("%d reads, want one for each", m.reads)
		}
		// An entity that is there is found without a place.
		if err := a.await(t.Context(), "there", func() (bool, error) { return true, nil }); err != nil {
			t.Error(err)
		}

		a.wake("the last")
		a.wake("one more")
		synctest.Wait()
		select {
		case err := <-last: // it has read again, and goes on waiting
			t.Fatalf("the last one ended: %v", err)
		default:
		}
		for range maxWaiting - 1 {
			if err := <-ended; !errors.Is(err, errNotArrived) {
				t.Errorf("error %v", err)
			}
		}
		if err := <-last; !errors.Is(err, errNotArrived) {
			t.Errorf("the last one: error %v", err)
		}
		wantNobodyWaits(t, a)
	})
}

func TestAClientThatGoesAwayGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals()
		going, leave := context.WithCancel(t.Context())
		ended := fill(going, a, 1)
		staying := make(chan error, maxWaiting)
		for range maxWaiting - 1 {
			go func() { staying <- a.await(t.Context(), "0", new(missing).read) }()
		}
		synctest.Wait()
		if err := a.await(t.Context(), "0", new(missing).read); !errors.Is(err, errTooManyWaiting) {
			t.Fatalf("error %v", err)
		}
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("who went away: error %v", err)
		}
		go func() { staying <- a.await(t.Context(), "0", new(missing).read) }()
		synctest.Wait()
		if err := a.await(t.Context(), "0", new(missing).read); !errors.Is(err, errTooManyWaiting) {
			t.Errorf("one place was given back, and one more taken: error %v", err)
		}
		for range maxWaiting {
			if err := <-staying; !errors.Is(err, errNotArrived) {
				t.Errorf("error %v", err)
			}
		}
		wantNobodyWaits(t, a)
	})
}

func TestAnArrivalWakesUpAllWhoWaitForItAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals()
		var came bool
		read := func() (bool, error) { return came, nil }
		woken := make(chan error, 10)
		for range cap(woken) {
			go func() { woken <- a.await(t.Context(), "it", read) }()
		}
		other := fill(t.Context(), a, 1)
		start := time.Now()
		time.Sleep(arrivalPause / 2) // of the bubble's clock
		came = true
		a.wake("it")
		for range cap(woken) {
			if err := <-woken; err != nil || time.Since(start) != arrivalPause/2 {
				t.Errorf("error %v after %v", err, time.Since(start))
			}
		}
		if err := <-other; !errors.Is(err, errNotArrived) || time.Since(start) != arrivalWait {
			t.Errorf("who waited for another: error %v after %v", err, time.Since(start))
		}
		wantNobodyWaits(t, a)
	})
}

// The event is handled after the first read has found nothing, and before await goes on.
func TestWhatArrivesDuringTheFirstLookWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals()
		var found []bool
		start := time.Now()
		err := a.await(t.Context(), "it", func() (bool, error) {
			found = append(found, len(found) > 0)
			a.wake("it")
			return found[len(found)-1], nil
		})
		if err != nil || !slices.Equal(found, []bool{false, true}) || time.Since(start) != 0 {
			t.Errorf("reads %v and error %v after %v", found, err, time.Since(start))
		}
		wantNobodyWaits(t, a)
	})
}

// A request that comes after an arrival waits for the next event with that id.
func TestWhoComesAfterAnArrivalWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArrivals()
		first := make(chan error, 1)
		gone, leave := context.WithCancel(t.Context())
		go func() { first <- a.await(gone, "it", new(missing).read) }()
		synctest.Wait()
		a.wake("it")
		synctest.Wait()
		second := make(chan error, 1)
		go func() { second <- a.await(t.Context(), "it", new(missing).read) }()
		synctest.Wait()
		leave()
		<-first // and takes nothing away from the second
		start := time.Now()
		a.wake("it")
		if err := <-second; !errors.Is(err, errNotArrived) {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
		wantNobodyWaits(t, a)
	})
}

func TestALongLookDoesNotMakeTheWaitLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := newArrivals().await(t.Context(), "it", func() (bool, error) {
			time.Sleep(arrivalPause / 3) // of the bubble's clock
			return false, nil
		})
		if took := time.Since(start); !errors.Is(err, errNotArrived) || took != arrivalWait+arrivalPause/3 {
			t.Errorf("error %v after %v", err, took)
		}
	})
}

// The client's host waits for web.FirstTry and then repeats the request.
func TestTheWaitEndsWellWithinTheFirstTryOfTheClientsHost(t *testing.T) {
	if arrivalWait > web.FirstTry*2/3 {
		t.Errorf("it waits for %v", arrivalWait)
	}
}

// A request for a made-up id costs three reads and is answered with a 503, or a 404, by each route.
func TestWhatMayBeOnItsWayIsReadThreeTimesAndUnavailable(t *testing.T) {
	for name, test := range map[string]struct {
		method, path, body, key string
		status                  int
	}{
		"list":    {http.MethodGet, "/posts/%s/comments", "", "post-%s", 503},
		"head":    {http.MethodHead, "/posts/%s/comments", "", "post-%s", 503},
		"create":  {http.MethodPost, "/posts/%s/comments", `{"content":"a"}`, "post-%s", 503},
		"comment": {http.MethodGet, "/posts/x/comments/%s", "", "comment-%s", 404},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, idAt(time.Now(), 0))
				id := idAt(time.Now(), 1)
				before, start := len(s.store.Calls(statetest.Get)), time.Now()
				res := s.do(test.method, fmt.Sprintf(test.path, id), "key", test.body)
				if res.Code != test.status || (res.Header().Get("Retry-After") == "1") != (test.status == 503) {
					t.Errorf("answered %d %s with Retry-After %q", res.Code, res.Body, res.Header().Get("Retry-After"))
				}
				if took := time.Since(start); took != arrivalWait {
					t.Errorf("took %v, want %v", took, arrivalWait)
				}
				if reads := len(s.store.Calls(statetest.Get)) - before; reads != 3 || s.store.Named(statetest.Get, fmt.Sprintf(test.key, id)) != 3 {
					t.Errorf("%d reads: %q", reads, s.store.Calls(statetest.Get)[before:])
				}
				if n := len(s.journal.Events()) + s.journal.Claims(); n > 0 {
					t.Errorf("%d events and claims", n)
				}
			})
		})
	}
}

// While as many requests wait as may, others are answered with a 503 at once.
func TestWhileTooManyWaitOthersAreUnavailableAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		post := idAt(time.Now(), 0)
		s := newSite(t, post)
		var all sync.WaitGroup
		for n := range maxWaiting {
			for _, path := range []string{"/posts/%s/comments", "/posts/" + post + "/comments/%s"} {
				all.Go(func() { s.do(http.MethodGet, fmt.Sprintf(path, idAt(time.Now(), 10+n)), "", "") })
			}
		}
		synctest.Wait()
		start, id := time.Now(), idAt(time.Now(), 1)
		for _, r := range []struct{ method, path, body, key string }{
			{http.MethodGet, "/posts/" + id + "/comments", "", "post-" + id},
			{http.MethodPost, "/posts/" + id + "/comments", `{"content":"a"}`, "post-" + id},
			{http.MethodGet, "/posts/" + post + "/comments/" + id, "", "comment-" + id},
		} {
			before := s.store.Named(statetest.Get, r.key)
			res := s.do(r.method, r.path, "", r.body)
			if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") != "1" || time.Since(start) != 0 {
				t.Errorf("%s %s: answered %d %s after %v", r.method, r.path, res.Code, res.Body, time.Since(start))
			}
			if n := s.store.Named(statetest.Get, r.key) - before; n != 1 {
				t.Errorf("%s %s: %d reads, want 1", r.method, r.path, n)
			}
		}
		// Readers and writers of what is there, and of what can't be, do not notice.
		for path, status := range map[string]int{
			"/posts/" + post + "/comments":                                        http.StatusOK,
			"/posts/" + idAt(time.Now().Add(-time.Hour), 2) + "/comments":         http.StatusNotFound,
			"/posts/" + post + "/comments/" + idAt(time.Now().Add(-time.Hour), 2): http.StatusNotFound,
		} {
			if res := s.do(http.MethodGet, path, "", ""); res.Code != status || time.Since(start) != 0 {
				t.Errorf("%s: answered %d %s after %v", path, res.Code, res.Body, time.Since(start))
			}
		}
		if res := s.do(http.MethodPost, "/posts/"+post+"/comments", "", `{"content":"a"}`); res.Code != http.StatusCreated || time.Since(start) != 0 {
			t.Errorf("answered %d %s after %v", res.Code, res.Body, time.Since(start))
		}
		all.Wait()
		wantNobodyWaits(t, s.posts.arrivals)
	})
}

// A client that goes away ends its wait, at the service as well.
func TestARequestThatIsGivenUpFreesItsPlace(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, idAt(time.Now(), 0))
		ctx, cancel := context.WithCancel(t.Context())
		req := httptest.NewRequest(http.MethodGet, "/posts/"+idAt(time.Now(), 1)+"/comments", strings.NewReader("")).WithContext(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.handler.ServeHTTP(httptest.NewRecorder(), req)
		}()
		synctest.Wait()
		start := time.Now()
		cancel()
		<-done
		if took := time.Since(start); took != 0 {
			t.Errorf("it went on for %v", took)
		}
		if log.Len() > 0 { // nobody could do anything about it
			t.Errorf("it was logged: %s", log.String())
		}
		wantNobodyWaits(t, s.posts.arrivals)
	})
}

// A post that comes while a request for it waits is answered with what it asked for.
func TestARequestIsAnsweredWhenItsPostArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, idAt(time.Now(), 0))
		id := idAt(time.Now(), 1)
		time.AfterFunc(110*time.Millisecond, func() {
			wantErrors(t, s.deliver(event.PostCreated)(context.Background(), []event.Event{postCreated(t, id, "a")}), nil)
		})
		start := time.Now()
		if res := s.do(http.MethodPost, "/posts/"+id+"/comments", "", `{"content":"a"}`); res.Code != http.StatusCreated {
			t.Errorf("answered %d %s", res.Code, res.Body)
		}
		if took := time.Since(start); took != 110*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}
