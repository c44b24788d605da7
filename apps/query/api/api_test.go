package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
	"github.com/postbus/postbus/apps/query/snapshot"
)

func TestMain(m *testing.M) { querytest.Main(m) }

// engine serves a model's API.
func engine(stopping context.Context, m *model.Model, log eventlog.Reader) http.Handler {
	e := web.NewEngine()
	New(stopping, m, log, func() {}, make(web.Streams, 10), time.Now).Routes(e)
	return e
}

func serve(m *model.Model) http.Handler { return engine(context.Background(), m, nil) }

func get(t testing.TB, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	return res
}

func wantProblem(t testing.TB, what string, res *httptest.ResponseRecorder, status int) {
	t.Helper()
	var p web.Problem
	if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != status || p.Status != status || p.Detail == "" ||
		res.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: %d %s %s", what, res.Code, res.Header().Get("Content-Type"), res.Body)
	}
	if retry := res.Header().Get("Retry-After"); (retry != "") != (status == http.StatusServiceUnavailable) {
		t.Errorf("%s: %d with Retry-After %q", what, status, retry)
	}
}

var linkNext = regexp.MustCompile(`^<(/posts[^>]*)>; rel="next"$`)

// nextOf is the path in an answer's Link header, or empty.
func nextOf(t testing.TB, res *httptest.ResponseRecorder) string {
	t.Helper()
	link := res.Header().Get("Link")
	if link == "" {
		return ""
	}
	found := linkNext.FindStringSubmatch(link)
	if found == nil {
		t.Fatalf("Link is %q", link)
	}
	return found[1]
}

// downFrom are the ids from one down to another, as on pages.
func downFrom(from, to int) []string {
	all := []string{}
	for i := from; i >= to; i-- {
		all = append(all, querytest.UUID7(i))
	}
	return all
}

func TestPostsHaveTheShapeOfTheNodeJSExample(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.PostOf(1, 1, "a \"<title>\" & \u2028 😀"), querytest.Commented(101, 1), querytest.CommentOf(event.CommentUpdated, 102, 1, 2, "x,\n{}"), querytest.Posted(2)))
	res := get(t, serve(m), "/posts")
	if res.Code != http.StatusOK || res.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%d %s", res.Code, res.Header().Get("Content-Type"))
	}
	if got := res.Header().Get(eventlog.SequenceHeader); got != "4" {
		t.Errorf("Postbus-Sequence is %q", got)
	}
	var got map[string]querytest.Shown
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	first := got[querytest.UUID7(1)]
	if len(got) != 2 || first.ID != querytest.UUID7(1) || first.Title != "a \"<title>\" & \u2028 😀" || len(first.Comments) != 2 || first.CommentCount != 2 {
		t.Errorf("got %+v", got)
	}
	if c := first.Comments[1]; c.ID != querytest.UUID7(101) || c.Content != "" || c.Status != "pending" {
		t.Errorf("the older comment is %+v", c)
	}
	if c := first.Comments[0]; c.ID != querytest.UUID7(102) || c.Content != "x,\n{}" || c.Status != "approved" {
		t.Errorf("the newer comment is %+v", c)
	}
	// A client of the example loops over the comments without asking whether there are any.
	if second := got[querytest.UUID7(2)]; second.Comments == nil {
		t.Error("a post without comments has no empty array of them")
	}
}

