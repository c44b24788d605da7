package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
)

// listener is a reader of a stream.
type listener struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	broken bool

	leave context.CancelFunc
	ended chan struct{}
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) Flush()              {}

func (l *listener) WriteHeader(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = status
}

func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return 0, errors.New("broken pipe")
	}
	return l.body.Write(b)
}

// listen opens a stream, in a bubble; lastID is empty for none.
func listen(t testing.TB, h http.Handler, lastID string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{header: http.Header{}, leave: cancel, ended: make(chan struct{})}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/posts", nil)
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	go func() {
		defer close(l.ended)
		h.ServeHTTP(l, req)
	}()
	t.Cleanup(func() {
		cancel()
		<-l.ended
	})
	synctest.Wait()
	return l
}

func (l *listener) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

type frame struct{ id, event, data, comment string }

// frames are those that have come until now.
func (l *listener) frames(t testing.TB) []frame {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.body.String()
	if text != "" && !strings.HasSuffix(text, "\n\n") {
		t.Fatalf("the stream ends in the middle: %q", text)
	}
	var all []frame
	for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		var f frame
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ": ")
			into, ok := map[string]*string{"id": &f.id, "event": &f.event, "data": &f.data, "": &f.comment}[field]
			if !ok || *into != "" {
				t.Fatalf("a line %q in %q", line, block)
			}
			*into = value
		}
		all = append(all, f)
	}
	return all
}

// numberOf is the number in the id of a frame.
func numberOf(t testing.TB, f frame) int {
	t.Helper()
	p, err := eventlog.ParsePosition(f.id)
	if err != nil {
		t.Fatalf("frame %+v: %v", f, err)
	}
	return int(p.Sequence) //nolint:gosec // small
}

// wantFrames checks that a stream began at a number and then sent these
// events, by their numbers.
func wantFrames(t testing.TB, l *listener, began uint64, want []int, log []event.Event) {
	t.Helper()
	got := l.frames(t)
	if numberOf(t, got[0]) != int(began) || got[0] != (frame{id: got[0].id}) { //nolint:gosec // small
		t.Errorf("the first frame is %+v, want the id %d alone", got[0], began)
	}
	var numbers []int
	for _, f := range got[1:] {
		n := numberOf(t, f)
		if n < 1 || n > len(log) || !strings.HasSuffix(f.id, "/"+log[n-1].ID) {
			t.Fatalf("frame %+v", f)
		}
		numbers = append(numbers, n)
		e := log[n-1]
		var said struct{ ID, PostID, Title, Content, Status string }
		if err := json.Unmarshal([]byte(f.data), &said); err != nil {
			t.Fatalf("frame %+v: %v", f, err)
		}
		if f.event != string(e.Type) || said.ID != e.Subject ||
			e.Post != nil && said.Title != e.Post.Title || e.Comment != nil && said.PostID != e.Comment.PostID {
			t.Errorf("event %d (%s %s) is sent as %+v", n, e.Type, e.Subject, f)
		}
		if e.Comment != nil { // as it now stands: its text is shown while it is approved
			if text := map[bool]string{true: e.Comment.Content}[said.Status == string(event.Approved)]; said.Content != text {
				t.Errorf("event %d (%s %s) is sent with the text %q, want %q", n, e.Type, e.Subject, said.Content, text)
			}
		}
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("after %d came %v, want %v", began, numbers, want)
	}
}

// sent are the numbers of the events of someLog that a stream that is there from
// the start sends: all but CommentModerated and comments without a post.
var sent = []int{1, 2, 3, 5, 7, 8, 9, 10, 11, 13, 15}

// beyond are those of the numbers that are after another.
func beyond(numbers []int, after int) []int {
	return slices.DeleteFunc(slices.Clone(numbers), func(n int) bool { return n <= after })
}

func TestAStreamSendsEveryChangeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		m := querytest.ModelOf(t, nil)
		l := listen(t, serve(m), "")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", eventlog.SequenceHeader: "0",
		} {
			if got := l.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		wantFrames(t, l, 0, nil, log)
		for from, size := 0, 1; from < len(log); size++ {
			upTo := min(from+size, len(log))
			if err := m.Apply("", log[from:upTo]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // no time goes by
			from = upTo
			wantFrames(t, l, 0, slices.DeleteFunc(slices.Clone(sent), func(n int) bool { return n > upTo }), log)
		}
	})
}

func TestAStreamBeginsWhereTheModelStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		m := querytest.ModelOf(t, log[:8])
		l := listen(t, serve(m), "")
		wantFrames(t, l, 8, nil, log)
		if err := m.Apply("", log); err != nil {
			t.Fatal(err)
		}
		wantFrames(t, l, 8, beyond(sent, 8), log)
	})
}

func TestAStreamSaysHowAThingNowStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := querytest.ModelOf(t, nil)
		l := listen(t, serve(m), "")
		// The older revision comes last, and the post after its comment.
		if err := m.Apply("", querytest.Numbered(0, querytest.Approved(101, 1), querytest.Posted(1), querytest.Commented(101, 1))); err != nil {
			t.Fatal(err)
		}
		frames := l.frames(t)
		if len(frames) != 3 || frames[1].event != "PostCreated" || !strings.Contains(frames[1].data, querytest.UUID7(101)) {
			t.Fatalf("got %+v", frames)
		}
		if f := frames[2]; numberOf(t, f) != 3 || f.event != "CommentCreated" || !strings.Contains(f.data, `"status":"approved"`) {
			t.Errorf("got %+v", f)
		}
	})
}

func TestAReaderWhoComesBackGetsWhatIsAfterFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		m := querytest.ModelOf(t, nil)
		if err := m.Apply("", log); err != nil { // all of it since it is ready
			t.Fatal(err)
		}
		h := serve(m) // it has no log to ask
		for after := range len(log) + 1 {
			l := listen(t, h, strconv.Itoa(after))
			wantFrames(t, l, uint64(after), beyond(sent, after), log) //nolint:gosec // never negative
			if got := l.header.Get(eventlog.SequenceHeader); got != strconv.Itoa(after) {
				t.Errorf("after %d: Postbus-Sequence is %q", after, got)
			}
			l.leave()
		}
	})
}

// When the log is replayed, the post of a comment that came first may be there now.
var sentFromLog = []int{1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 15}

func TestAReaderWhoComesBackGetsWhatIsForgottenFromTheLog(t *testing.T) {
	for name, most := range map[string]int{"at once": 0, "in parts": 2} {
		synctest.Test(t, func(t *testing.T) {
			log := querytest.SomeLog()
			server := querytest.NewLogServer(log)
			server.Most = most
			m := querytest.ModelOf(t, log[:13]) // known before it was ready, and so not in memory
			h := engine(context.Background(), m, querytest.ClientOf(server))
			for after := range 14 {
				l := listen(t, h, strconv.Itoa(after))
				t.Log(name, after)
				// The log is further than the model: nothing may be sent before it is in the pages.
				want := slices.DeleteFunc(beyond(sentFromLog, after), func(n int) bool { return n > 13 })
				wantFrames(t, l, uint64(after), want, log) //nolint:gosec // never negative
				l.leave()
			}
			l := listen(t, h, "5")
			if err := m.Apply("", log); err != nil {
				t.Fatal(err)
			}
			wantFrames(t, l, 5, beyond(sentFromLog, 5), log)
		})
	}
}

// A post's frame is a copy of its newest comments: many posts are many megabytes.
func TestAReaderWhoComesBackToMuchGetsAllOfItInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []event.Event
		for i := range 30 {
			log = append(log, querytest.PostOf(1, 1+i, "post 1"))
		}
		for i := range model.DefaultComments {
			log = append(log, querytest.CommentOf(event.CommentUpdated, 100+i, 1, 2, strings.Repeat("x", 10_000)))
		}
		log = querytest.Numbered(0, log...)
		want := make([]int, len(log))
		for i := range want {
			want[i] = i + 1
		}
		server := querytest.NewLogServer(log)
		l := listen(t, engine(context.Background(), querytest.ModelOf(t, log), querytest.ClientOf(server)), "0")
		wantFrames(t, l, 0, want, log)
		var asked []int
		for _, q := range server.Questions() {
			asked = append(asked, q.After)
		}
		if want := []int{0, 9, 18, 27}; !slices.Equal(asked, want) { // nine times half a megabyte are enough
			t.Errorf("went on after %v, want %v", asked, want)
		}
	})
}

