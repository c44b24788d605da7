package comments

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// site is the API of one replica.
type site struct {
	*Service
	journal   *journaltest.Fake
	store     *statetest.Memory
	readModel *index
	progress  *followed
	handler   http.Handler
}

// newSite is a replica that knows the post, and has followed the log until now.
func newSite(t *testing.T, post string) *site {
	t.Helper()
	s := &site{journal: journaltest.New(), store: statetest.New(), readModel: &index{ids: map[string][]string{}}}
	s.start(t, s.journal, post)
	return s
}

// start starts a service with a journal.
func (s *site) start(t *testing.T, j command.Journal, post string) {
	t.Helper()
	s.progress = &followed{at: time.Now()}
	s.Service = New(Config{
		Source: "comments", Journal: j, Publisher: &topic{}, Store: s.store,
		Progress: s.progress, ReadModel: s.readModel, Guard: identitytest.Open(), Now: time.Now,
	})
	addPosts(t, s.posts, post)
	engine := web.NewEngine()
	s.Routes(engine)
	s.handler = engine
}

func (s *site) do(method, target, key, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res := httptest.NewRecorder()
	s.handler.ServeHTTP(res, req)
	return res
}

// The journal's commit is all: the comment is stored when the event comes back.
func TestCreatePublishesTheCommentAndStoresNothing(t *testing.T) {
	post := idAt(time.Now(), 1)
	s := newSite(t, post)
	res := s.do(http.MethodPost, "/posts/"+post+"/comments", "", `{"content":"<b>","author":"Ann"}`)
	if res.Code != http.StatusCreated || len(s.journal.Events()) != 1 || s.store.Named(statetest.Swap, "comment-") > 0 {
		t.Fatalf("answered %d with %d events: %s", res.Code, len(s.journal.Events()), res.Body)
	}
	var got event.Comment
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	e := onTheBus(t, s.journal.Events()[0], nil)
	if got != *e.Comment || got.PostID != post || got.Content != "<b>" || got.Author != "Ann" || got.Status != event.Pending || got.Revision != 1 {
		t.Errorf("answered %+v, published %+v", got, e.Comment)
	}
	if loc := res.Header().Get("Location"); loc != "/posts/"+post+"/comments/"+got.ID {
		t.Errorf("Location is %s", loc)
	}
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{e}), nil)
	if read := s.do(http.MethodGet, res.Header().Get("Location"), "", ""); read.Code != http.StatusOK || read.Body.String() != `{"id":"`+got.ID+`","status":"pending"}`+"\n" {
		t.Errorf("at its Location there is %d %s", read.Code, read.Body)
	}
	approved := got
	approved.Status, approved.Revision = event.Approved, 2
	wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, approved)}), nil)
	want := regexp.MustCompile(`,"receipt":"[^"]*"`).ReplaceAllString(res.Body.String(), "")
	want = strings.Replace(strings.Replace(want, "pending", "approved", 1), `"revision":1`, `"revision":2`, 1)
	if read := s.do(http.MethodGet, res.Header().Get("Location"), "", ""); read.Body.String() != want {
		t.Errorf("once it is approved there is %s, not %s", read.Body, want)
	}
}

