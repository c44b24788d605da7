package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

// newFollower follows the log of a server, with its snapshots in a store.
func newFollower(l *querytest.LogServer, store state.Store) *Follower {
	m := model.New()
	return New(m, querytest.ClientOf(l), snapshot.New(m, store, time.Second, time.Now), time.Now)
}

// follow runs a follower of the server until the test ends.
func follow(t testing.TB, l *querytest.LogServer, store state.Store) *Follower {
	t.Helper()
	f := newFollower(l, store)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return f
}

// saved is a store with the snapshot of a log.
func saved(t testing.TB, log []event.Event) *statetest.Memory { return savedIn(t, "", log) }

// savedIn is a store with the snapshot of a log with an id.
func savedIn(t testing.TB, id string, log []event.Event) *statetest.Memory {
	t.Helper()
	store := statetest.New()
	if err := snapshot.New(querytest.ModelIn(t, id, log, 0), store, time.Second, time.Now).Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// manifestKey is that of a snapshot's manifest.
const manifestKey = "snapshot-manifest"

// logged gets what is logged from now on. It is to be read when those that log have ended.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &out
}

func TestMain(m *testing.M) { querytest.Main(m) }

func TestAFollowerCatchesUpAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(querytest.SomeLog())
		f := follow(t, l, statetest.New())
		synctest.Wait()
		querytest.WantAt(t, f.model, querytest.SomeLog(), true)
		for i := range 5 {
			time.Sleep(1300 * time.Millisecond) // of the bubble's clock
			l.Append(querytest.Posted(50 + i))
			synctest.Wait() // no time goes by: the read that waits brings it
			querytest.WantAt(t, f.model, querytest.Numbered(0, append(querytest.SomeLog(), querytest.Posts(50, 51+i)...)...), true)
		}
	})
}

// A newer version may run beside this one, or have run before it.
func TestAFollowerGoesOnOverWhatItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unknown := querytest.UnknownOf(querytest.Posted(1))
		log := append(querytest.SomeLog(), unknown, querytest.Posted(50), querytest.Quarantined(querytest.Approved(102, 1)), querytest.UnknownOf(querytest.Posted(2)))
		log = querytest.Numbered(0, log...)
		l := querytest.LogOf(querytest.OneLog, log)
		l.Most = 4 // so that some batches end with what is not known
		store := statetest.New()
		f := follow(t, l, store)
		synctest.Wait()
		querytest.WantAt(t, f.model, log, true)
		log = append(log, querytest.Numbered(len(log), unknown)...)
		l.Append(unknown)
		synctest.Wait() // no time goes by: the read that waits brings it
		querytest.WantAt(t, f.model, log, true)
		if at := f.model.Status().At; at != l.End() {
			t.Errorf("the model stands at %s, and the log at %s", at, l.End())
		}
		// A snapshot stands at an event that is not known.
		if err := snapshot.New(f.model, store, time.Second, time.Now).Save(t.Context()); err != nil {
			t.Fatal(err)
		}
		log = append(log, querytest.Numbered(len(log), querytest.Approved(103, 1))...)
		l.Append(querytest.Approved(103, 1))
		again := follow(t, l, store)
		synctest.Wait()
		querytest.WantAt(t, again.model, log, true)
	})
}

func TestAnEmptyLogIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, querytest.NewLogServer(nil), statetest.New())
		synctest.Wait()
		querytest.WantAt(t, f.model, nil, true)
	})
}

func TestAFollowerIsReadyWhenItStandsWhereTheLogStoodAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.Numbered(0, querytest.Posts(1, 26)...)
		gates := map[int]chan struct{}{2: make(chan struct{}), 3: make(chan struct{}), 4: make(chan struct{})}
		l := querytest.NewLogServer(log)
		l.Most = 10
		l.Instead = func(n int, _ http.ResponseWriter) bool {
			if gate, ok := gates[n]; ok {
				<-gate
			}
			return false
		}
		f := follow(t, l, statetest.New())
		synctest.Wait()
		querytest.WantAt(t, f.model, log[:10], false)
		// What comes now is not waited for: otherwise a busy log would never be caught up with.
		l.Append(querytest.Posts(100, 110)...)
		close(gates[2])
		synctest.Wait()
		querytest.WantAt(t, f.model, log[:20], false)
		close(gates[3])
		synctest.Wait()
		querytest.WantAt(t, f.model, querytest.Numbered(0, append(log, querytest.Posts(100, 105)...)...), true)
		close(gates[4])
	})
}

