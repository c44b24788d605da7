package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/history"
	"github.com/postbus/postbus/apps/tools/system"
)

// The readers are few and slow, so that they cost the system little beside the writers.
const (
	pageReaders = 2
	// readEvery is how often each of them reads a page.
	readEvery = 200 * time.Millisecond
	// readLogEvery is how often the one reader of the log reads.
	readLogEvery = 500 * time.Millisecond
	// logPage is how many events it asks for at once.
	logPage = 1_000
	// readPosts is how many of the first posts are read. They have the most comments.
	readPosts = 8
)

// browse reads one page after another, as a session that never reads backwards: each read
// asks for what the one before showed. Every other one asks for the furthest that any
// reader was shown.
func (l *load) browse(ctx context.Context, reader string, random *rand.Rand) {
	var own eventlog.Position
	losses := l.losses.Load()
	every(ctx, readEvery, func(n int) {
		if now := l.losses.Load(); now != losses {
			losses, own = now, eventlog.Position{}
		}
		least := own
		if n%2 == 1 {
			least = l.furthest(own, losses)
		}
		replicas := l.replicas("query")
		at, err := l.readPage(ctx, replicas[random.IntN(len(replicas))], reader, l.somePage(random), least, losses)
		if err != nil {
			l.fail(err)
		}
		if at.Sequence > 0 {
			own = at
			l.furthest(own, losses)
		}
	})
}

// whileTheLogLosesItsEnd has the readers begin anew when a function is done. What they are shown
// meanwhile says nothing.
func (l *load) whileTheLogLosesItsEnd(during func()) {
	l.history.WhileTheLogLosesItsEnd(func() {
		during()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.losses.Add(1)
		l.shown = eventlog.Position{}
	})
}

// furthest returns the furthest position that any reader was shown, with p, which is from after so
// many losses of the log's end.
func (l *load) furthest(p eventlog.Position, losses int64) eventlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Sequence > l.shown.Sequence && losses == l.losses.Load() {
		l.shown = p
	}
	return l.shown
}

// somePage is the address of the list of posts, or of one of the first posts.
func (l *load) somePage(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := min(len(l.posts), readPosts); n > 0 && random.IntN(4) > 0 {
		return "/posts/" + l.posts[random.IntN(n)] + "?limit=100"
	}
	return "/posts?limit=5"
}

// readPage reads and records a page. It returns where in the log that stands, which is
// empty if there was no answer. The error is about an answer that is none. Nothing is asked if
// least is from before a loss of the log's end.
func (l *load) readPage(ctx context.Context, a system.App, reader, page string, least eventlog.Position, losses int64) (at eventlog.Position, err error) {
	isMixed := l.s.isMixed
	if isMixed {
		least = eventlog.Position{Sequence: least.Sequence}
	}
	address := a.URL() + page
	if least.Sequence > 0 {
		address += "&min_sequence=" + url.QueryEscape(least.String())
	}
	record := l.history.Read(reader, page, least)
	if losses != l.losses.Load() {
		return eventlog.Position{}, nil
	}
	res, err := ask(ctx, address)
	switch {
	case err != nil || res.status >= http.StatusInternalServerError:
		return eventlog.Position{}, nil
	case res.status == http.StatusConflict:
		record.Misfit()
		return eventlog.Position{}, nil
	case res.status != http.StatusOK && res.status != http.StatusNotFound:
		return eventlog.Position{}, fmt.Errorf("GET %s: %s", address, res)
	}
	if at, err = eventlog.FromHeaders(res.header); err != nil {
		return at, fmt.Errorf("GET %s: %w", address, err)
	}
	view, err := viewOf(page, res)
	if isMixed {
		view.Digest = 0 // replicas show the same in other words
	}
	if err == nil {
		record.Answered(at, view)
	}
	return at, err
}

