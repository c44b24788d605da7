package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/query/follow"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

// follower follows a log server, in a bubble.
type follower struct {
	*follow.Follower

	model *model.Model
	log   eventlog.Reader
}

// following runs a follower of the server until the test ends.
func following(t testing.TB, l *querytest.LogServer) follower {
	t.Helper()
	return followingFrom(t, statetest.New(), l)
}

// followingFrom runs a follower that begins with the snapshot in a store.
func followingFrom(t testing.TB, store state.Store, l *querytest.LogServer) follower {
	t.Helper()
	m, log := model.New(), querytest.ClientOf(l)
	f := follow.New(m, log, snapshot.New(m, store, time.Second, time.Now), time.Now)
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
	return follower{f, m, log}
}

func (f follower) api() *API {
	return New(context.Background(), f.model, f.log, f.Wake, make(web.Streams, 10), time.Now)
}

func (f follower) serve() http.Handler {
	e := web.NewEngine()
	f.api().Routes(e)
	return e
}

// soon is how long a question where the log ends takes at most, when the log answers at once.
const soon = 100 * time.Millisecond

func TestAReadyModelBeginsAnewWhenTheLogIsAnother(t *testing.T) {
	for name, other := range querytest.Anothers() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
				f := following(t, l)
				synctest.Wait()
				querytest.WantAt(t, f.model, querytest.SomeLog(), true)
				h := f.serve()
				stream := listen(t, h, "")

				// The first read of the other log is held up.
				gate := make(chan struct{})
				l.Instead = func(n int, _ http.ResponseWriter) bool {
					if l.Questions()[n-1].After == 0 {
						<-gate
					}
					return false
				}
				l.Replace(other.ID(), other.Events())
				synctest.Wait()
				for _, path := range []string{"/posts", "/posts/" + querytest.UUID7(1), "/posts?min_sequence=1"} {
					wantProblem(t, path, get(t, h, path), http.StatusServiceUnavailable)
				}
				wantProblem(t, "a stream", get(t, h, "/posts", "Accept", "text/event-stream"), http.StatusServiceUnavailable)
				if !stream.hasEnded() {
					t.Error("the stream of the log that is gone goes on")
				}
				close(gate)
				synctest.Wait()
				querytest.WantAt(t, f.model, other.Events(), true)
				if at := f.model.Status().At; at != other.End() {
					t.Errorf("it stands at %s, want %s", at, other.End())
				}
				l.Append(querytest.Posted(77))
				synctest.Wait()
				querytest.WantAt(t, f.model, querytest.Numbered(0, append(slices.Clone(other.Events()), querytest.Posted(77))...), true)
			})
		})
	}
}

func TestAnswersSayWhereInWhichLogTheyStand(t *testing.T) {
	log := querytest.SomeLog()
	h := serve(querytest.ModelIn(t, querytest.OneLog, log, 3))
	for _, path := range []string{"/posts", "/posts?limit=1", "/posts/" + querytest.UUID7(1), "/posts/" + querytest.UUID7(1) + "?limit=1", "/posts/" + querytest.UUID7(99)} {
		if got, want := get(t, h, path).Header().Get(eventlog.PositionHeader), querytest.PositionIn(querytest.OneLog, log, len(log)).String(); got != want {
			t.Errorf("%s stands at %q, want %q", path, got, want)
		}
	}
}

func TestMinSequenceMayBeAPosition(t *testing.T) {
	log := querytest.SomeLog()
	server := querytest.LogOf(querytest.OneLog, log)
	h := engine(context.Background(), querytest.ModelIn(t, querytest.OneLog, log, 5), querytest.ClientOf(server))
	for number := range len(log) + 1 {
		p := querytest.PositionIn(querytest.OneLog, log, number)
		if res := get(t, h, "/posts?min_sequence="+p.String()); res.Code != http.StatusOK {
			t.Errorf("%s: %d", p, res.Code)
		}
		if number > 0 {
			p.Event = "another"
			wantProblem(t, p.String(), get(t, h, "/posts?min_sequence="+p.String()), http.StatusConflict)
		}
	}
	// Those in memory need no log.
	for _, q := range server.Questions() {
		if q.After >= 5 {
			t.Errorf("asked %v", server.Questions())
			break
		}
	}
	server.GoAway()
	wantProblem(t, "the log is away", get(t, h, "/posts?min_sequence="+querytest.PositionIn(querytest.OneLog, log, 2).String()), http.StatusServiceUnavailable)
	for _, bad := range []string{"4/x/y", "4/", "4//%zz", "0//a"} {
		wantProblem(t, bad, get(t, h, "/posts?min_sequence="+strings.ReplaceAll(bad, "%", "%25")), http.StatusBadRequest)
	}
}