func TestPostsOfAnEmptyModelAreAnEmptyObject(t *testing.T) {
	if res := get(t, serve(querytest.ModelOf(t, nil)), "/posts"); res.Code != http.StatusOK || res.Body.String() != "{}\n" || res.Header().Get("Link") != "" {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

func TestPostsAreTheNewestFirstAndTwentyUnlessAskedForOthers(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posts(1, 131)...)))
	for query, want := range map[string][]string{
		"":                                      downFrom(130, 111),
		"?limit=1":                              downFrom(130, 130),
		"?limit=7":                              downFrom(130, 124),
		"?limit=20":                             downFrom(130, 111),
		"?limit=100":                            downFrom(130, 31),
		"?cursor=" + querytest.UUID7(100):       downFrom(99, 80),
		"?limit=3&cursor=" + querytest.UUID7(3): downFrom(2, 1),
		"?limit=3&cursor=" + querytest.UUID7(4): downFrom(3, 1),
		"?cursor=" + querytest.UUID7(1):         {},
		"?limit=2&cursor=" + querytest.UUID7(999): downFrom(130, 129), // of a post that isn't there
	} {
		res := get(t, h, "/posts"+query)
		if got := querytest.KeysOf(t, res.Body.Bytes()); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
		hasMore := len(want) > 0 && want[len(want)-1] != querytest.UUID7(1)
		if next := nextOf(t, res); (next != "") != hasMore {
			t.Errorf("%s: the next page is %q", query, next)
		}
	}
}

func TestOrderIsThatOfTheIDsWhateverTheOrderOfTheEvents(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(5), querytest.Posted(1), querytest.Posted(9), querytest.Posted(3), querytest.Commented(205, 3), querytest.Commented(201, 3), querytest.Commented(203, 3)))
	if got := querytest.KeysOf(t, get(t, serve(m), "/posts").Body.Bytes()); !slices.Equal(got, querytest.IDs(9, 5, 3, 1)) {
		t.Errorf("posts: %v", got)
	}
	var p querytest.Shown
	if err := json.Unmarshal(get(t, serve(m), "/posts/"+querytest.UUID7(3)).Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Comments) != 3 || p.Comments[0].ID != querytest.UUID7(205) || p.Comments[1].ID != querytest.UUID7(203) || p.Comments[2].ID != querytest.UUID7(201) {
		t.Errorf("comments: %+v", p.Comments)
	}
}

func TestAWalkByCursorShowsEachPostOnceAlsoWhileNewerOnesCome(t *testing.T) {
	for _, limit := range []int{1, 3, 10, 50, 100} {
		m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posts(1, 51)...))
		h := serve(m)
		var seen []string
		newer := 51
		for path := fmt.Sprintf("/posts?limit=%d", limit); path != ""; {
			res := get(t, h, path)
			seen = append(seen, querytest.KeysOf(t, res.Body.Bytes())...)
			path = nextOf(t, res)
			if err := m.Apply("", querytest.Numbered(newer-1, querytest.Posted(newer), querytest.Posted(newer+1))); err != nil {
				t.Fatal(err)
			}
			newer += 2
		}
		if !slices.Equal(seen, downFrom(50, 1)) {
			t.Errorf("by %d: saw %d posts: %v", limit, len(seen), seen)
		}
	}
}

func TestAWalkThroughTheCommentsOfAPostShowsEachOnce(t *testing.T) {
	const n = 120
	log := []event.Event{querytest.Posted(1), querytest.Posted(2), querytest.Commented(900, 2)}
	for i := range n {
		log = append(log, querytest.Commented(100+i, 1))
	}
	m := querytest.ModelOf(t, querytest.Numbered(0, log...))
	h := serve(m)
	for _, c := range []struct {
		query string
		pages int
	}{{"", 3}, {"?limit=50", 3}, {"?limit=1", 120}, {"?limit=7", 18}, {"?limit=60", 2}, {"?limit=100", 2}} {
		var seen []string
		pages := 0
		for path := "/posts/" + querytest.UUID7(1) + c.query; path != ""; pages++ {
			res := get(t, h, path)
			var p querytest.Shown
			if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != http.StatusOK {
				t.Fatalf("%s: %d %v", path, res.Code, err)
			}
			if p.ID != querytest.UUID7(1) || p.CommentCount != n {
				t.Fatalf("%s: post %s, which counts %d comments", path, p.ID, p.CommentCount)
			}
			for _, comment := range p.Comments {
				seen = append(seen, comment.ID)
			}
			path = nextOf(t, res)
		}
		if pages != c.pages || !slices.Equal(seen, downFrom(100+n-1, 100)) {
			t.Errorf("%q: %d pages, %d comments; want %d pages", c.query, pages, len(seen), c.pages)
		}
	}
}