// A key belongs to what was asked for, however the client wrote it.
func TestAKeyHoldsHoweverTheBodyIsWritten(t *testing.T) {
	post := idAt(time.Now(), 1)
	s := newSite(t, post)
	target := "/posts/" + post + "/comments"
	first := s.do(http.MethodPost, target, "key", `{"content":"a <b>","author":"Ann"}`)
	if first.Code != http.StatusCreated {
		t.Fatalf("answered %d %s", first.Code, first.Body)
	}
	for name, test := range map[string]struct {
		body   string
		status int
	}{
		"spaces":          {"\n{ \"content\" :\t\"a <b>\" , \"author\":\"Ann\"} ", 201},
		"order":           {`{"author":"Ann","content":"a <b>"}`, 201},
		"escapes":         {`{"content":"\u0061 \u003cb\u003E","\u0061uthor":"\u0041nn"}`, 201},
		"another content": {`{"content":"a <b> ","author":"Ann"}`, 422},
		"another author":  {`{"content":"a <b>","author":"ann"}`, 422},
		"no author":       {`{"content":"a <b>"}`, 422},
		"the other way":   {`{"content":"Ann","author":"a <b>"}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			res := s.do(http.MethodPost, target, "key", test.body)
			if res.Code != test.status {
				t.Fatalf("answered %d %s, want %d", res.Code, res.Body, test.status)
			}
			if test.status == http.StatusCreated && (res.Body.String() != first.Body.String() || res.Header().Get("Location") != first.Header().Get("Location")) {
				t.Errorf("answered %s, and at first %s", res.Body, first.Body)
			}
		})
	}
	for _, e := range s.journal.Events() {
		if e.ID != s.journal.Events()[0].ID {
			t.Errorf("another event was published: %+v", e)
		}
	}
	none := s.do(http.MethodPost, target, "another key", `{"content":"a"}`)
	if res := s.do(http.MethodPost, target, "another key", `{"author":"","content":"a"}`); res.Code != http.StatusCreated || res.Body.String() != none.Body.String() {
		t.Errorf("no author and an empty one: answered %d %s, and at first %s", res.Code, res.Body, none.Body)
	}
}

// Replicas of commit 3b4f435 compare this digest: during an upgrade one of them may
// get a repeat.
func TestAClaimHasTheDigestOfThePostAndTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		post := idAt(time.Now(), 1)
		s := &site{store: statetest.New(), readModel: &index{}}
		s.start(t, journaltest.Start(t, s.store, &journaltest.Bus{}), post)
		s.do(http.MethodPost, "/posts/"+post+"/comments", "key", ` {"content":"a"}`)
		var claim struct{ Request string }
		if err := json.Unmarshal([]byte(s.store.Value(fmt.Sprintf("claim-%x", sha256.Sum256([]byte("key"))))), &claim); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(post+"\n"+` {"content":"a"}`))); claim.Request != want {
			t.Errorf("the digest is %s, want %s", claim.Request, want)
		}
	})
}

func TestAKeyIsThatOfThePostAndTheBody(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	post, other := idAt(time.Now(), 1), idAt(time.Now(), 2)
	s := newSite(t, post)
	addPosts(t, s.posts, other)
	first := s.do(http.MethodPost, "/posts/"+post+"/comments", "key", `{"content":"a"}`)
	again := s.do(http.MethodPost, "/posts/"+post+"/comments", "key", `{"content":"a"}`)
	if first.Code != http.StatusCreated || again.Code != first.Code || again.Body.String() != first.Body.String() {
		t.Errorf("answered %d %s, then %d %s", first.Code, first.Body, again.Code, again.Body)
	}
	if got := log.String(); strings.Count(got, "repeat=false") != 1 || strings.Count(got, "repeat=true") != 1 {
		t.Errorf("the log does not distinguish the repeat from the first:\n%s", got)
	}
	for target, body := range map[string]string{"/posts/" + post + "/comments": `{"content":"b"}`, "/posts/" + other + "/comments": `{"content":"a"}`} {
		if res := s.do(http.MethodPost, target, "key", body); res.Code != http.StatusUnprocessableEntity {
			t.Errorf("another request with the key is answered %d %s", res.Code, res.Body)
		}
	}
}

func TestContentThatShowsNothingIsRefusedAndANameLikeThatIsNone(t *testing.T) {
	for _, blank := range []string{"   ", "\u200b", "\u00ad", "\u2800", "\u3164", "\u0007"} {
		post := idAt(time.Now(), 1)
		s := newSite(t, post)
		content, err := json.Marshal(blank)
		if err != nil {
			t.Fatal(err)
		}
		res := s.do(http.MethodPost, "/posts/"+post+"/comments", "", fmt.Sprintf(`{"content":%s}`, content))
		if res.Code != http.StatusUnprocessableEntity || len(s.journal.Events()) > 0 || !strings.Contains(res.Body.String(), "content must not be empty") {
			t.Errorf("content %+q: %d %s", blank, res.Code, res.Body)
		}
		res = s.do(http.MethodPost, "/posts/"+post+"/comments", "", fmt.Sprintf(`{"content":"x\u200b","author":%s}`, content))
		if res.Code != http.StatusCreated || strings.Contains(res.Body.String(), "author") || len(s.journal.Events()) != 1 {
			t.Fatalf("author %+q: %d %s", blank, res.Code, res.Body)
		}
		if c := s.journal.Events()[0].Comment; c.Author != "" || c.Content != "x\u200b" {
			t.Errorf("author %+q: published %+v", blank, c)
		}
	}
}

func TestWhatIsRefusedIsNotPublished(t *testing.T) {
	post := idAt(time.Now(), 1)
	none := "8c5f0f1e-58a5-4a0a-9a55-3d8c8b1f6b11"
	for _, test := range []struct {
		post, body string
		status     int
	}{
		{post, `{}`, 422},
		{post, `{"content":" "}`, 422},
		{post, `{"content":"` + strings.Repeat("x", 10_001) + `"}`, 422},
		{post, `{"content":"a","author":"` + strings.Repeat("x", 101) + `"}`, 422},
		{post, `{"content":"a","status":"approved"}`, 400},
		{post, ``, 400},
		{none, `{"content":"a"}`, 404},
		{idAt(time.Now().Add(-time.Hour), 1), `{"content":"a"}`, 404},
		{none, `{"content":""}`, 422}, // what the client can mend comes first
	} {
		s := newSite(t, post)
		if res := s.do(http.MethodPost, "/posts/"+test.post+"/comments", "key", test.body); res.Code != test.status || len(s.journal.Events()) > 0 || s.journal.Claims() > 0 {
			t.Errorf("%.40q is answered %d with %d events, want %d", test.body, res.Code, len(s.journal.Events()), test.status)
		}
	}
}

func TestWhileSomethingIsDownRequestsAreUnavailable(t *testing.T) {
	post := idAt(time.Now(), 1)
	for name, test := range map[string]struct {
		breakIt              func(*site)
		method, target, body string
	}{
		"create, a full journal":  {func(s *site) { s.journal.Fail(journal.ErrFull) }, http.MethodPost, "/posts/" + post + "/comments", `{"content":"a"}`},
		"create, another's store": {func(s *site) { s.store.Fail(errDown, statetest.Get) }, http.MethodPost, "/posts/" + idAt(time.Now(), 2) + "/comments", `{"content":"a"}`},
		"list":                    {func(s *site) { s.store.Fail(errDown, statetest.Get) }, http.MethodGet, "/posts/" + post + "/comments", ""},
		"list, the read model":    {func(s *site) { s.readModel.err = errDown }, http.MethodGet, "/posts/" + post + "/comments", ""},
		"get":                     {func(s *site) { s.store.Fail(errDown, statetest.Get) }, http.MethodGet, "/posts/" + post + "/comments/" + idAt(time.Now(), 3), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, post)
			test.breakIt(s)
			if res := s.do(test.method, test.target, "", test.body); res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
				t.Errorf("answered %d %s", res.Code, res.Body)
			}
		})
	}
}

// Whether a post exists is known from the log alone. Until the service has followed it past
// the post's time, a post that it does not know may be on its way.
func TestBehindTheLogAnUnknownPostIsUnavailableAndNotAbsent(t *testing.T) {
	for name, test := range map[string]struct{ method, body string }{
		"list": {http.MethodGet, ""}, "create": {http.MethodPost, `{"content":"a"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, old := newSite(t, idAt(time.Now(), 1)), idAt(time.Now().Add(-time.Hour), 2)
				path := "/posts/" + old + "/comments"
				for _, behind := range []time.Time{{}, time.Now().Add(-2 * time.Hour), time.Now().Add(postDelay - time.Hour)} {
					s.progress.upTo(behind)
					res := s.do(test.method, path, "", test.body)
					if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
						t.Errorf("followed up to %v: answered %d %s", behind, res.Code, res.Body)
					}
				}
				s.progress.upTo(time.Now().Add(postDelay - time.Hour + time.Millisecond))
				if res := s.do(test.method, path, "", test.body); res.Code != http.StatusNotFound {
					t.Errorf("answered %d %s", res.Code, res.Body)
				}
				// A post that is stored is there, however far behind the service is.
				s.progress.upTo(time.Time{})
				addPosts(t, s.posts, old)
				if res := s.do(test.method, path, "", test.body); res.Code >= http.StatusMultipleChoices {
					t.Errorf("answered %d %s", res.Code, res.Body)
				}
			})
		})
	}
}