// asks has the answer to a request, and how long it took by the bubble's clock.
func asks(t testing.TB, h http.Handler, path string, headers ...string) (*httptest.ResponseRecorder, time.Duration) {
	t.Helper()
	began := time.Now()
	res := get(t, h, path, headers...)
	return res, time.Since(began)
}

func TestAPositionAheadOfTheLogIsRefusedOnceItIsKnownToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		l := querytest.LogOf(querytest.OneLog, log)
		f := following(t, l)
		time.Sleep(time.Second / 3) // of the bubble's clock: a read waits
		h, before := f.serve(), len(l.Questions())
		for _, p := range []string{"16", "18446744073709551615", "999999999/" + querytest.OneLog + "/x", "1/" + querytest.OtherLog + "/x", "0/" + querytest.OtherLog + "/"} {
			res, took := asks(t, h, "/posts?min_sequence="+p)
			wantProblem(t, p, res, http.StatusConflict)
			if took > soon {
				t.Errorf("%s: refused after %v", p, took)
			}
		}
		// For each, at most: one under way, the one that was asked for, one that waits again.
		if n := len(l.Questions()) - before; n > 3*5 {
			t.Errorf("the log was asked %d times", n)
		}
	})
}

// Any visitor may have the log asked, and as many as like.
func TestAPositionIsNotComparedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
		f := following(t, l)
		synctest.Wait()
		a := f.api()
		e := web.NewEngine()
		a.Routes(e)
		for range logReaders {
			if err := a.reading.Acquire(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		p := "1/" + querytest.OneLog + "/x" // which is no longer in memory
		res, took := asks(t, e, "/posts?min_sequence="+p)
		wantProblem(t, p, res, http.StatusServiceUnavailable)
		if took != positionWait {
			t.Errorf("it took %v", took)
		}
	})
}

// What the replica does not know another may: while the log can't say, it is waited for.
func TestAPositionAheadOfTheReplicaAloneIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
		l.Unaware = true
		f := following(t, l)
		synctest.Wait()
		h := f.serve()
		l.Append(querytest.Posted(77)) // the read that waits is at a replica that does not notice
		for _, p := range []string{"16", l.End().String()} {
			if res, took := asks(t, h, "/posts?min_sequence="+p); res.Code != http.StatusOK || took > soon {
				t.Errorf("%s: %d after %v", p, res.Code, took)
			}
		}
		l.GoAway()
		time.Sleep(2 * eventlog.ReadWait) // of the bubble's clock
		for _, p := range []string{"17", "1/" + querytest.OtherLog + "/x"} {
			res, took := asks(t, h, "/posts?min_sequence="+p)
			wantProblem(t, p, res, http.StatusServiceUnavailable)
			if took != positionWait {
				t.Errorf("%s: %v", p, took)
			}
			wantProblem(t, "a stream", get(t, h, "/posts", "Accept", "text/event-stream", "Last-Event-ID", p), http.StatusServiceUnavailable)
		}
	})
}

// Any visitor may ask for any number.
func TestQuestionsWhereTheLogEndsShareItsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
		f := following(t, l)
		synctest.Wait()
		h, before := f.serve(), len(l.Questions())
		for range 10 {
			codes := make(chan int, 50)
			for range 50 {
				go func() { codes <- get(t, h, "/posts?min_sequence=1000").Code }()
			}
			for range 50 {
				if code := <-codes; code != http.StatusConflict {
					t.Fatalf("%d", code)
				}
			}
		}
		if n := len(l.Questions()) - before; n > 50 {
			t.Errorf("500 requests asked the log %d times", n)
		}
	})
}

func TestTheIDsOfAStreamArePositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		m := querytest.ModelIn(t, querytest.OneLog, log, 5)
		h := engine(context.Background(), m, querytest.ClientOf(querytest.LogOf(querytest.OneLog, log)))
		for after := range len(log) + 1 { // from the log, and from memory
			p := querytest.PositionIn(querytest.OneLog, log, after)
			l := listen(t, h, p.String())
			frames := l.frames(t)
			if frames[0] != (frame{id: p.String()}) || l.header.Get(eventlog.PositionHeader) != p.String() {
				t.Errorf("after %s: %+v, %v", p, frames[0], l.header)
			}
			want := beyond(sentFromLog, after)
			if after >= 5 {
				want = beyond(sent, after)
			}
			for i, f := range frames[1:] {
				if f.id != querytest.PositionIn(querytest.OneLog, log, numberOf(t, f)).String() {
					t.Errorf("after %s: %+v", p, f)
				}
				if numberOf(t, f) != want[i] {
					t.Errorf("after %s comes %d, want %d", p, numberOf(t, f), want[i])
				}
			}
			l.leave()
		}
	})
}