// Beyond its window of ids the event log may have an event twice.
func TestAnswersAreTheSameWithAndWithoutRepeats(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		long, _ := querytest.WithRepeats(r, log)
		want, got := serve(querytest.ModelOf(t, log)), serve(querytest.ModelOf(t, long))
		walk := func(target string) {
			for target != "" {
				a, b := get(t, want, target), get(t, got, target)
				if a.Code != b.Code || a.Body.String() != b.Body.String() || a.Header().Get("Etag") != b.Header().Get("Etag") || a.Header().Get("Link") != b.Header().Get("Link") {
					r.Fatalf("%s is answered without\n%d %v %s\nand with repeats\n%d %v %s", target, a.Code, a.Header(), a.Body, b.Code, b.Header(), b.Body)
				}
				target = nextOf(t, a)
			}
		}
		for _, target := range []string{"/posts", "/posts?limit=1", "/posts?limit=3", "/posts?comments=0&limit=2"} {
			walk(target)
		}
		for i := range 4 {
			walk("/posts/" + querytest.UUID7(i))
			walk("/posts/" + querytest.UUID7(i) + "?limit=1")
		}
	})
}

func TestAPageOfPostsHasTheNewestFiftyComments(t *testing.T) {
	log := []event.Event{querytest.Posted(1)}
	for i := range 60 {
		log = append(log, querytest.Commented(100+i, 1))
	}
	var got map[string]querytest.Shown
	if err := json.Unmarshal(get(t, serve(querytest.ModelOf(t, querytest.Numbered(0, log...))), "/posts").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	p := got[querytest.UUID7(1)]
	if len(p.Comments) != 50 || p.Comments[0].ID != querytest.UUID7(159) || p.Comments[49].ID != querytest.UUID7(110) || p.CommentCount != 60 {
		t.Errorf("%d comments, counts %d", len(p.Comments), p.CommentCount)
	}
}

func TestPostsWithoutCommentsAreSmallAndLeadToMoreOfThem(t *testing.T) {
	log := querytest.Posts(1, 41)
	for i := range log {
		log[i].Post.Body = strings.Repeat("word ", 1_000)
	}
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, append(log, querytest.Commented(101, 40), querytest.Approved(101, 40))...)))
	path, seen := "/posts?comments=0", []string{}
	for path != "" {
		res := get(t, h, path)
		var got map[string]querytest.Summary
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		for id, p := range got {
			if p.ID != id || p.Comments != nil || p.Body != nil || !strings.HasSuffix(p.Excerpt, "word…") || len(p.Excerpt) > 610 {
				t.Errorf("a post is %+v", p)
			}
		}
		seen = append(seen, querytest.KeysOf(t, res.Body.Bytes())...)
		if path = nextOf(t, res); path != "" && !strings.HasPrefix(path, "/posts?comments=0&") {
			t.Errorf("the next page is %s", path)
		}
	}
	if !slices.Equal(seen, downFrom(40, 1)) {
		t.Errorf("the pages have %v", seen)
	}
	for _, other := range []string{"1", "-1", "", "00", "x"} {
		wantProblem(t, "comments="+other, get(t, h, "/posts?comments="+other), http.StatusBadRequest)
	}
}

func TestAPostThatIsNotThereIs404(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(201, 2))))
	for name, id := range map[string]string{
		"unknown": querytest.UUID7(3), "without its event": querytest.UUID7(2), "a comment": querytest.UUID7(201), "no UUID": "x",
		"no UUIDv7": "6f1cbf0c-52a1-4f6e-9d0e-1f2f5d0a7c11", "upper case": "0190ABCD-0000-7000-8000-000000000001",
		"without dashes": strings.ReplaceAll(querytest.UUID7(1), "-", ""),
	} {
		res := get(t, h, "/posts/"+id)
		wantProblem(t, name, res, http.StatusNotFound)
		if got := res.Header().Get(eventlog.SequenceHeader); got != "2" {
			t.Errorf("%s: Postbus-Sequence is %q", name, got)
		}
	}
}