// The journal has the comment. The bus gets it when it is back.
func TestWhileTheBusIsDownCommentsAreCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		post, bus := idAt(time.Now(), 1), &journaltest.Bus{}
		bus.Fail(errDown)
		s := &site{store: statetest.New(), readModel: &index{}}
		s.start(t, journaltest.Start(t, s.store, bus), post)
		res := s.do(http.MethodPost, "/posts/"+post+"/comments", "", `{"content":"a"}`)
		if res.Code != http.StatusCreated || len(bus.Events()) > 0 {
			t.Errorf("answered %d %s", res.Code, res.Body)
		}
		bus.Fail(nil)
		time.Sleep(time.Second) // of the bubble's clock
		if events := bus.Events(); len(events) != 1 || events[0].Comment.Content != "a" {
			t.Errorf("published %+v", events)
		}
	})
}

func TestWhileTheStoreIsDownNoCommentIsCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		post := idAt(time.Now(), 1)
		s := &site{store: statetest.New(), readModel: &index{}}
		s.start(t, journaltest.Start(t, s.store, &journaltest.Bus{}), post)
		s.store.Fail(errDown, statetest.Swap)
		res := s.do(http.MethodPost, "/posts/"+post+"/comments", "", `{"content":"a"}`)
		if res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
			t.Errorf("answered %d %s", res.Code, res.Body)
		}
		s.store.Fail(nil)
	})
}