// As long as it isn't ready it asks for what is there, and then it waits.
func TestAFollowerWaitsAtTheLogOnlyOnceItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(querytest.Numbered(0, querytest.Posts(1, 26)...))
		l.Most = 10
		follow(t, l, statetest.New())
		synctest.Wait()
		want := []querytest.Question{{After: 0, Limit: eventlog.ReadLimit, Wait: 0}, {After: 10, Limit: eventlog.ReadLimit, Wait: 0}, {After: 20, Limit: eventlog.ReadLimit, Wait: 0}, {After: 25, Limit: eventlog.ReadLimit, Wait: 1}}
		if got := l.Questions(); !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		if n := len(l.Questions()); n > len(want)+10 {
			t.Errorf("%d reads in 10 quiet seconds", n-len(want))
		}
	})
}

func TestAFollowerKeepsOnAfterErrors(t *testing.T) {
	log := querytest.SomeLog()
	answer := func(status int, sequence string, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if sequence != "" {
				w.Header().Set(eventlog.SequenceHeader, sequence)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, bad := range map[string]func(http.ResponseWriter){
		"no event log":          answer(http.StatusInternalServerError, "", `{"errorCode":"ERR_DIRECT_INVOKE"}`),
		"it is loading":         answer(http.StatusServiceUnavailable, "15", `{}`),
		"an empty answer":       answer(http.StatusOK, "15", ""),
		"no number":             answer(http.StatusOK, "", string(querytest.Batch(log))),
		"another number":        answer(http.StatusOK, "many", string(querytest.Batch(log))),
		"cut off":               answer(http.StatusOK, "15", string(querytest.Batch(log[:9])[:900])),
		"no events":             answer(http.StatusOK, "15", `[{"specversion":"1.0"}]`),
		"something else":        answer(http.StatusOK, "15", "<html>"),
		"a gap at once":         answer(http.StatusOK, "15", string(querytest.Batch(log[1:]))),
		"a gap after something": answer(http.StatusOK, "15", string(querytest.Batch(append(log[:4:4], log[5:]...)))),
	} {
		synctest.Test(t, func(t *testing.T) {
			const failures = 20
			l := querytest.NewLogServer(log)
			l.Instead = func(n int, w http.ResponseWriter) bool {
				if n <= failures {
					bad(w)
				}
				return n <= failures
			}
			f := follow(t, l, statetest.New())
			synctest.Wait()
			if f.model.Status().Ready {
				t.Errorf("%s: ready", name)
			}
			if at := querytest.At(f.model); at != 0 && (at != 4 || name != "a gap after something") {
				t.Errorf("%s: stands at %d", name, at)
			}
			time.Sleep(failures * retryDelay) // of the bubble's clock
			synctest.Wait()
			t.Log(name)
			querytest.WantAt(t, f.model, log, true)
			if n := len(l.Questions()); n < failures || n > failures+2 {
				t.Errorf("%s: %d reads", name, n)
			}
		})
	}
}

// All services start at once: that the log is not there yet is nothing to act on.
func TestAFollowerWarnsOfALogThatIsAwayOnlyIfItStaysAwayOrWasThere(t *testing.T) {
	const warning = "can't read the event log"
	for name, test := range map[string]struct {
		there, away time.Duration // since the start; then it is there again
		warnings    int
	}{
		"not yet there":           {0, eventlog.QuietStart - time.Second, 0},
		"it does not come":        {0, eventlog.QuietStart + time.Second, 1},
		"away after it was there": {time.Second, 2 * time.Second, 1},
	} {
		said := logged(t)
		synctest.Test(t, func(t *testing.T) {
			l := querytest.NewLogServer(querytest.SomeLog())
			start := time.Now()
			l.Instead = func(_ int, w http.ResponseWriter) bool {
				at := time.Since(start)
				gone := at >= test.there && at < test.away
				if gone {
					w.WriteHeader(http.StatusInternalServerError)
				}
				return gone
			}
			f := follow(t, l, statetest.New())
			time.Sleep(eventlog.QuietStart + 2*time.Second) // of the bubble's clock
			synctest.Wait()
			querytest.WantAt(t, f.model, querytest.SomeLog(), true)
		})
		if got := strings.Count(said.String(), warning); got != test.warnings {
			t.Errorf("%s: %d warnings, want %d", name, got, test.warnings)
		}
	}
}

// Only the start of the services is quiet, and a follower that begins anew does not start.
func TestAFollowerThatBeginsAnewWarnsOfALogThatGoesAway(t *testing.T) {
	for name, beginAnew := range map[string]func(l *querytest.LogServer, answers *atomic.Int64){
		"the log was read, and is replaced": func(l *querytest.LogServer, answers *atomic.Int64) {
			answers.Store(2)           // one to the read that catches up, and one to the read that waits
			time.Sleep(2 * retryDelay) // of the bubble's clock
			l.Replace(querytest.OtherLog, querytest.OtherEvents(3))
		},
		"the log's first answer is that it is another one": func(l *querytest.LogServer, answers *atomic.Int64) {
			l.Replace(querytest.OtherLog, querytest.OtherEvents(3))
			time.Sleep(eventlog.QuietStart - time.Second) // of the bubble's clock
			answers.Store(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := logged(t)
			synctest.Test(t, func(t *testing.T) {
				l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
				var answers atomic.Int64 // how many more requests the log answers
				l.Instead = func(_ int, w http.ResponseWriter) bool {
					if answers.Add(-1) >= 0 {
						return false
					}
					w.WriteHeader(http.StatusInternalServerError)
					return true
				}
				f := follow(t, l, savedIn(t, querytest.OneLog, querytest.SomeLog()))
				beginAnew(l, &answers)
				time.Sleep(2 * time.Second) // of the bubble's clock, as all here
				querytest.WantAt(t, f.model, nil, false)
			})
			if n := strings.Count(said.String(), "can't read the event log"); n != 1 {
				t.Errorf("%d warnings, want 1:\n%s", n, said)
			}
		})
	}
}

// A long log is read in several batches at once, which are folded in the log's order.
func TestALongLogIsFoldedInItsOrder(t *testing.T) {
	long := querytest.Posts(1, 4)
	for i := range 5*eventlog.ReadLimit - len(long) + 200 {
		long = append(long, querytest.Commented(100+i, 1+i%3))
	}
	log := querytest.Numbered(0, long...)
	want := querytest.ModelOf(t, log).Posts(model.Newest, 3)
	const reads = 6
	for name, c := range map[string]struct {
		instead  func(n, after int, w http.ResponseWriter) bool
		failures int
		reads    [2]int // the least and the most
	}{
		"one answer at a time": {func(n, _ int, _ http.ResponseWriter) bool {
			time.Sleep(time.Duration(n) * time.Millisecond) // of the bubble's clock, as all here
			return false
		}, 0, [2]int{reads, reads}},
		"the last answer first": {func(n, _ int, _ http.ResponseWriter) bool {
			time.Sleep(time.Duration(reads-n) * time.Millisecond)
			return false
		}, 0, [2]int{reads, reads}},
		"one that fails": {func(n, _ int, w http.ResponseWriter) bool {
			if n == 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n == 3
		}, 1, [2]int{reads + 1, 2 * reads}},
		"one that isn't full": {func(n, after int, w http.ResponseWriter) bool {
			if n == 3 {
				w.Header().Set(eventlog.SequenceHeader, strconv.Itoa(len(log)))
				_, _ = w.Write(querytest.Batch(log[after : after+100]))
			}
			return n == 3
		}, 0, [2]int{reads + 1, 2 * reads}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := querytest.NewLogServer(log)
				l.Instead = func(n int, w http.ResponseWriter) bool { return c.instead(n, l.Questions()[n-1].After, w) }
				start := time.Now()
				f := follow(t, l, statetest.New())
				time.Sleep(retryDelay - time.Millisecond) // of the bubble's clock
				synctest.Wait()
				if f.model.Status().Ready != (c.failures == 0) {
					t.Errorf("ready %v after %v", f.model.Status().Ready, time.Since(start))
				}
				time.Sleep(time.Duration(c.failures) * retryDelay)
				synctest.Wait()
				if !f.model.Status().Ready || querytest.At(f.model) != uint64(len(log)) {
					t.Fatalf("stands at %d of %d, ready %v", querytest.At(f.model), len(log), f.model.Status().Ready)
				}
				if got := f.model.Posts(model.Newest, 3); got.ETag != want.ETag {
					t.Error("the first page is not that of the log")
				}
				replay := slices.DeleteFunc(l.Questions(), func(q querytest.Question) bool { return q.Wait > 0 })
				if n := len(replay); n < c.reads[0] || n > c.reads[1] {
					t.Errorf("%d reads, %d to %d expected", n, c.reads[0], c.reads[1])
				}
			})
		})
	}
}