// viewOf is what a page shows: posts, with how many comments they have, and comments, which
// are 1 while they are pending and then 2.
func viewOf(page string, res response) (history.View, error) {
	v := history.View{Entities: map[string]int{}, More: nextOf(res) != "", Digest: digest(bytes.TrimSpace(res.body))}
	if res.status == http.StatusNotFound {
		v.Digest = 0 // a problem document says how the request went
		return v, nil
	}
	if !strings.HasPrefix(page, "/posts/") {
		var list map[string]post
		err := json.Unmarshal(res.body, &list)
		for id, p := range list {
			v.Entities[id] = p.CommentCount
		}
		return v, err
	}
	var p post
	err := json.Unmarshal(res.body, &p)
	v.Entities[p.ID] = p.CommentCount
	for _, c := range p.Comments {
		v.Entities[c.ID] = 1
		if c.Status != "pending" {
			v.Entities[c.ID] = 2
		}
	}
	return v, err
}

// followLog reads the log from its replicas in turn: what is new, and every other time
// something that was there before.
func (l *load) followLog(ctx context.Context, random *rand.Rand) {
	known := map[string]eventlog.Position{} // by replica
	losses := l.losses.Load()
	every(ctx, readLogEvery, func(n int) {
		if now := l.losses.Load(); now != losses {
			losses, known = now, map[string]eventlog.Position{}
		}
		replicas := l.replicas("eventlog")
		a := replicas[n/2%len(replicas)]
		after := known[a.URL()]
		if n%2 == 1 && after.Sequence > 0 {
			after = eventlog.Position{Sequence: random.Uint64N(after.Sequence)}
		}
		upTo, err := l.readEvents(ctx, a, after, losses)
		if err != nil {
			l.fail(err)
		}
		if upTo.Sequence > known[a.URL()].Sequence {
			known[a.URL()] = upTo
		}
	})
}

// readEvents reads and records events of the log after a position. It returns the position
// of the last one, which is empty if there was none. The error is about an answer that is
// none. Nothing is asked if the position is from before a loss of the log's end.
func (l *load) readEvents(ctx context.Context, a system.App, after eventlog.Position, losses int64) (upTo eventlog.Position, err error) {
	address := fmt.Sprintf("%s%s?after=%d&limit=%d&log=%s&event=%s", a.URL(), eventlog.EventsPath, after.Sequence, logPage, after.Log, url.QueryEscape(after.Event))
	replica := a.URL()
	if l.s.replicasOf != nil {
		replica = "" // on a cluster, any that has this address now
	}
	record := l.history.ReadLog(replica, after)
	if losses != l.losses.Load() {
		return upTo, nil
	}
	res, err := ask(ctx, address)
	switch {
	case err != nil || res.status >= http.StatusInternalServerError:
		return upTo, nil
	case res.status == http.StatusConflict:
		record.Misfit()
		return upTo, nil
	case res.status != http.StatusOK:
		return upTo, fmt.Errorf("GET %s: %s", address, res)
	}
	last, err := eventlog.FromHeaders(res.header)
	if err != nil {
		return upTo, fmt.Errorf("GET %s: %w", address, err)
	}
	var raw []json.RawMessage
	if json.Unmarshal(res.body, &raw) != nil {
		return upTo, nil // an answer that can't be completed is cut off
	}
	events := make([]history.Event, len(raw))
	for i, one := range raw {
		var e logEvent
		if err := json.Unmarshal(one, &e); err != nil {
			return upTo, fmt.Errorf("GET %s: %w", address, err)
		}
		number, err := strconv.ParseUint(e.Sequence, 10, 64)
		if err != nil {
			return upTo, fmt.Errorf("GET %s: %w", address, err)
		}
		events[i] = history.Event{Number: number, ID: e.ID, Digest: digest(one)}
		upTo = eventlog.Position{Sequence: number, Log: last.Log, Event: e.ID}
	}
	record.Answered(last, events)
	return upTo, nil
}

// replicas are those of a service that readers use. On a cluster that is the service's
// address, because pods come and go.
func (l *load) replicas(name string) []system.App {
	if l.s.replicasOf != nil {
		return []system.App{l.s.App(name)}
	}
	return l.s.all(name)
}