// wantAnew checks that a stream says that it begins anew where the model stands.
func wantAnew(t *testing.T, what string, h http.Handler, m *model.Model, lastID string) *listener {
	t.Helper()
	l := listen(t, h, lastID)
	time.Sleep(soon) // of the bubble's clock
	now := m.Status().At.String()
	frames := l.frames(t)
	var said struct{ Position string }
	if err := json.Unmarshal([]byte(frames[0].data), &said); err != nil || len(frames) != 1 || frames[0].event != "reset" || frames[0].id != now || said.Position != now {
		t.Errorf("%s: after %s comes %+v", what, lastID, frames)
	}
	if got := l.header.Get(eventlog.PositionHeader); got != now {
		t.Errorf("%s: the stream stands at %q, want %q", what, got, now)
	}
	return l
}

func TestAStreamThatCantGoOnFromAPositionBeginsAnewAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		l := querytest.LogOf(querytest.OneLog, log)
		f := following(t, l)
		synctest.Wait()
		for _, e := range querytest.Posts(70, 75) { // these are in memory
			l.Append(e)
			synctest.Wait()
		}
		h, end := f.serve(), int(l.End().Sequence) //nolint:gosec // small
		for what, p := range map[string]eventlog.Position{
			"another event in memory":   {Sequence: 17, Log: querytest.OneLog, Event: "x"},
			"another event in the log":  {Sequence: 3, Log: querytest.OneLog, Event: "x"},
			"another log":               querytest.PositionIn(querytest.OtherLog, log, 4),
			"another log's start":       {Log: querytest.OtherLog},
			"another log, far ahead":    {Sequence: 1 << 60, Log: querytest.OtherLog, Event: "x"},
			"ahead of the log":          {Sequence: 21, Log: querytest.OneLog, Event: "x"},
			"a number ahead of the log": {Sequence: 999_999_999},
			"the largest":               {Sequence: 1<<64 - 1},
		} {
			wantAnew(t, what, h, f.model, p.String()).leave()
		}
		// And goes on as any other.
		stream := wantAnew(t, "ahead", h, f.model, "999999999")
		l.Append(querytest.Posted(80))
		if frames := stream.frames(t); len(frames) != 2 || frames[1].event != "PostCreated" || numberOf(t, frames[1]) != end+1 {
			t.Errorf("got %+v", frames)
		}
	})
}

func TestAnOpenStreamOfALogThatIsGoneBeginsAnew(t *testing.T) {
	for name, other := range querytest.Anothers() {
		synctest.Test(t, func(t *testing.T) {
			l := querytest.LogOf(querytest.OneLog, querytest.SomeLog())
			f := following(t, l)
			synctest.Wait()
			h := f.serve()
			stream := listen(t, h, "")
			last := stream.frames(t)[0].id
			l.Replace(other.ID(), other.Events())
			synctest.Wait()
			if !stream.hasEnded() {
				t.Errorf("%s: the stream goes on", name)
			}
			wantAnew(t, name, h, f.model, last)
		})
	}
}

// A tab of the version before gives a number alone, and can't say which log it is of.
func TestANumberAloneIsTakenUnlessItIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		f := following(t, querytest.LogOf(querytest.OneLog, log))
		synctest.Wait()
		l := listen(t, f.serve(), "7")
		wantFrames(t, l, 7, beyond(sentFromLog, 7), log)
	})
}

// An answer is of one life of the model: what was made after it has begun anew is not.
func TestAnAnswerOfAModelThatBeginsAnewMeanwhileIs503(t *testing.T) {
	for path, id := range map[string]string{"/posts": "", "/posts/": querytest.UUID7(1), "/posts/none": querytest.UUID7(99)} {
		m := querytest.ModelIn(t, querytest.OneLog, querytest.SomeLog(), 0)
		a := New(context.Background(), m, nil, func() {}, nil, time.Now)
		e := web.NewEngine()
		e.GET("/posts", a.whenReady(beganAnew(m, a.posts)))
		e.GET("/posts/:id", a.whenReady(beganAnew(m, a.post)))
		if id != "" {
			path = "/posts/" + id
		}
		wantProblem(t, path, get(t, e, path), http.StatusServiceUnavailable)
	}
}

// beganAnew has the model begin anew before the answer is made.
func beganAnew(m *model.Model, answer func(context.Context, *gin.Context)) func(context.Context, *gin.Context) {
	return func(life context.Context, c *gin.Context) {
		m.Reset()
		answer(life, c)
	}
}