// The batches of a replay are of one log: another one, or another end of it, would show
// in no number.
func TestALogThatLosesItsEndDuringAReplayIsReadFromItsStart(t *testing.T) {
	const n = 3 * eventlog.ReadLimit
	log := querytest.Numbered(0, querytest.Posts(1, 1+n)...)
	other := querytest.Numbered(0, append(slices.Clone(log[:eventlog.ReadLimit-1]), querytest.Posts(n+1, 2*n)...)...)
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OneLog, log)
		l.Instead = func(n int, _ http.ResponseWriter) bool {
			if n == 2 {
				l.Replace(querytest.OneLog, other)
			}
			return false
		}
		f := follow(t, l, statetest.New())
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		if at := f.model.Status().At; at != l.End() || !f.model.Status().Ready {
			t.Fatalf("it stands at %s, want %s", at, l.End())
		}
		if f.model.Posts(model.Newest, model.MaxLimit).ETag != querytest.ModelOf(t, other).Posts(model.Newest, model.MaxLimit).ETag ||
			f.model.Post(uuid.MustParse(querytest.UUID7(eventlog.ReadLimit)), model.Newest, 1) != nil {
			t.Error("it shows what is not in the log")
		}
	})
}

func TestAFollowerServesOnWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away sync.Mutex
		gone := false
		l := querytest.NewLogServer(querytest.SomeLog())
		l.Instead = func(_ int, w http.ResponseWriter) bool {
			away.Lock()
			defer away.Unlock()
			if gone {
				w.WriteHeader(http.StatusBadGateway)
			}
			return gone
		}
		set := func(is bool) {
			away.Lock()
			defer away.Unlock()
			gone = is
		}
		f := follow(t, l, statetest.New())
		synctest.Wait()
		set(true)
		time.Sleep(time.Minute) // of the bubble's clock
		querytest.WantAt(t, f.model, querytest.SomeLog(), true)
		set(false)
		l.Append(querytest.Posted(77))
		time.Sleep(retryDelay)
		synctest.Wait()
		querytest.WantAt(t, f.model, querytest.Numbered(0, append(querytest.SomeLog(), querytest.Posted(77))...), true)
	})
}

func TestAFollowerReadsOnFromItsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		l := querytest.NewLogServer(log)
		f := follow(t, l, saved(t, log[:9]))
		synctest.Wait()
		querytest.WantAt(t, f.model, log, true)
		if got := l.Questions(); got[0].After != 9 {
			t.Errorf("asked %v", got)
		}
	})
}

func TestAFollowerWhoseSnapshotIsTheWholeLogIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, querytest.NewLogServer(querytest.SomeLog()), saved(t, querytest.SomeLog()))
		synctest.Wait()
		querytest.WantAt(t, f.model, querytest.SomeLog(), true)
	})
}

func TestASnapshotOfAnotherLogIsDiscarded(t *testing.T) {
	for name, log := range map[string][]event.Event{"a shorter one": querytest.Numbered(0, querytest.Posted(50), querytest.Posted(51), querytest.Commented(500, 51)), "an empty one": nil} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t, querytest.NewLogServer(log), saved(t, querytest.SomeLog()))
			synctest.Wait()
			t.Log(name)
			querytest.WantAt(t, f.model, log, true)
		})
	}
}

func TestADamagedSnapshotIsRebuiltFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, querytest.SomeLog())
		for _, key := range store.Keys("snapshot-") {
			if key != manifestKey {
				store.Put(key, "oops")
			}
		}
		f := follow(t, querytest.NewLogServer(querytest.SomeLog()), store)
		time.Sleep(2 * time.Second) // of the bubble's clock: the snapshot is tried more than once
		querytest.WantAt(t, f.model, querytest.SomeLog(), true)
	})
}