func TestAReaderWhoComesBackOverHTTPGetsWhatIsForgottenFromTheLog(t *testing.T) {
	log := querytest.SomeLog()
	sidecar := httptest.NewServer(querytest.NewLogServer(log))
	defer sidecar.Close()
	client := eventlog.NewClient(eventlog.InvokeURL(sidecar.URL, "eventlog", eventlog.EventsPath), "")
	defer client.HTTP.CloseIdleConnections()
	m := querytest.ModelOf(t, log)
	query := httptest.NewServer(engine(context.Background(), m, client))
	defer query.Close()

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, query.URL+"/posts", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html, text/event-stream")
	req.Header.Set("Last-Event-ID", "7")
	res, err := query.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	wantID := func(want ...int) {
		t.Helper()
		for _, n := range want {
			for lines.Scan() {
				if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
					if p, err := eventlog.ParsePosition(id); err != nil || p.Sequence != uint64(n) { //nolint:gosec // never negative
						t.Fatalf("came %s, want %d", id, n)
					}
					break
				}
			}
		}
	}
	wantID(append([]int{7}, beyond(sentFromLog, 7)...)...)
	if err := m.Apply("", querytest.Numbered(len(log), querytest.Posted(80))); err != nil {
		t.Fatal(err)
	}
	wantID(len(log) + 1) // while the connection is open: it is flushed
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

// The reader comes back, perhaps to a replica that has it.
func TestAStreamThatCantBeResumedEnds(t *testing.T) {
	for name, away := range map[string]bool{"the log is away": true, "the log is shorter": false} {
		synctest.Test(t, func(t *testing.T) {
			server := querytest.NewLogServer(querytest.SomeLog()[:3])
			if away {
				server.GoAway()
			}
			l := listen(t, engine(context.Background(), querytest.ModelOf(t, querytest.SomeLog()), querytest.ClientOf(server)), "3")
			if !l.hasEnded() {
				t.Errorf("%s: it goes on", name)
			}
			if frames := l.frames(t); len(frames) != 1 || frames[0].id != "3" {
				t.Errorf("%s: got %+v", name, frames)
			}
		})
	}
}

// A log may have an event twice: eventlog recognises a repeat only among its last events.
// And it has events of types that only a newer version knows.
func TestAStreamSendsEachEventOnceAndNothingOfAnUnknownType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unknown := querytest.UnknownOf(querytest.Posted(1))
		log := querytest.Numbered(
			0,
			querytest.Posted(1), querytest.Commented(101, 1), unknown, querytest.Commented(101, 1), querytest.Approved(101, 1), // 1 to 5
			querytest.Posted(1), querytest.Commented(101, 1), querytest.Approved(101, 1), querytest.Approved(102, 1), // 6 to 9
			querytest.Approved(102, 1), querytest.Commented(102, 1), querytest.Commented(102, 1), unknown, // 10 to 13
		)
		want := []int{1, 2, 5, 9, 11} // 11 is the first CommentCreated of its comment
		live := querytest.ModelOf(t, nil)
		l := listen(t, serve(live), "")
		for i := range log {
			if err := live.Apply("", log[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		wantFrames(t, l, 0, want, log)
		replayed := model.New()
		if err := replayed.Apply("", log); err != nil {
			t.Fatal(err)
		}
		replayed.SetReady()
		for name, h := range map[string]http.Handler{
			"from memory": serve(live), "from the log": engine(context.Background(), replayed, querytest.ClientOf(querytest.NewLogServer(log))),
		} {
			for after := range len(log) {
				t.Log(name, after)
				l := listen(t, h, strconv.Itoa(after))
				wantFrames(t, l, uint64(after), beyond(want, after), log) //nolint:gosec // never negative
				l.leave()
			}
		}
	})
}

// The replica that it was at before may have been further.
func TestAReaderWhoIsAheadOfTheReplicaGetsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		m := querytest.ModelOf(t, log[:4])
		l := listen(t, serve(m), "9")
		for upTo := 5; upTo <= len(log); upTo++ {
			if err := m.Apply("", log[:upTo]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		wantFrames(t, l, 9, beyond(sent, 9), log)
	})
}