func TestACommentIsFoundOnItsPostAlone(t *testing.T) {
	s := newSite(t, aPost)
	c := aComment(aPost, 1)
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)}), nil)
	for target, status := range map[string]int{
		aPost + "/comments/" + c.ID:                        200,
		idAt(noon, 2) + "/comments/" + c.ID:                404,
		aPost + "/comments/" + idAt(noon, 77):              404,
		aPost + "/comments/x":                              404,
		aPost + "/comments/" + strings.ToUpper(c.ID) + "x": 404,
	} {
		if res := s.do(http.MethodGet, "/posts/"+target, "", ""); res.Code != status {
			t.Errorf("%s: answered %d %s, want %d", target, res.Code, res.Body, status)
		}
	}
}

var nextPage = regexp.MustCompile(`^<([^>]*)>; rel="next"$`)

// addComments stores comments, and has the read model list them.
func (s *site) addComments(t *testing.T, post string, comments int) (listed []event.Comment) {
	t.Helper()
	events := make([]event.Event, comments)
	for n := range events {
		c := aComment(post, n)
		events[n], listed = about(t, c), append(listed, c)
		s.readModel.ids[post] = append(s.readModel.ids[post], c.ID)
	}
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), events), make([]error, comments)...)
	return listed
}

// public are comments as readers may see them.
func public(comments ...event.Comment) (all []event.PublicComment) {
	for _, c := range comments {
		all = append(all, c.Public())
	}
	return all
}

func TestTheLinksOfTheListWalkEveryCommentOnce(t *testing.T) {
	const total = 130
	s := newSite(t, aPost)
	want := s.addComments(t, aPost, total)
	slices.Reverse(want)
	for query, size := range map[string]int{"": defaultLimit, "?limit=1": 1, "?limit=100": 100, "?limit=65": 65} {
		var got []event.PublicComment
		for target := "/posts/" + aPost + "/comments" + query; target != ""; {
			res := s.do(http.MethodGet, target, "", "")
			var page []event.PublicComment
			if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || len(page) > size {
				t.Fatalf("%s: answered %d with %d comments (error %v)", target, res.Code, len(page), err)
			}
			got = append(got, page...)
			target = ""
			if link := res.Header().Get("Link"); link != "" {
				match := nextPage.FindStringSubmatch(link)
				if match == nil || len(page) != size {
					t.Fatalf("Link is %s after %d comments", link, len(page))
				}
				target = match[1]
			}
		}
		if !slices.Equal(got, public(want...)) {
			t.Errorf("%q: walked %d comments, want %d", query, len(got), total)
		}
	}
}

