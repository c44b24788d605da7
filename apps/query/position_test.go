package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// The ids of two logs.
var oneLog, otherLog = uuid7(9001), uuid7(9002)

// otherEvents are a log with nothing of someLog.
func otherEvents(n int) []event.Event { return numbered(0, posts(5000, 5000+n)...) }

// logOf serves a log with an id.
func logOf(id string, events []event.Event) *logServer {
	l := newLogServer(events)
	l.id = id
	return l
}

// modelIn is a model that stands at the end of a log with an id, and knows of its events
// since the number.
func modelIn(t testing.TB, id string, log []event.Event, since int) *model {
	t.Helper()
	m := newModel()
	m.setLog(id)
	if err := m.apply(log[:since]); err != nil {
		t.Fatal(err)
	}
	m.setReady()
	if err := m.apply(log[since:]); err != nil {
		t.Fatal(err)
	}
	return m
}

// following serves the API of a follower.
func following(f *follower) http.Handler {
	e := web.NewEngine()
	newAPI(context.Background(), f.model, f.log, f.look, make(web.Streams, 10)).routes(e)
	return e
}

// savedIn is a store with the snapshot of a log with an id.
func savedIn(t testing.TB, id string, log []event.Event) *fakeStore {
	t.Helper()
	store := newFakeStore()
	if _, err := newSnapshots(store).save(t.Context(), modelIn(t, id, log, 0)); err != nil {
		t.Fatal(err)
	}
	return store
}

// former has the store's snapshot be one of the version before (3b4f435).
func former(t testing.TB, store *fakeStore) *fakeStore {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(store.get(manifestKey), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "position")
	delete(fields, "seal")
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	store.set(manifestKey, value)
	return store
}

// The log has lost all, and another one has begun; or its end, and has grown again. The
// other log may be shorter, as long or longer.
func anothers() map[string]*logServer {
	log := someLog()
	return map[string]*logServer{
		"another log, shorter": logOf(otherLog, otherEvents(3)),
		"another, as long":     logOf(otherLog, otherEvents(len(log))),
		"another, longer":      logOf(otherLog, otherEvents(40)),
		"an empty one":         logOf(otherLog, nil),
		"a lost end":           logOf(oneLog, log[:5]),
		"one that grew to it":  logOf(oneLog, numbered(0, append(slices.Clone(log[:5]), posts(5000, 5000+len(log)-5)...)...)),
		"one that grew beyond": logOf(oneLog, numbered(0, append(slices.Clone(log[:5]), posts(5000, 5040)...)...)),
	}
}

func TestAReadyModelBeginsAnewWhenTheLogIsAnother(t *testing.T) {
	for name, other := range anothers() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := logOf(oneLog, someLog())
				f := follow(t, l, newFakeStore())
				synctest.Wait()
				wantAt(t, f.model, someLog(), true)
				h := following(f)
				stream := listen(t, h, "")

				// The first read of the other log is held up.
				gate := make(chan struct{})
				l.instead = func(n int, _ http.ResponseWriter) bool {
					if l.questions()[n-1].after == 0 {
						<-gate
					}
					return false
				}
				l.replace(other.id, other.events)
				synctest.Wait()
				for _, path := range []string{"/posts", "/posts/" + uuid7(1), "/posts?min_sequence=1"} {
					wantProblem(t, path, get(t, h, path), http.StatusServiceUnavailable)
				}
				wantProblem(t, "a stream", get(t, h, "/posts", "Accept", "text/event-stream"), http.StatusServiceUnavailable)
				if !stream.hasEnded() {
					t.Error("the stream of the log that is gone goes on")
				}
				close(gate)
				synctest.Wait()
				wantAt(t, f.model, other.events, true)
				if at := f.model.standing().at; at != other.end() {
					t.Errorf("it stands at %s, want %s", at, other.end())
				}
				l.append(posted(77))
				synctest.Wait()
				wantAt(t, f.model, numbered(0, append(slices.Clone(other.events), posted(77))...), true)
			})
		})
	}
}

