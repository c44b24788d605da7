package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/tools/system"
)

// found is what one place shows: the number of times that it shows each thing, by id.
type found struct {
	where  string
	posts  map[string]int
	status map[string][]string // of each comment, every time that it is shown
	// postOf and content are of the comments.
	postOf, content map[string]string
	// repeated are the ids that are shown more than once. wrong are all other faults, among them
	// lost decisions.
	repeated []string
	wrong    []error
	lost     int
}

func newFound(where string) *found {
	return &found{where: where, posts: map[string]int{}, status: map[string][]string{}, postOf: map[string]string{}, content: map[string]string{}}
}

func (f *found) comment(c comment, post string) {
	f.status[c.ID] = append(f.status[c.ID], c.Status)
	f.postOf[c.ID], f.content[c.ID] = post, c.Content
}

// verdict is the result of the accounts of one place.
type verdict struct {
	lost, repeated int
	errs           []error
}

func (v *verdict) add(lost, repeated int, err error) {
	v.lost, v.repeated, v.errs = v.lost+lost, v.repeated+repeated, append(v.errs, err)
}

// compare does the accounts by exact id: the place must have everything in the books
// once, with its status, and nothing else.
func (b books) compare(f *found) verdict {
	v := verdict{lost: f.lost}
	for _, id := range f.repeated {
		v.add(0, 1, fmt.Errorf("%s: %s is there again", f.where, id))
	}
	v.errs = append(v.errs, f.wrong...)
	for id := range b.posts {
		switch n := f.posts[id]; {
		case n == 0:
			v.add(1, 0, fmt.Errorf("%s: post %s is lost", f.where, id))
		case n > 1:
			v.add(0, n-1, fmt.Errorf("%s: post %s is there %d times", f.where, id, n))
		}
	}
	for id, post := range b.comments {
		switch statuses := f.status[id]; {
		case len(statuses) == 0:
			v.add(1, 0, fmt.Errorf("%s: comment %s is lost", f.where, id))
		case len(statuses) > 1:
			v.add(0, len(statuses)-1, fmt.Errorf("%s: comment %s is there %d times", f.where, id, len(statuses)))
		case statuses[0] != b.expected[id]:
			v.add(0, 0, fmt.Errorf("%s: comment %s is %s, not %s", f.where, id, statuses[0], b.expected[id]))
		case f.postOf[id] != post:
			v.add(0, 0, fmt.Errorf("%s: comment %s is at post %s, not %s", f.where, id, f.postOf[id], post))
		}
	}
	for id := range f.posts {
		if !b.posts[id] {
			v.add(0, 0, fmt.Errorf("%s: nobody wrote post %s", f.where, id))
		}
	}
	for id := range f.status {
		if _, ok := b.comments[id]; !ok {
			v.add(0, 0, fmt.Errorf("%s: nobody wrote comment %s", f.where, id))
		}
	}
	return v
}

// asDecided are the books with each comment as it stands in the log, if moderators decided on it.
// Read has compared that with their decisions.
func (b books) asDecided(log *found) books {
	b.expected = maps.Clone(b.expected)
	for id := range b.decided {
		if statuses := log.status[id]; len(statuses) > 0 {
			b.expected[id] = statuses[0]
		}
	}
	return b
}

// TestTheAccountsSeeALossAndARepeat is a test of the checker.
func TestTheAccountsSeeALossAndARepeat(t *testing.T) {
	b := books{posts: map[string]bool{"p": true}, comments: map[string]string{"c": "p"}, expected: map[string]string{"c": "approved"}}
	whole := func() *found {
		f := newFound("here")
		f.posts["p"] = 1
		f.comment(comment{ID: "c", Status: "approved"}, "p")
		return f
	}
	if v := b.compare(whole()); len(v.errs) > 0 {
		t.Fatal(v.errs)
	}
	for name, c := range map[string]struct {
		plant          func(*found)
		lost, repeated int
	}{
		"a lost post":        {func(f *found) { delete(f.posts, "p") }, 1, 0},
		"a repeated post":    {func(f *found) { f.posts["p"]++ }, 0, 1},
		"a lost comment":     {func(f *found) { delete(f.status, "c") }, 1, 0},
		"a repeated comment": {func(f *found) { f.comment(comment{ID: "c", Status: "approved"}, "p") }, 0, 1},
		"a repeated event":   {func(f *found) { f.repeated = []string{"event e"} }, 0, 1},
		"a gap":              {func(f *found) { f.wrong = []error{errors.New("a gap")} }, 0, 0},
		"a wrong status":     {func(f *found) { f.status["c"][0] = "pending" }, 0, 0},
		"a wrong post":       {func(f *found) { f.postOf["c"] = "q" }, 0, 0},
		"a post too many":    {func(f *found) { f.posts["q"] = 1 }, 0, 0},
		"a comment too many": {func(f *found) { f.comment(comment{ID: "d", Status: "approved"}, "p") }, 0, 0},
	} {
		f := whole()
		c.plant(f)
		if v := b.compare(f); len(v.errs) == 0 || v.lost != c.lost || v.repeated != c.repeated {
			t.Errorf("%s: lost %d, repeated %d, %v", name, v.lost, v.repeated, v.errs)
		}
	}
}