// A comment is listed as it is at its own address, whatever the read model knows of it; a
// page is read at once.
func TestTheListShowsCommentsAsTheServiceKnowsThem(t *testing.T) {
	s := newSite(t, aPost)
	listed := s.addComments(t, aPost, 5)
	wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(listed[3]))}), nil)
	var want []string
	for _, c := range slices.Backward(listed) {
		one := s.do(http.MethodGet, "/posts/"+aPost+"/comments/"+c.ID, "", "")
		want = append(want, strings.TrimSpace(one.Body.String()))
	}
	before := len(s.store.Calls(statetest.Get))
	res := s.do(http.MethodGet, "/posts/"+aPost+"/comments", "", "")
	if got := "[" + strings.Join(want, ",") + "]\n"; res.Code != http.StatusOK || res.Body.String() != got {
		t.Errorf("answered %d\n%swant\n%s", res.Code, res.Body, got)
	}
	if reads := s.store.Calls(statetest.Get)[before:]; len(reads) != 1 || len(reads[0].Items) != 5 {
		t.Errorf("read %v, want the 5 documents at once", reads)
	}
}

// The log may have a comment that the bus has not delivered here. The page goes on after it.
func TestACommentThatHasNotArrivedIsLeftOut(t *testing.T) {
	s := newSite(t, aPost)
	listed := s.addComments(t, aPost, 5)
	s.store.Remove("comment-" + listed[3].ID)
	res := s.do(http.MethodGet, "/posts/"+aPost+"/comments?limit=2", "", "")
	var page []event.PublicComment
	if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || !slices.Equal(page, public(listed[4])) {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
	if want := fmt.Sprintf(`</posts/%s/comments?limit=2&cursor=%s>; rel="next"`, aPost, listed[3].ID); res.Header().Get("Link") != want {
		t.Errorf("Link is %s, want %s", res.Header().Get("Link"), want)
	}
}

func TestAPostWithoutCommentsHasAnEmptyList(t *testing.T) {
	s := newSite(t, aPost)
	if res := s.do(http.MethodGet, "/posts/"+aPost+"/comments", "", ""); res.Code != http.StatusOK || res.Body.String() != "[]\n" || res.Header().Get("Link") != "" {
		t.Errorf("answered %d %q with Link %q", res.Code, res.Body, res.Header().Get("Link"))
	}
}

func TestThePagesBoundsAreChecked(t *testing.T) {
	s := newSite(t, aPost)
	s.addComments(t, aPost, 3)
	for query, status := range map[string]int{
		"limit=1": 200, "limit=100": 200, "limit=0": 400, "limit=101": 400, "limit=-1": 400, "limit=x": 400, "limit=": 400, "limit=1.0": 400,
		"cursor=" + aComment(aPost, 2).ID: 200, "cursor=": 400, "cursor=x": 400,
		"cursor=0": 400, "cursor=1": 400, "cursor=2147483647": 400, // those of commit 8c82a1c
	} {
		res := s.do(http.MethodGet, fmt.Sprintf("/posts/%s/comments?%s", aPost, query), "", "")
		if res.Code != status || status != 200 && !strings.Contains(res.Body.String(), `"status":400,"title":"Bad Request","detail":`) {
			t.Errorf("%s: answered %d %s, want %d", query, res.Code, res.Body, status)
		}
	}
}

// Encoded for the sidecar a long one is longer than what the sidecar takes, which would
// look as if query were down.
func TestACursorThatIsNoIDIsRefusedWithoutAskingTheReadModel(t *testing.T) {
	s := newSite(t, aPost)
	s.readModel.err = errors.New("it was asked")
	for _, cursor := range []string{"", "1", strings.Repeat("'", 7_000), strings.ToUpper(aPost)} {
		if res := s.do(http.MethodGet, "/posts/"+aPost+"/comments?cursor="+cursor, "", ""); res.Code != http.StatusBadRequest {
			t.Errorf("cursor %.40q: answered %d %s", cursor, res.Code, res.Body)
		}
	}
}

func TestTheListOfAPostThatIsNotThereIsNotThere(t *testing.T) {
	s := newSite(t, idAt(time.Now(), 1))
	for _, post := range []string{"x", idAt(time.Now().Add(-time.Hour), 2)} {
		if res := s.do(http.MethodGet, "/posts/"+post+"/comments", "", ""); res.Code != http.StatusNotFound {
			t.Errorf("%s: answered %d %s", post, res.Code, res.Body)
		}
	}
}