func TestASnapshotThatDoesNotFitIsNeverUsedAndIsReplaced(t *testing.T) {
	for name, other := range anothers() {
		for what, prepare := range map[string]func(testing.TB, *fakeStore) *fakeStore{
			"": func(_ testing.TB, s *fakeStore) *fakeStore { return s }, "from before logs had ids": former,
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := prepare(t, savedIn(t, oneLog, someLog()))
					l := logOf(other.id, other.events)
					f := follow(t, l, store)
					synctest.Wait()
					wantAt(t, f.model, other.events, true)
					if len(other.events) == 0 {
						return
					}
					if _, err := f.snapshots.save(t.Context(), f.model); err != nil {
						t.Fatal(err)
					}
					if man := store.manifest(); man.Position != other.end().String() {
						t.Errorf("the snapshot is at %q, want %q", man.Position, other.end())
					}
					again := follow(t, l, store)
					synctest.Wait()
					wantAt(t, again.model, other.events, true)
					if last := l.questions()[len(l.questions())-1]; last.after != len(other.events) {
						t.Errorf("after the snapshot was replaced: asked %v", l.questions())
					}
				})
			})
		}
	}
}

// A query that has not noticed yet may save once more, into the store that was emptied.
func TestASnapshotOfALogThatIsGoneIsReplacedWhateverItsNumber(t *testing.T) {
	log := someLog()
	store := savedIn(t, oneLog, log)
	for _, n := range []int{3, len(log), 40} {
		man, err := newSnapshots(store).save(t.Context(), modelIn(t, otherLog, otherEvents(n), 0))
		if err != nil || man.at != positionIn(otherLog, otherEvents(n), n) || store.manifest().Position != man.Position {
			t.Errorf("at %d: %s stays, %v", n, store.manifest().Position, err)
		}
		wantChunks(t, "replaced", store, man)
		if man, err = newSnapshots(store).save(t.Context(), modelIn(t, oneLog, log, 0)); err != nil || man.at.Log != oneLog {
			t.Errorf("at %d: %+v, %v", n, man.at, err) // the log of each says which is believed
		}
	}
}

// The log's end may go while the snapshot of it is being saved.
func TestASaveThatFailsKeepsTheSnapshotDistrusted(t *testing.T) {
	log := someLog()
	store := savedIn(t, oneLog, log)
	s := newSnapshots(store)
	s.distrust()
	store.setDown(true)
	if _, err := s.save(t.Context(), modelIn(t, oneLog, log[:5], 0)); err == nil {
		t.Fatal("no error")
	}
	store.setDown(false)
	store.before = func(key string) {
		if key == manifestKey {
			store.before = nil
			s.distrust() // it began anew meanwhile
		}
	}
	for _, n := range []int{5, 4} {
		if man, err := s.save(t.Context(), modelIn(t, oneLog, log[:n], 0)); err != nil || man.Sequence != uint64(n) { //nolint:gosec // never negative
			t.Errorf("at %d: %d stays, %v", n, man.Sequence, err)
		}
	}
	if man, err := s.save(t.Context(), modelIn(t, oneLog, log[:3], 0)); err != nil || man.Sequence != 4 {
		t.Errorf("an older one replaces a younger one that is trusted: %d, %v", man.Sequence, err)
	}
}

func TestASnapshotFromBeforeLogsHadIDsIsUsedWhereItFits(t *testing.T) {
	for _, id := range []string{oneLog, ""} { // an event log from before, too
		synctest.Test(t, func(t *testing.T) {
			log := someLog()
			l := logOf(id, log)
			l.instead = func(n int, w http.ResponseWriter) bool { // the log is away at first
				if n <= 2 {
					w.WriteHeader(http.StatusBadGateway)
				}
				return n <= 2
			}
			f := follow(t, l, former(t, savedIn(t, "", log[:9])))
			time.Sleep(3 * retryDelay) // of the bubble's clock
			synctest.Wait()
			wantAt(t, f.model, log, true)
			for _, q := range l.questions() {
				if q.after < 8 {
					t.Errorf("asked %v", l.questions())
				}
			}
			if at := f.model.standing().at; at != l.end() {
				t.Errorf("it stands at %s, want %s", at, l.end())
			}
		})
	}
}