// The replica of the event log that the waiting read is at may be the one that
// does not know of the event yet.
func TestADeliveryMakesItReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(querytest.SomeLog())
		l.Unaware = true
		f := follow(t, l, statetest.New())
		synctest.Wait()
		log := querytest.SomeLog()
		for i, e := range []event.Event{querytest.Posted(50), querytest.Commented(501, 50), querytest.Approved(501, 50)} {
			synctest.Wait() // the read that waits has begun
			began := time.Now()
			l.Append(e)
			log = querytest.Numbered(0, append(log, e)...)
			synctest.Wait()
			if at := querytest.At(f.model); at != uint64(len(log))-1 {
				t.Fatalf("the test is of no use: it stands at %d before the delivery", at)
			}
			if err := errors.Join(f.Deliver(t.Context(), []event.Event{e})...); err != nil {
				t.Fatal(err)
			}
			grown := f.model.Status().Changed
			<-grown
			if took := time.Since(began); took > deliveryGrace {
				t.Errorf("event %d took %v", i, took)
			}
			querytest.WantAt(t, f.model, log, true)
		}
	})
}

// On a busy machine events are delivered faster than the log answers.
func TestDeliveriesDoNotEndEveryRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(nil)
		l.Slow = 4 * deliveryGrace
		f := follow(t, l, statetest.New())
		time.Sleep(time.Second) // of the bubble's clock: it is ready
		for i := 1; i <= 40; i++ {
			l.Append(querytest.Posted(i))
			if err := errors.Join(f.Deliver(t.Context(), querytest.Posts(i, i+1))...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * deliveryGrace) // of the bubble's clock
		}
		if at := querytest.At(f.model); at < 30 {
			t.Errorf("it stands at %d of 40", at)
		}
	})
}

// Between two reads no read waits that a wake-up could end.
func TestADeliveryBetweenTwoReadsHasTheNextOneAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(nil)
		f := newFollower(l, statetest.New())
		ctx := t.Context()
		f.Deliver(ctx, querytest.Posts(1, 2))
		time.Sleep(deliveryGrace) // of the bubble's clock
		synctest.Wait()
		for range 2 {
			if err := f.readNext(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := l.Questions(), []querytest.Question{{After: 0, Limit: eventlog.ReadLimit, Wait: 0}, {After: 0, Limit: eventlog.ReadLimit, Wait: 1}}; !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
	})
}

func TestADeliveryOfWhatIsKnownDisturbsNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(querytest.SomeLog())
		f := follow(t, l, statetest.New())
		synctest.Wait()
		before := len(l.Questions())
		for _, e := range []event.Event{querytest.Posted(1), querytest.Commented(101, 1), querytest.Approved(101, 1)} {
			f.Deliver(t.Context(), []event.Event{e})
			synctest.Wait()
		}
		time.Sleep(eventlog.ReadWait / 2) // of the bubble's clock
		if n := len(l.Questions()); n != before {
			t.Errorf("%d more reads", n-before)
		}
	})
}

// A batch that is redelivered may end with events that the model has.
func TestADeliveryWakesUpForTheLastEventThatTheModelDoesNotGet(t *testing.T) {
	one, two := querytest.Posted(50), querytest.Posted(51)
	for name, c := range map[string]struct {
		delivered, read []event.Event
		woken           bool
	}{
		"all known":              {[]event.Event{querytest.Posted(1), querytest.Commented(101, 1)}, nil, false},
		"the last":               {[]event.Event{querytest.Posted(1), one}, nil, true},
		"an older one":           {[]event.Event{one, querytest.Posted(1), querytest.Approved(101, 1)}, nil, true},
		"that is read meanwhile": {[]event.Event{one, querytest.Posted(1)}, []event.Event{one}, false},
		"the last of two":        {[]event.Event{one, two, querytest.Posted(1)}, []event.Event{one}, true},
		"both read meanwhile":    {[]event.Event{one, two, querytest.Posted(1)}, []event.Event{one, two}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := New(querytest.ModelOf(t, querytest.SomeLog()), nil, nil, time.Now)
			f.Deliver(t.Context(), c.delivered)
			if err := f.model.Apply("", querytest.Numbered(len(querytest.SomeLog()), c.read...)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(deliveryGrace) // of the bubble's clock
			synctest.Wait()
			_, mayWait, end := f.wakeup.Begin(t.Context())
			end()
			if mayWait == c.woken {
				t.Errorf("%s: woken %v, want %v", name, !mayWait, c.woken)
			}
		})
	}
}