// get reads JSON without failing the test, because every error may happen while the
// system recovers.
func get(url string, into any) (response, error) {
	r, err := do("GET", url, "")
	if err == nil && r.status != 200 {
		err = fmt.Errorf("GET %s: %s", url, r)
	}
	// This refuses JSON with a name twice, which encoding/json accepts.
	if err == nil && !jsontext.Value(r.body).IsValid() {
		err = fmt.Errorf("GET %s: no JSON, or a name twice in one object: %.1000s", url, r.body)
	}
	if err == nil {
		err = json.Unmarshal(r.body, into)
	}
	return r, err
}

// inTheLog is what the log has after a number.
func inTheLog(a system.App, after int, b books) (*found, error) {
	events, err := eventsAfter(a, after)
	if err != nil {
		return nil, err
	}
	return b.read(events, after)
}

// read is what the events of the log after a number say. A gap, a repeated event, a missing
// planted comment, or a decision that is not as the books have it, is wrong.
func (b books) read(events []logEvent, after int) (*found, error) {
	planted, trails := map[string]bool{}, map[string]*trail{}
	f, ids := newFound("log"), map[string]bool{}
	for _, e := range events {
		if after++; strings.TrimLeft(e.Sequence, "0") != strconv.Itoa(after) {
			f.wrong = append(f.wrong, fmt.Errorf("event %d of the log has number %s", after, e.Sequence))
		}
		if ids[e.ID] {
			f.repeated = append(f.repeated, "event "+e.ID)
		}
		ids[e.ID] = true
		var c comment
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return nil, err
		}
		if b.planted[e.Subject] {
			planted[e.Subject] = true
			continue
		}
		if e.Type == "PostCreated" {
			f.posts[e.Subject]++
			continue
		}
		if trails[e.Subject] == nil {
			trails[e.Subject] = newTrail()
		}
		trails[e.Subject].add(e.Type, c)
	}
	if len(planted) < len(b.planted) {
		f.wrong = append(f.wrong, fmt.Errorf("the log has %d of %d planted comments", len(planted), len(b.planted)))
	}
	for id, t := range trails {
		f.status[id] = nil // compare says whether somebody has written it
		if c, has := t.stands(); has {
			f.comment(c, c.PostID)
		}
		if _, isOurs := b.comments[id]; isOurs {
			lost, errs := t.check(b.expected[id], b.decided[id])
			f.lost += lost
			for _, err := range errs {
				f.wrong = append(f.wrong, fmt.Errorf("log: comment %s: %w", id, err))
			}
		}
	}
	return f, nil
}

// inQuery is what a replica shows, without the posts of earlier loads.
func inQuery(a system.App, earlier map[string]bool) (*found, error) {
	f := newFound("query at " + a.URL())
	for path := "/posts?limit=100"; path != ""; {
		var page map[string]post
		r, err := get(a.URL()+path, &page)
		if err != nil {
			return nil, err
		}
		for id := range page {
			if earlier[id] {
				continue
			}
			f.posts[id]++
			for path := "/posts/" + id + "?limit=100"; path != ""; {
				var p post
				r, err := get(a.URL()+path, &p)
				if err != nil {
					return nil, err
				}
				for _, c := range p.Comments {
					f.comment(c, id)
				}
				path = nextOf(r)
			}
		}
		path = nextOf(r)
	}
	return f, nil
}

// commentReads is how many comments are read at once.
const commentReads = 16