func TestABadLimitOrCursorIs400(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1))))
	for _, path := range []string{"/posts", "/posts/" + querytest.UUID7(1)} {
		for _, query := range []string{
			"limit=", "limit=0", "limit=-1", "limit=101", "limit=x", "limit=1.5", "limit=99999999999999999999",
			"cursor=", "cursor=x", "cursor=6f1cbf0c-52a1-4f6e-9d0e-1f2f5d0a7c11", "cursor=" + strings.ToUpper("0190abcd-0000-7000-8000-000000000001"),
			"cursor=%7B" + querytest.UUID7(1) + "%7D", "min_sequence=", "min_sequence=-1", "min_sequence=x", "min_sequence=1.5",
		} {
			wantProblem(t, path+"?"+query, get(t, h, path+"?"+query), http.StatusBadRequest)
		}
	}
}

func TestAReaderWhoHasThePageIsTold304(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posts(1, 31)...))
	h := serve(m)
	for _, path := range []string{"/posts", "/posts?limit=3", "/posts?comments=0", "/posts/" + querytest.UUID7(1), "/posts/" + querytest.UUID7(1) + "?limit=1"} {
		full := get(t, h, path)
		tag := full.Header().Get("ETag")
		if !regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(tag) {
			t.Fatalf("%s: the tag is %s", path, tag)
		}
		for header, want := range map[string]int{
			"":                           http.StatusOK,
			`"other"`:                    http.StatusOK,
			`W/"other"`:                  http.StatusOK,
			strings.Trim(tag, `"`):       http.StatusOK, // not quoted
			tag:                          http.StatusNotModified,
			"W/" + tag:                   http.StatusNotModified,
			"*":                          http.StatusNotModified,
			`"a", ` + tag:                http.StatusNotModified,
			`"a",W/` + tag + `,"b"`:      http.StatusNotModified,
			`"a" , "b", "` + tag[1:9]:    http.StatusOK,
			`  ` + tag + `  `:            http.StatusNotModified,
			`"` + strings.Repeat("0", 9): http.StatusOK,
		} {
			res := get(t, h, path, "If-None-Match", header)
			if res.Code != want {
				t.Errorf("%s with If-None-Match %s: %d, want %d", path, header, res.Code, want)
			}
			if res.Code == http.StatusNotModified && res.Body.Len() > 0 {
				t.Errorf("%s: 304 with a body: %s", path, res.Body)
			}
			// A 304 has to carry what the 200 would (RFC 9110, section 15.4.5).
			for _, name := range []string{"ETag", "Cache-Control", "Vary", "Link", eventlog.SequenceHeader} {
				if got := res.Header().Get(name); got != full.Header().Get(name) {
					t.Errorf("%s: %d with %s %q, want %q", path, res.Code, name, got, full.Header().Get(name))
				}
			}
		}
		if err := m.Apply("", querytest.Numbered(int(querytest.At(m)), querytest.Commented(500+int(querytest.At(m)), 1), querytest.Commented(600+int(querytest.At(m)), 30))); err != nil { //nolint:gosec // small
			t.Fatal(err)
		}
		if res := get(t, h, path, "If-None-Match", tag); res.Code != http.StatusOK || res.Header().Get("ETag") == tag {
			t.Errorf("%s: %d with the tag %s after a change", path, res.Code, res.Header().Get("ETag"))
		}
	}
}

func TestReadsBeforeTheModelIsReadyAre503(t *testing.T) {
	m := model.New()
	if err := m.Apply("", querytest.SomeLog()); err != nil {
		t.Fatal(err)
	}
	h := serve(m)
	for _, path := range []string{"/posts", "/posts?limit=x", "/posts?min_sequence=1", "/posts/" + querytest.UUID7(1)} {
		wantProblem(t, path, get(t, h, path), http.StatusServiceUnavailable)
	}
	wantProblem(t, "a stream", get(t, h, "/posts", "Accept", "text/event-stream"), http.StatusServiceUnavailable)
	m.SetReady()
	if res := get(t, h, "/posts"); res.Code != http.StatusOK {
		t.Errorf("when it is ready: %d", res.Code)
	}
}