func TestASnapshotFromBeforeLogsHadIDsWithNothingToCompareIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := numbered(0, moderated(101, 1), posted(1))
		f := follow(t, logOf(oneLog, log), former(t, savedIn(t, "", log[:1])))
		synctest.Wait()
		wantAt(t, f.model, log, true)
	})
}

// Replicas of the version before run beside during an upgrade, and after one that is
// taken back.
func TestTheVersionBeforeTakesASnapshot(t *testing.T) {
	var was struct {
		Format     int             `json:"format"`
		Sequence   uint64          `json:"sequence"`
		Generation string          `json:"generation"`
		Saved      time.Time       `json:"saved"`
		Chunks     []chunkManifest `json:"chunks"`
		Checksum   string          `json:"checksum"`
	}
	if err := json.Unmarshal(savedIn(t, oneLog, someLog()).get(manifestKey), &was); err != nil {
		t.Fatal(err)
	}
	want := was.Checksum
	was.Checksum = ""
	raw, err := event.Marshal(was)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(raw)); got != want || was.Sequence != uint64(len(someLog())) {
		t.Errorf("its checksum is %s, and in the manifest %s", got, want)
	}
}

func TestASnapshotsPositionIsSealed(t *testing.T) {
	store := savedIn(t, oneLog, someLog())
	whole := store.get(manifestKey)
	for name, change := range map[string]func(m map[string]any){
		"another log":    func(m map[string]any) { m["position"] = strings.Replace(m["position"].(string), oneLog, otherLog, 1) }, //nolint:errcheck,forcetypeassert // it is one
		"no position":    func(m map[string]any) { delete(m, "position") },
		"a number alone": func(m map[string]any) { m["position"] = "15" },
		"no seal":        func(m map[string]any) { delete(m, "seal") },
	} {
		m := map[string]any{}
		if err := json.Unmarshal(whole, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		value, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		store.set(manifestKey, value)
		wantIgnored(t, name, store)
	}
}

func TestAnswersSayWhereInWhichLogTheyStand(t *testing.T) {
	log := someLog()
	h := serve(modelIn(t, oneLog, log, 3))
	for _, path := range []string{"/posts", "/posts?limit=1", "/posts/" + uuid7(1), "/posts/" + uuid7(1) + "?limit=1", "/posts/" + uuid7(99)} {
		if got, want := get(t, h, path).Header().Get(eventlog.PositionHeader), positionIn(oneLog, log, len(log)).String(); got != want {
			t.Errorf("%s stands at %q, want %q", path, got, want)
		}
	}
}

func TestMinSequenceMayBeAPosition(t *testing.T) {
	log := someLog()
	server := logOf(oneLog, log)
	h := engine(context.Background(), modelIn(t, oneLog, log, 5), clientOf(server))
	for number := range len(log) + 1 {
		p := positionIn(oneLog, log, number)
		if res := get(t, h, "/posts?min_sequence="+p.String()); res.Code != http.StatusOK {
			t.Errorf("%s: %d", p, res.Code)
		}
		if number > 0 {
			p.Event = "another"
			wantProblem(t, p.String(), get(t, h, "/posts?min_sequence="+p.String()), http.StatusConflict)
		}
	}
	// Those in memory need no log.
	for _, q := range server.questions() {
		if q.after >= 5 {
			t.Errorf("asked %v", server.questions())
			break
		}
	}
	server.goAway()
	wantProblem(t, "the log is away", get(t, h, "/posts?min_sequence="+positionIn(oneLog, log, 2).String()), http.StatusServiceUnavailable)
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
		log := someLog()
		l := logOf(oneLog, log)
		f := follow(t, l, newFakeStore())
		time.Sleep(time.Second / 3) // of the bubble's clock: a read waits
		h, before := following(f), len(l.questions())
		for _, p := range []string{"16", "18446744073709551615", "999999999/" + oneLog + "/x", "1/" + otherLog + "/x", "0/" + otherLog + "/"} {
			res, took := asks(t, h, "/posts?min_sequence="+p)
			wantProblem(t, p, res, http.StatusConflict)
			if took > 2*lookPause {
				t.Errorf("%s: refused after %v", p, took)
			}
		}
		// For each, at most: one under way, the one that was asked for, one that waits again.
		if n := len(l.questions()) - before; n > 3*5 {
			t.Errorf("the log was asked %d times", n)
		}
	})
}