// The usual case: the read that waits brings the event within the grace.
func TestADeliveryOfWhatIsOnItsWayDisturbsNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(nil)
		f := follow(t, l, statetest.New())
		synctest.Wait()
		f.Deliver(t.Context(), querytest.Posts(1, 2))
		synctest.Wait()
		time.Sleep(deliveryGrace / 2) // of the bubble's clock
		l.Append(querytest.Posted(1))
		time.Sleep(deliveryGrace)
		if got, want := l.Questions(), []querytest.Question{{After: 0, Limit: eventlog.ReadLimit, Wait: 0}, {After: 0, Limit: eventlog.ReadLimit, Wait: 1}, {After: 1, Limit: eventlog.ReadLimit, Wait: 1}}; !slices.Equal(got, want) {
			t.Errorf("asked %v, want %v", got, want)
		}
	})
}

// Events are acknowledged whatever becomes of them, the log being down included.
func TestADeliveryIsNeitherRefusedNorHeldUp(t *testing.T) {
	f := New(model.New(), nil, nil, time.Now)
	for i := range 100 {
		if err := errors.Join(f.Deliver(t.Context(), querytest.Posts(i, i+3))...); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatContradictsTheLogIsPoison(t *testing.T) {
	f := New(model.New(), nil, nil, time.Now)
	if err := f.model.Apply("", querytest.SomeLog()); err != nil {
		t.Fatal(err)
	}
	with := func(e event.Event, edit func(p *event.Post, c *event.Comment)) event.Event {
		var p event.Post
		var c event.Comment
		if e.Post != nil {
			p = *e.Post
			e.Post = &p
		}
		if e.Comment != nil {
			c = *e.Comment
			e.Comment = &c
		}
		edit(&p, &c)
		return e
	}
	nothing := func(*event.Post, *event.Comment) {}
	for name, c := range map[string]struct {
		event  event.Event
		edit   func(p *event.Post, c *event.Comment)
		poison bool
	}{
		"a post again":                     {querytest.Posted(1), nothing, false},
		"a post of another title":          {querytest.Posted(1), func(p *event.Post, _ *event.Comment) { p.Title = "forged" }, true},
		"a post that is not known":         {querytest.Posted(77), nothing, false},
		"a comment before its moderation":  {querytest.Commented(101, 1), nothing, false},
		"the same with other content":      {querytest.Commented(101, 1), func(_ *event.Post, c *event.Comment) { c.Content = "forged" }, true},
		"the same by another author":       {querytest.Commented(101, 1), func(_ *event.Post, c *event.Comment) { c.Author = "forged" }, true},
		"a moderated comment again":        {querytest.Approved(101, 1), nothing, false},
		"its other content":                {querytest.Approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Content = "forged" }, true},
		"its other decision":               {querytest.Approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Status = event.Rejected }, true},
		"a later decision":                 {querytest.Approved(101, 1), func(_ *event.Post, c *event.Comment) { c.Status, c.Revision = event.Rejected, 3 }, false},
		"a comment that is not known":      {querytest.Commented(177, 1), nothing, false},
		"a comment on an unknown post":     {querytest.Commented(101, 77), nothing, false},
		"an approval of what is not known": {querytest.Approved(177, 1), nothing, false},
	} {
		errs := f.Deliver(t.Context(), []event.Event{querytest.Posted(1), with(c.event, c.edit)})
		if len(errs) != 2 || errs[0] != nil || (errs[1] != nil) != c.poison || c.poison && !errors.Is(errs[1], bus.ErrPoison) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestADeliveryIsNotLostBehindAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(nil)
		l.Unaware = true
		f := follow(t, l, statetest.New())
		synctest.Wait()
		l.Append(querytest.Posts(1, 3)...)
		f.Deliver(t.Context(), querytest.Posts(1, 2)) // in its grace, after which 1 and 2 are read
		synctest.Wait()
		f.Deliver(t.Context(), querytest.Posts(2, 3)) // waits
		f.Deliver(t.Context(), querytest.Posts(3, 4)) // takes its place
		time.Sleep(deliveryGrace)                     // of the bubble's clock
		synctest.Wait()
		l.Append(querytest.Posted(3))
		time.Sleep(2 * deliveryGrace)
		synctest.Wait()
		if at := querytest.At(f.model); at != 3 {
			t.Errorf("%v after the delivery of event 3 the model stands at %d", 2*deliveryGrace, at)
		}
	})
}