// What a 404 says about the log must hold: up to the number that it names, there is no such
// post.
func TestAPostThatComesIsMissingOnlyBeforeItsNumber(t *testing.T) {
	const posts = 3_000
	m := querytest.ModelOf(t, nil)
	h := serve(m)
	go func() {
		for n := range posts {
			if err := m.Apply("", querytest.Numbered(n, querytest.Posted(n+1))); err != nil {
				t.Error(err)
			}
		}
	}()
	for n := 1; n <= posts; {
		res := get(t, h, "/posts/"+querytest.UUID7(n))
		at, err := strconv.Atoi(res.Header().Get(eventlog.SequenceHeader))
		if err != nil {
			t.Fatal(err)
		}
		if isThere := res.Code == http.StatusOK; isThere != (at >= n) {
			t.Fatalf("post %d is at number %[1]d, and the answer at %d is %d", n, at, res.Code)
		}
		n = max(n, at) + 1
	}
}

func TestMinSequenceThatIsReachedIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(querytest.ModelOf(t, querytest.SomeLog()))
		began := time.Now()
		for n := range len(querytest.SomeLog()) + 1 {
			if res := get(t, h, "/posts?min_sequence="+strconv.Itoa(n)); res.Code != http.StatusOK {
				t.Errorf("%d: %d", n, res.Code)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestMinSequenceWaitsUntilTheModelStandsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1)))
		answer := make(chan *httptest.ResponseRecorder, 1)
		go func() { answer <- get(t, serve(m), "/posts?min_sequence=3") }()
		time.Sleep(time.Second) // of the bubble's clock
		if err := m.Apply("", querytest.Numbered(1, querytest.Posted(2))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case res := <-answer:
			t.Fatalf("answered at 2: %d", res.Code)
		default:
		}
		began := time.Now()
		if err := m.Apply("", querytest.Numbered(2, querytest.Posted(3))); err != nil {
			t.Fatal(err)
		}
		res := <-answer
		if res.Code != http.StatusOK || time.Since(began) != 0 || res.Header().Get(eventlog.SequenceHeader) != "3" {
			t.Errorf("%d after %v more", res.Code, time.Since(began))
		}
		if got := querytest.KeysOf(t, res.Body.Bytes()); !slices.Equal(got, querytest.IDs(3, 2, 1)) {
			t.Errorf("got %v", got)
		}
	})
}

func TestMinSequenceThatDoesNotComeIs503AfterItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1))))
		for _, path := range []string{"/posts?min_sequence=2", "/posts/" + querytest.UUID7(1) + "?min_sequence=18446744073709551615"} {
			began := time.Now()
			wantProblem(t, path, get(t, h, path), http.StatusServiceUnavailable)
			if took := time.Since(began); took != positionWait {
				t.Errorf("%s took %v", path, took)
			}
		}
	})
}

func TestStoppingEndsTheWaitForANumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping, stop := context.WithCancel(context.Background())
		h := engine(stopping, querytest.ModelOf(t, nil), nil)
		answer := make(chan *httptest.ResponseRecorder, 1)
		began := time.Now()
		go func() { answer <- get(t, h, "/posts?min_sequence=2") }()
		synctest.Wait()
		stop()
		wantProblem(t, "stopping", <-answer, http.StatusServiceUnavailable)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestStreamsHaveABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := make(web.Streams, 1)
		e := web.NewEngine()
		New(context.Background(), querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1))), nil, func() {}, streams, time.Now).Routes(e)
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/posts", nil)
			req.Header.Set("Accept", "text/event-stream")
			e.ServeHTTP(httptest.NewRecorder(), req)
		}()
		synctest.Wait()
		wantProblem(t, "one more", get(t, e, "/posts", "Accept", "text/event-stream"), http.StatusServiceUnavailable)
		if res := get(t, e, "/posts"); res.Code != http.StatusOK {
			t.Errorf("a page is answered %d", res.Code)
		}
		leave()
		<-left
		if len(streams) != 0 {
			t.Error("a stream that has ended keeps its place")
		}
	})
}