func TestALastEventIDThatIsNoNumberIs400(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.SomeLog()))
	for _, id := range []string{"x", "-1", "1.5", " ", "99999999999999999999", "1,2", "1/2", "1/x/y", "0//x", strings.Repeat("9", 10_000)} {
		wantProblem(t, id[:min(len(id), 20)], get(t, h, "/posts", "Accept", "text/event-stream", "Last-Event-ID", id), http.StatusBadRequest)
	}
}

func TestAQuietStreamShowsThatItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := querytest.ModelOf(t, querytest.SomeLog())
		l := listen(t, serve(m), "")
		time.Sleep(heartbeat - time.Millisecond) // of the bubble's clock
		if frames := l.frames(t); len(frames) != 1 {
			t.Errorf("too early: %+v", frames)
		}
		time.Sleep(time.Millisecond)
		if frames := l.frames(t); len(frames) != 2 || frames[1].comment == "" || frames[1].id+frames[1].event+frames[1].data != "" {
			t.Errorf("after 15 s: %+v", frames)
		}
		time.Sleep(4 * heartbeat)
		if frames := l.frames(t); len(frames) != 6 {
			t.Errorf("after 75 s: %+v", frames)
		}
		if err := m.Apply("", querytest.Numbered(len(querytest.SomeLog()), querytest.Posted(80))); err != nil {
			t.Fatal(err)
		}
		if frames := l.frames(t); len(frames) != 7 || frames[6].event != "PostCreated" {
			t.Errorf("after the quiet: %+v", frames)
		}
	})
}

func TestStoppingEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping, stop := context.WithCancel(context.Background())
		l := listen(t, engine(stopping, querytest.ModelOf(t, querytest.SomeLog()), nil), "")
		if l.hasEnded() {
			t.Fatal("ended by itself")
		}
		stop()
		if synctest.Wait(); !l.hasEnded() {
			t.Error("it goes on")
		}
	})
}

func TestStoppingEndsAStreamThatReadsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.Numbered(0, querytest.Posts(1, 201)...)
		m := querytest.ModelOf(t, log) // all of them are in the log alone
		server := querytest.NewLogServer(log)
		server.Most, server.Slow = 1, time.Second
		stopping, stop := context.WithCancel(context.Background())
		l := listen(t, engine(stopping, m, querytest.ClientOf(server)), "1")
		time.Sleep(5 * time.Second) // of the bubble's clock
		if l.hasEnded() {
			t.Fatal("ended by itself")
		}
		stop()
		if synctest.Wait(); !l.hasEnded() {
			t.Error("it goes on")
		}
	})
}

func TestAReaderWhoGoesAwayEndsTheStream(t *testing.T) {
	for name, goAway := range map[string]func(*listener){
		"at once": func(l *listener) { l.leave() },
		"noticed by the next write": func(l *listener) {
			l.mu.Lock()
			l.broken = true
			l.mu.Unlock()
			time.Sleep(heartbeat) // of the bubble's clock
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := listen(t, serve(querytest.ModelOf(t, querytest.SomeLog())), "")
			goAway(l)
			if synctest.Wait(); !l.hasEnded() {
				t.Errorf("%s: it goes on", name)
			}
		})
	}
}

// Many readers at once, each from elsewhere, each is sent everything once.
func TestEveryReaderIsSentEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.Numbered(0, querytest.Posts(1, 201)...)
		m := querytest.ModelOf(t, log[:50])
		server := querytest.NewLogServer(log)
		server.Most = 20
		h := engine(context.Background(), m, querytest.ClientOf(server))
		readers := map[int]*listener{}
		for after := 0; after < 50; after += 7 {
			readers[after] = listen(t, h, strconv.Itoa(after))
		}
		for upTo := 50; upTo <= len(log); upTo += 5 {
			if err := m.Apply("", log[:upTo]); err != nil {
				t.Fatal(err)
			}
		}
		all := make([]int, len(log))
		for i := range all {
			all[i] = i + 1
		}
		for after, l := range readers {
			wantFrames(t, l, uint64(after), beyond(all, after), log) //nolint:gosec // never negative
		}
	})
}