func TestAFollowerEndsWithItsContext(t *testing.T) {
	for name, bad := range map[string]bool{"while it waits": false, "between errors": true} {
		synctest.Test(t, func(t *testing.T) {
			l := querytest.NewLogServer(querytest.SomeLog())
			l.Instead = func(_ int, w http.ResponseWriter) bool {
				if bad {
					w.WriteHeader(http.StatusBadGateway)
				}
				return bad
			}
			f := newFollower(l, statetest.New())
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				f.Run(ctx)
			}()
			synctest.Wait()
			began := time.Now()
			cancel()
			<-ended
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: took %v", name, took)
			}
		})
	}
}

// Everything once over a real network.
func TestAFollowerOverHTTP(t *testing.T) {
	l := querytest.NewLogServer(querytest.SomeLog())
	waits := make(chan struct{}, 1)
	tokens := make(chan string, 1)
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case tokens <- r.Header.Get("dapr-api-token"):
		default:
		}
		if r.URL.Query().Get("wait") == "1" {
			select {
			case waits <- struct{}{}:
			default:
			}
		}
		l.ServeHTTP(w, r)
	}))
	client := eventlog.NewClient(eventlog.InvokeURL(sidecar.URL, "eventlog", eventlog.EventsPath), "secret")
	m := model.New()
	f := New(m, client, snapshot.New(m, statetest.New(), time.Second, time.Now), time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
		client.HTTP.CloseIdleConnections()
		sidecar.Close()
	}()
	<-waits // it does so once it is ready
	querytest.WantAt(t, f.model, querytest.SomeLog(), true)
	if token := <-tokens; token != "secret" {
		t.Errorf("the sidecar's token is %q", token)
	}
	grown := f.model.Status().Changed
	l.Append(querytest.Posted(70))
	<-grown
	querytest.WantAt(t, f.model, querytest.Numbered(0, append(querytest.SomeLog(), querytest.Posted(70))...), true)
}

func TestASnapshotThatDoesNotFitIsNeverUsedAndIsReplaced(t *testing.T) {
	for name, other := range querytest.Anothers() {
		for what, prepare := range map[string]func(testing.TB, *statetest.Memory) *statetest.Memory{
			"": func(_ testing.TB, s *statetest.Memory) *statetest.Memory { return s }, "from before logs had ids": former,
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := prepare(t, savedIn(t, querytest.OneLog, querytest.SomeLog()))
					l := querytest.LogOf(other.ID(), other.Events())
					f := follow(t, l, store)
					synctest.Wait()
					querytest.WantAt(t, f.model, other.Events(), true)
					if len(other.Events()) == 0 {
						return
					}
					if err := f.snapshots.Save(t.Context()); err != nil {
						t.Fatal(err)
					}
					if at := positionIn(t, store); at != other.End().String() {
						t.Errorf("the snapshot is at %q, want %q", at, other.End())
					}
					again := follow(t, l, store)
					synctest.Wait()
					querytest.WantAt(t, again.model, other.Events(), true)
					if last := l.Questions()[len(l.Questions())-1]; last.After != len(other.Events()) {
						t.Errorf("after the snapshot was replaced: asked %v", l.Questions())
					}
				})
			})
		}
	}
}

func TestASnapshotFromBeforeLogsHadIDsIsUsedWhereItFits(t *testing.T) {
	for _, id := range []string{querytest.OneLog, ""} { // an event log from before, too
		synctest.Test(t, func(t *testing.T) {
			log := querytest.SomeLog()
			l := querytest.LogOf(id, log)
			l.Instead = func(n int, w http.ResponseWriter) bool { // the log is away at first
				if n <= 2 {
					w.WriteHeader(http.StatusBadGateway)
				}
				return n <= 2
			}
			f := follow(t, l, former(t, savedIn(t, "", log[:9])))
			time.Sleep(3 * retryDelay) // of the bubble's clock
			synctest.Wait()
			querytest.WantAt(t, f.model, log, true)
			for _, q := range l.Questions() {
				if q.After < 8 {
					t.Errorf("asked %v", l.Questions())
				}
			}
			if at := f.model.Status().At; at != l.End() {
				t.Errorf("it stands at %s, want %s", at, l.End())
			}
		})
	}
}