// visit serves a model to one connection, in a bubble. Nothing is buffered on the
// way: what isn't read isn't written.
func visit(t *testing.T, m *model.Model) net.Conn {
	t.Helper()
	visitor, conn := net.Pipe()
	l := &singleListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- conn
	server := &http.Server{Handler: serve(m)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(web.WithWriteTimeout(l)) // until it is closed
	}()
	t.Cleanup(func() {
		_ = visitor.Close()
		_ = server.Close()
		<-ended
	})
	return visitor
}

// singleListener has one connection.
type singleListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *singleListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *singleListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *singleListener) Addr() net.Addr { return &net.TCPAddr{} }

func ask(t *testing.T, conn net.Conn, path, accept string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: query\r\nAccept: %s\r\n\r\n", path, accept); err != nil {
		t.Fatal(err)
	}
}

// tooLong is longer than a reader may take to accept a part of an answer (internal/web).
const tooLong = time.Minute

func TestAVisitorWhoDoesNotReadIsLetGo(t *testing.T) {
	for path, log := range map[string][]event.Event{"/posts?limit=100": querytest.Numbered(0, querytest.Posts(1, 131)...), "/posts": nil} {
		synctest.Test(t, func(t *testing.T) {
			conn := visit(t, querytest.ModelOf(t, log))
			ask(t, conn, path, "*/*")
			time.Sleep(tooLong) // of the bubble's clock
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("%s: after %v the answer can still be read: %d bytes, %v", path, tooLong, n, err)
			}
		})
	}
}

// A page's deadline is that of its own answer: what follows on the connection has
// none, or its own.
func TestTheDeadlineOfAPageEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := visit(t, querytest.ModelOf(t, querytest.SomeLog()))
		answers := bufio.NewReader(conn)
		for _, path := range []string{"/posts", "/posts/" + querytest.UUID7(99), "/elsewhere", "/posts"} {
			ask(t, conn, path, "*/*")
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			time.Sleep(tooLong) // of the bubble's clock
		}
		ask(t, conn, "/posts", "text/event-stream")
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		began, beats := time.Now(), 0
		for lines := bufio.NewScanner(res.Body); time.Since(began) < 4*tooLong && lines.Scan(); {
			if strings.HasPrefix(lines.Text(), ":") {
				beats++
			}
		}
		if want := int(4 * tooLong / heartbeat); beats != want {
			t.Errorf("%d heartbeats, want %d", beats, want)
		}
	})
}

func TestTwoReplicasAtTheSameNumberAnswerTheSame(t *testing.T) {
	log := querytest.SomeLog()
	restarted := model.New()
	store := statetest.New()
	if err := snapshot.New(querytest.ModelOf(t, log[:7]), store, time.Second, time.Now).Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	snapshot.New(restarted, store, time.Second, time.Now).Load(t.Context())
	if err := restarted.Apply("", log[7:]); err != nil {
		t.Fatal(err)
	}
	restarted.SetReady()
	one, other := serve(querytest.ModelOf(t, log)), serve(restarted)
	for _, path := range []string{"/posts", "/posts?limit=2", "/posts/" + querytest.UUID7(1), "/posts/" + querytest.UUID7(1) + "?limit=1"} {
		a, b := get(t, one, path), get(t, other, path)
		if a.Body.String() != b.Body.String() {
			t.Errorf("%s:\n%s\n%s", path, a.Body, b.Body)
		}
		for _, name := range []string{"ETag", "Link", eventlog.SequenceHeader} {
			if a.Header().Get(name) != b.Header().Get(name) {
				t.Errorf("%s: %s is %q and %q", path, name, a.Header().Get(name), b.Header().Get(name))
			}
		}
	}
}