// checkHistory fails the test if the load's calls contradict what clients are promised.
func (l *load) checkHistory(t *testing.T) {
	t.Helper()
	t.Log("the history:", l.history)
	folder := filepath.Join(cmp.Or(l.s.dir, os.TempDir()), "history", notInPaths.ReplaceAllString(t.Name(), "-"))
	if err := l.history.Check(folder); err != nil {
		t.Error(err)
	}
}

// TestTheAccountsReadTheHistoryOfTheLoad is a test of the checker.
func TestTheAccountsReadTheHistoryOfTheLoad(t *testing.T) {
	const oneLog = "0193c7a1-7c00-7000-8000-000000000001"
	// answer is what a service answers, with a status, where the log ends, and a body.
	type answer struct {
		status int
		at     string
		body   string
	}
	first := answer{200, "7/" + oneLog + "/e7", `{"id":"p","comments":[{"id":"c","status":"approved"}],"commentCount":1}`}
	event := answer{200, "1/" + oneLog + "/e1", `[{"id":"e1","sequence":"1"}]`}
	for name, test := range map[string]struct {
		path    string
		answers []answer
		said    string
	}{
		"a page grows": {"/posts/p?limit=100", []answer{{503, "", "{}"}, first,
			{200, "9/" + oneLog + "/e9", `{"id":"p","comments":[{"id":"d","status":"pending"},{"id":"c","status":"approved"}],"commentCount":2}`}}, ""},
		"a page does not":             {"/posts/p?limit=100", []answer{first, {200, "9/" + oneLog + "/e9", `{"id":"p","comments":[],"commentCount":0}`}}, "page /posts/p"},
		"a post is gone":              {"/posts/p?limit=100", []answer{first, {404, "9/" + oneLog + "/e9", `{}`}}, "page /posts/p"},
		"a comment is pending again":  {"/posts/p?limit=100", []answer{first, {200, "9/" + oneLog + "/e9", strings.Replace(first.body, "approved", "pending", 1)}}, "page /posts/p"},
		"a position is refused":       {"/posts/p?limit=100", []answer{first, {409, first.at, `{}`}}, "reader r"},
		"a list has fewer comments":   {"/posts?limit=5", []answer{{200, first.at, `{"p":{"commentCount":2}}`}, {200, "9/" + oneLog + "/e9", `{"p":{"commentCount":1}}`}}, "page /posts"},
		"the log stays as it is":      {eventlog.EventsPath, []answer{event, {200, event.at, `[{"id":"e1"`}, {503, "", ""}, event}, ""},
		"an event of the log changes": {eventlog.EventsPath, []answer{event, {200, event.at, `[{"id":"e1","sequence":"1","x":0}]`}}, "event 1"},
		"the log loses its end":       {eventlog.EventsPath, []answer{event, {200, "0", `[]`}}, "replica "},
	} {
		t.Run(name, func(t *testing.T) {
			answers := test.answers
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(eventlog.PositionHeader, answers[0].at)
				w.WriteHeader(answers[0].status)
				_, _ = io.WriteString(w, answers[0].body)
				answers = answers[1:]
			}))
			defer server.Close()
			a, l := system.App{Base: server.URL}, &load{s: &stack{}, history: history.New()}
			for len(answers) > 0 {
				var err error
				if test.path == eventlog.EventsPath {
					_, err = l.readEvents(t.Context(), a, eventlog.Position{}, 0)
				} else {
					_, err = l.readPage(t.Context(), a, "r", test.path, eventlog.Position{}, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			switch err := l.history.Check(""); {
			case test.said == "" && err != nil:
				t.Errorf("it is fine, and: %v", err)
			case test.said != "" && (err == nil || !strings.Contains(err.Error(), "("+test.said)):
				t.Errorf("nothing says %q: %v", test.said, err)
			}
		})
	}
}

// every calls what at intervals until the context is done.
func every(ctx context.Context, interval time.Duration, what func(n int)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		what(n)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask reads an address with the load's client. The context's end is an error.
func ask(ctx context.Context, url string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return response{}, err
	}
	res, err := loadClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return response{status: res.StatusCode, header: res.Header, body: body}, err
}

func digest(raw []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(raw) // never fails
	return h.Sum64()
}
