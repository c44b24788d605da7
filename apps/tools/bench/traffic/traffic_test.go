package traffic

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

func serve(t *testing.T, handle http.HandlerFunc) func(uint64, *fasthttp.Request) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return func(n uint64, req *fasthttp.Request) { req.SetRequestURI(fmt.Sprintf("%s/%d", server.URL, n)) }
}

func TestAClosedLoopHasEachNumberOnceAndNoMoreUnderWayThanConnections(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	var now, most atomic.Int64
	load := Load{Connections: 4, Duration: 200 * time.Millisecond, Want: 200, Prepare: serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		if seen[r.URL.Path] {
			t.Errorf("%s came twice", r.URL.Path)
		}
		seen[r.URL.Path] = true
	})}
	r := load.Run(t.Context())
	if r.Failed > 0 || r.FirstFailure != nil || int(r.OK) != len(seen) || r.OK == 0 { //nolint:gosec // a count
		t.Errorf("%d ok and %d failed (%v), %d seen", r.OK, r.Failed, r.FirstFailure, len(seen))
	}
	if most.Load() > 4 {
		t.Errorf("%d were under way at once", most.Load())
	}
}

func TestAnOpenLoopSendsWhatIsDue(t *testing.T) {
	load := Load{Connections: 8, Rate: 200, Duration: 500 * time.Millisecond, Want: 200, Prepare: serve(t, func(http.ResponseWriter, *http.Request) {})}
	if r := load.Run(t.Context()); r.OK != 100 {
		t.Errorf("%d requests in half a second at 200 a second", r.OK)
	}
}

// A slow server has not answered all requests when the time is over. The last ones have
// waited longest.
func TestAnOpenLoopSendsLateWhatWasDueInTime(t *testing.T) {
	const each = 20 * time.Millisecond
	load := Load{Connections: 1, Rate: 100, Duration: 300 * time.Millisecond, Want: 200, Prepare: serve(t, func(http.ResponseWriter, *http.Request) {
		time.Sleep(each) // half of the rate that is due
	})}
	r := load.Run(t.Context())
	if r.OK != 30 {
		t.Errorf("%d requests, 30 were due", r.OK)
	}
	if last := r.Quantile(100); last < 300*time.Millisecond {
		t.Errorf("the last was due 10 ms before the end and answered after 600 ms, and yet all took at most %s", last)
	}
}

// Coordinated omission: on one connection one answer takes 400 ms, and the 40 requests
// that were due meanwhile have waited, too.
func TestAnOpenLoopCountsFromWhenARequestWasDue(t *testing.T) {
	load := Load{Connections: 1, Rate: 100, Duration: time.Second, Want: 200, Prepare: serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/10" {
			time.Sleep(400 * time.Millisecond) // the slow answer itself
		}
	})}
	r := load.Run(t.Context())
	if p75 := r.Quantile(75); p75 < 50*time.Millisecond {
		t.Errorf("a quarter of the requests waited behind the slow one, and yet 75 %% took at most %s", p75)
	}
}

func TestAClosedLoopIsCorrectedForWhatWasHeldUp(t *testing.T) {
	h := hdrhistogram.New(shortest, longest, digits)
	_ = h.RecordValues(1000, 999)
	_ = h.RecordValue(1_000_000) // a second, in which a thousand more were due
	if got := corrected(h).TotalCount(); got < 1990 || got > 2010 {
		t.Errorf("%d values; some 1,000 were held up", got)
	}
	even := hdrhistogram.New(shortest, longest, digits)
	_ = even.RecordValues(1000, 50)
	if got := corrected(even).TotalCount(); got != 50 {
		t.Errorf("%d values from 50 that held nothing up", got)
	}
}

func TestAnotherStatusIsAFailureThatIsShown(t *testing.T) {
	load := Load{Connections: 2, Duration: 50 * time.Millisecond, Want: 201, Prepare: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the bus is down", http.StatusServiceUnavailable)
	})}
	r := load.Run(t.Context())
	if r.OK != 0 || r.Failed == 0 || r.FirstFailure == nil || !strings.Contains(r.FirstFailure.Error(), "503 the bus is down") {
		t.Errorf("%d ok, %d failed, the first: %v", r.OK, r.Failed, r.FirstFailure)
	}
	load.Prepare = func(_ uint64, req *fasthttp.Request) { req.SetRequestURI("http://127.0.0.1:1/") }
	if r := load.Run(t.Context()); r.OK != 0 || r.FirstFailure == nil {
		t.Errorf("nobody answers, and yet: %d ok, %v", r.OK, r.FirstFailure)
	}
}

func TestProgressIsReportedAndCancellingEndsIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	var progress bytes.Buffer
	load := Load{Connections: 1, Duration: time.Hour, Want: 200, Progress: &progress, Prepare: serve(t, func(http.ResponseWriter, *http.Request) {})}
	if r := load.Run(ctx); r.OK == 0 {
		t.Error("no answer")
	}
	if !strings.Contains(progress.String(), "1 s: ") {
		t.Errorf("progress was %q", progress.String())
	}
}