// inComments is what a replica of the comments service has of the posts in b, and of the
// comments in b and in the log. It reads each comment at its own address, because the lists
// come from query. A comment with other content than the log has is wrong.
func inComments(a system.App, b books, log *found) (*found, error) {
	f := newFound("comments at " + a.URL())
	for id := range b.posts {
		var page []comment
		if _, err := get(a.URL()+"/posts/"+id+"/comments?limit=1", &page); err != nil {
			return nil, err
		}
		f.posts[id]++
	}
	postOf := maps.Clone(log.postOf)
	maps.Copy(postOf, b.comments)
	var mu sync.Mutex
	var reads errgroup.Group
	reads.SetLimit(commentReads)
	for id, post := range postOf {
		reads.Go(func() error {
			var c comment
			r, err := get(a.URL()+"/posts/"+post+"/comments/"+id, &c)
			if r.status == 404 {
				return nil // compare says that it is lost
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			logged, isLogged := log.content[id]
			at := c.PostID
			if c.Status != "approved" { // no public answer has its text, and its address says on which post it is
				logged, at = "", post
			}
			f.comment(c, at)
			if isLogged && c.Content != logged || c.ID != id {
				f.wrong = append(f.wrong, fmt.Errorf("%s: at the address of comment %s is %s with %.100q, and not %.100q", f.where, id, c.ID, c.Content, logged))
			}
			return nil
		})
	}
	return f, reads.Wait()
}

// TestTheAccountsReadEachCommentOfTheCommentsService is a test of the checker.
func TestTheAccountsReadEachCommentOfTheCommentsService(t *testing.T) {
	b := books{posts: map[string]bool{"p": true}, comments: map[string]string{"c": "p"}, expected: map[string]string{"c": "approved"}}
	for name, test := range map[string]struct {
		answers map[string]string // by address; there is nothing at others
		errs    []string
		lost    int
	}{
		"all is there":                         {map[string]string{}, nil, 0},
		"a lost comment":                       {map[string]string{"/posts/p/comments/c": ""}, []string{"comment c is lost"}, 1},
		"other content":                        {map[string]string{"/posts/p/comments/c": `{"id":"c","postId":"p","status":"approved","content":"y"}`}, []string{`with "y", and not "x"`}, 0},
		"another status":                       {map[string]string{"/posts/p/comments/c": `{"id":"c","status":"pending"}`}, []string{"comment c is pending"}, 0},
		"the text of one that is not approved": {map[string]string{"/posts/p/comments/c": `{"id":"c","status":"rejected","content":"x"}`}, []string{`with "x", and not ""`, "comment c is rejected"}, 0},
		"another post":                         {map[string]string{"/posts/p/comments/c": `{"id":"c","postId":"q","status":"approved","content":"x"}`}, []string{"comment c is at post q"}, 0},
		"another comment":                      {map[string]string{"/posts/p/comments/c": `{"id":"d","postId":"p","status":"approved","content":"x"}`}, []string{"comment c is lost", "nobody wrote comment d"}, 1},
		"one that is not ours":                 {map[string]string{"/posts/p/comments/logged": `{"id":"logged","postId":"p","status":"approved","content":"z"}`}, []string{"nobody wrote comment logged"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[string]string{"/posts/p/comments": "[]", "/posts/p/comments/c": `{"id":"c","postId":"p","status":"approved","content":"x"}`}
			maps.Copy(answers, test.answers)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := answers[r.URL.Path]
				if body == "" {
					w.WriteHeader(http.StatusNotFound)
				}
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			log := newFound("log")
			log.comment(comment{ID: "c", Content: "x"}, "p")
			log.comment(comment{ID: "logged", Content: "z"}, "p")
			f, err := inComments(system.App{Base: server.URL}, b, log)
			if err != nil {
				t.Fatal(err)
			}
			v := b.compare(f)
			all := fmt.Sprint(errors.Join(v.errs...))
			for _, want := range test.errs {
				if !strings.Contains(all, want) {
					t.Errorf("nothing says %q: %s", want, all)
				}
			}
			if v.lost != test.lost || len(test.errs) == 0 && len(v.errs) > 0 {
				t.Errorf("lost %d: %s", v.lost, all)
			}
		})
	}
}

func nextOf(r response) string {
	if m := nextLink.FindStringSubmatch(r.header.Get("Link")); m != nil {
		return m[1]
	}
	return ""
}

// quiet returns the number that query is at once nothing more will reach it. Waiting for
// all comments is not enough: the log may number a comment's last event before its
// others.
func (s *stack) quiet(t *testing.T) uint64 {
	t.Helper()
	var at uint64
	eventually(t, func() error {
		if err := s.nothingPending(t); err != nil {
			return err
		}
		at = sequence(t, want(t, 200, "GET", s.url("query", "/posts"), ""))
		if last := len(events(t, s.App("eventlog"))); at != uint64(last) {
			return fmt.Errorf("query stands at %d of %d", at, last)
		}
		return nil
	})
	return at
}