// Any visitor may have the log asked, and as many as like.
func TestAPositionIsNotComparedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logOf(oneLog, someLog())
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		a := newAPI(context.Background(), f.model, f.log, f.look, make(web.Streams, 10))
		e := web.NewEngine()
		a.routes(e)
		for range logReaders {
			if _, err := a.takeReading(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p := "1/" + oneLog + "/x" // which is no longer in memory
		res, took := asks(t, e, "/posts?min_sequence="+p)
		wantProblem(t, p, res, http.StatusServiceUnavailable)
		if took != minSequenceWait {
			t.Errorf("it took %v", took)
		}
	})
}

// What the replica does not know another may: while the log can't say, it is waited for.
func TestAPositionAheadOfTheReplicaAloneIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logOf(oneLog, someLog())
		l.deaf = true
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		h := following(f)
		l.append(posted(77)) // the read that waits is at a replica that does not notice
		for _, p := range []string{"16", l.end().String()} {
			if res, took := asks(t, h, "/posts?min_sequence="+p); res.Code != http.StatusOK || took > 2*lookPause {
				t.Errorf("%s: %d after %v", p, res.Code, took)
			}
		}
		l.goAway()
		time.Sleep(2 * eventlog.ReadWait) // of the bubble's clock
		for _, p := range []string{"17", "1/" + otherLog + "/x"} {
			res, took := asks(t, h, "/posts?min_sequence="+p)
			wantProblem(t, p, res, http.StatusServiceUnavailable)
			if took != minSequenceWait {
				t.Errorf("%s: %v", p, took)
			}
			wantProblem(t, "a stream", get(t, h, "/posts", "Accept", "text/event-stream", "Last-Event-ID", p), http.StatusServiceUnavailable)
		}
	})
}

// Any visitor may ask for any number.
func TestQuestionsWhereTheLogEndsShareItsAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logOf(oneLog, someLog())
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		h, before := following(f), len(l.questions())
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
		if n := len(l.questions()) - before; n > 50 {
			t.Errorf("500 requests asked the log %d times", n)
		}
	})
}

// An answer that brings events may be of an event log that has not looked just then.
func TestAnEndThatCameWithEventsIsNotTheLast(t *testing.T) {
	m := modelIn(t, oneLog, someLog(), 0)
	f := newFollower(m, nil, nil)
	f.looking = true
	began := time.Now()
	f.sawEnd(m.standing().at, 3, began)
	if now := m.standing(); now.seen.After(began.Add(-eventlog.MaxAge)) || !f.looking {
		t.Errorf("seen %v before, and looks on: %v", began.Sub(now.seen), f.looking)
	}
	f.sawEnd(m.standing().at, 0, began)
	if now := m.standing(); !now.seen.Equal(began) || f.looking {
		t.Errorf("seen %v before, and looks on: %v", began.Sub(now.seen), f.looking)
	}
}

func TestTheIDsOfAStreamArePositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := someLog()
		m := modelIn(t, oneLog, log, 5)
		h := engine(context.Background(), m, clientOf(logOf(oneLog, log)))
		for after := range len(log) + 1 { // from the log, and from memory
			p := positionIn(oneLog, log, after)
			l := listen(t, h, p.String())
			frames := l.frames(t)
			if frames[0] != (frame{id: p.String()}) || l.header.Get(eventlog.PositionHeader) != p.String() {
				t.Errorf("after %s: %+v, %v", p, frames[0], l.header)
			}
			want := beyond(toldFromLog, after)
			if after >= 5 {
				want = beyond(told, after)
			}
			for i, f := range frames[1:] {
				if f.id != positionIn(oneLog, log, numberOf(t, f)).String() {
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
func wantAnew(t *testing.T, what string, h http.Handler, m *model, lastID string) *listener {
	t.Helper()
	l := listen(t, h, lastID)
	time.Sleep(2 * lookPause) // of the bubble's clock
	now := m.standing().at.String()
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
		log := someLog()
		l := logOf(oneLog, log)
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		for _, e := range posts(70, 75) { // these are in memory
			l.append(e)
			synctest.Wait()
		}
		h, end := following(f), int(l.end().Sequence) //nolint:gosec // small
		for what, p := range map[string]eventlog.Position{
			"another event in memory":   {Sequence: 17, Log: oneLog, Event: "x"},
			"another event in the log":  {Sequence: 3, Log: oneLog, Event: "x"},
			"another log":               positionIn(otherLog, log, 4),
			"another log's start":       {Log: otherLog},
			"another log, far ahead":    {Sequence: 1 << 60, Log: otherLog, Event: "x"},
			"ahead of the log":          {Sequence: 21, Log: oneLog, Event: "x"},
			"a number ahead of the log": {Sequence: 999_999_999},
			"the largest":               {Sequence: 1<<64 - 1},
		} {
			wantAnew(t, what, h, f.model, p.String()).leave()
		}
		// And goes on as any other.
		stream := wantAnew(t, "ahead", h, f.model, "999999999")
		l.append(posted(80))
		if frames := stream.frames(t); len(frames) != 2 || frames[1].event != "PostCreated" || numberOf(t, frames[1]) != end+1 {
			t.Errorf("got %+v", frames)
		}
	})
}

func TestAnOpenStreamOfALogThatIsGoneBeginsAnew(t *testing.T) {
	for name, other := range anothers() {
		synctest.Test(t, func(t *testing.T) {
			l := logOf(oneLog, someLog())
			f := follow(t, l, newFakeStore())
			synctest.Wait()
			h := following(f)
			stream := listen(t, h, "")
			last := stream.frames(t)[0].id
			l.replace(other.id, other.events)
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
		log := someLog()
		f := follow(t, logOf(oneLog, log), newFakeStore())
		synctest.Wait()
		l := listen(t, following(f), "7")
		wantFrames(t, l, 7, beyond(toldFromLog, 7), log)
	})
}

// An answer is of one life of the model: what was made after it has begun anew is not.
func TestAnAnswerOfAModelThatBeginsAnewMeanwhileIs503(t *testing.T) {
	for path, id := range map[string]string{"/posts": "", "/posts/": uuid7(1), "/posts/none": uuid7(99)} {
		m := modelIn(t, oneLog, someLog(), 0)
		a := newAPI(context.Background(), m, nil, func() {}, nil)
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
func beganAnew(m *model, answer func(context.Context, *gin.Context)) func(context.Context, *gin.Context) {
	return func(life context.Context, c *gin.Context) {
		m.reset()
		answer(life, c)
	}
}

func TestTheLogsIDIsLearntWhenItIsFirstSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogServer(someLog()) // an event log from before logs had ids
		f := follow(t, l, newFakeStore())
		synctest.Wait()
		wantAt(t, f.model, someLog(), true)
		l.replace(oneLog, l.events)
		l.append(posted(77))
		synctest.Wait()
		if at := f.model.standing().at; at != l.end() || !f.model.isReady() {
			t.Errorf("it stands at %s, want %s", at, l.end())
		}
	})
}

func TestAModelThatBeginsAnewForgetsAll(t *testing.T) {
	m := modelIn(t, oneLog, someLog(), 3)
	_ = m.postsPage(nil, defaultPosts)
	m.sawEnd(99, time.Now())
	m.reset()
	wantEmpty(t, m)
	if now := m.standing(); now.at != (eventlog.Position{}) || now.ready || now.end != 0 || !now.seen.IsZero() || now.life.Err() != nil {
		t.Errorf("it stands at %+v", now)
	}
	if changes, _, ok := m.changesAfter(0); !ok || len(changes) != 0 {
		t.Errorf("it has %d changes, %v", len(changes), ok)
	}
}