func TestASnapshotFromBeforeLogsHadIDsWithNothingToCompareIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.Numbered(0, querytest.Moderated(101, 1), querytest.Posted(1))
		f := follow(t, querytest.LogOf(querytest.OneLog, log), former(t, savedIn(t, "", log[:1])))
		synctest.Wait()
		querytest.WantAt(t, f.model, log, true)
	})
}

// An answer with events may come from a replica that has not just read the log's end.
func TestAnEndThatCameWithEventsIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
		f := newFollower(l, statetest.New())
		for _, age := range []time.Duration{eventlog.MaxAge, 0} { // with events, and without
			began := time.Now()
			f.Wake()
			if err := f.readNext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now := f.model.Status(); !now.LogEndSeen.Equal(began.Add(-age)) || now.LogEnd != uint64(len(querytest.SomeLog())) {
				t.Errorf("the end is %d, seen %v before", now.LogEnd, began.Sub(now.LogEndSeen))
			}
			time.Sleep(wakePause) // of the bubble's clock
			synctest.Wait()
		}
	})
}

// The API waits for the log's end, and for no longer than two seconds.
func TestAfterAWakeupWhoseReadFailsTheNextReadDoesNotWait(t *testing.T) {
	for name, bad := range map[string]func(w http.ResponseWriter){
		"no event log": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"a gap": func(w http.ResponseWriter) {
			w.Header().Set(eventlog.SequenceHeader, "17")
			_, _ = w.Write(querytest.Batch(querytest.Numbered(16, querytest.Posted(60))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const failures = 3
				l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
				f := follow(t, l, statetest.New())
				synctest.Wait()
				before := len(l.Questions())
				l.Instead = func(n int, w http.ResponseWriter) bool {
					fails := n <= before+failures
					if fails {
						bad(w)
					}
					return fails
				}
				woken := time.Now()
				time.Sleep(time.Millisecond) // of the bubble's clock
				f.Wake()
				time.Sleep(failures * retryDelay) // of the bubble's clock
				synctest.Wait()
				asked := l.Questions()[before:]
				if len(asked) != failures+2 {
					t.Fatalf("asked %v after the wake-up, want %d reads that fail, one more, and one that waits", asked, failures)
				}
				for i, q := range asked {
					if waits := q.Wait > 0; waits != (i == failures+1) {
						t.Errorf("read %d after the wake-up: waits %v", i+1, waits)
					}
				}
				if now := f.model.Status(); !now.LogEndSeen.After(woken) || now.LogEnd != l.End().Sequence {
					t.Errorf("the log ended at %d at %v, want %d after %v", now.LogEnd, now.LogEndSeen, l.End().Sequence, woken)
				}
			})
		})
	}
}

func TestTheLogsIDIsLearntWhenItIsFirstSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.NewLogServer(querytest.SomeLog()) // an event log from before logs had ids
		f := follow(t, l, statetest.New())
		synctest.Wait()
		querytest.WantAt(t, f.model, querytest.SomeLog(), true)
		l.Replace(querytest.OneLog, l.Events())
		l.Append(querytest.Posted(77))
		synctest.Wait()
		if at := f.model.Status().At; at != l.End() || !f.model.Status().Ready {
			t.Errorf("it stands at %s, want %s", at, l.End())
		}
	})
}

// former has the store's snapshot be one of the version before (3b4f435).
func former(t testing.TB, store *statetest.Memory) *statetest.Memory {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(store.Value(manifestKey)), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "position")
	delete(fields, "seal")
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	store.Put(manifestKey, string(value))
	return store
}

// positionIn is where the snapshot in a store says that it stands.
func positionIn(t testing.TB, store *statetest.Memory) string {
	t.Helper()
	var man struct{ Position string }
	if err := json.Unmarshal([]byte(store.Value(manifestKey)), &man); err != nil {
		t.Fatal(err)
	}
	return man.Position
}
