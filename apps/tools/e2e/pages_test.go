package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
)

// pageOfPosts parses a page, with its keys in their order.
func pageOfPosts(t *testing.T, raw []byte) (keys []string, posts map[string]post) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		t.Fatalf("not an object: %s", raw)
	}
	posts = map[string]post{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		var p post
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, fmt.Sprint(key))
		posts[p.ID] = p
	}
	return keys, posts
}

var nextLink = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// next is the path of the next page, or empty if there is no Link header.
func (r response) next() string {
	if found := nextLink.FindStringSubmatch(r.header.Get("Link")); found != nil {
		return found[1]
	}
	return ""
}

// next is the path of the next page, or empty.
func next(t *testing.T, r response) string {
	t.Helper()
	path := r.next()
	if link := r.header.Get("Link"); link != "" && path == "" {
		t.Fatalf("Link: %q", link)
	}
	return path
}

func TestPostsKeepTheShapeOfTheNodeJSExample(t *testing.T) {
	p := shared.createPost(t, "shape")
	c := shared.createComment(t, p.ID, "shape")
	eventually(t, func() error { return settled(shared.App("query"), p.ID, map[string]string{c.ID: "approved"}) })
	r := want(t, 200, "GET", shared.url("query", "/posts"), "")
	shape := decode[map[string]map[string]any](t, r.body)[p.ID]
	if shape["id"] != p.ID || shape["title"] != "shape" {
		t.Fatalf("post: %v", shape)
	}
	comments, _ := shape["comments"].([]any)
	if len(comments) != 1 {
		t.Fatalf("comments: %v", shape)
	}
	if first, _ := comments[0].(map[string]any); first["id"] != c.ID || first["content"] != "shape" || first["status"] != "approved" {
		t.Errorf("comment: %v", comments[0])
	}
}

func TestWalkingThePagesUnderWritesShowsEveryPostOnce(t *testing.T) {
	var before []string
	for i := range 50 {
		before = append(before, shared.createPost(t, fmt.Sprint("walked ", i)).ID)
	}
	eventually(t, func() error {
		for _, id := range before {
			if r := want(t, 200, "GET", shared.url("query", "/posts?limit=100"), ""); !bytes.Contains(r.body, []byte(id)) {
				return fmt.Errorf("post %s is not there yet", id)
			}
		}
		return nil
	})
	stop, writer := make(chan struct{}), sync.WaitGroup{}
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = do("POST", shared.url("posts", "/posts/create"), `{"title":"meanwhile"}`)
			}
		}
	})
	var walked []string
	for path := "/posts?limit=7"; path != ""; {
		r := want(t, 200, "GET", shared.url("query", path), "")
		keys, posts := pageOfPosts(t, r.body)
		if len(keys) > 7 || len(keys) != len(posts) {
			t.Fatalf("page of %d keys, %d posts", len(keys), len(posts))
		}
		walked = append(walked, keys...)
		path = next(t, r)
	}
	close(stop)
	writer.Wait()
	if !slices.IsSortedFunc(walked, func(a, b string) int { return -compare(a, b) }) {
		t.Error("the posts are not newest first")
	}
	if len(slices.Compact(slices.Sorted(slices.Values(walked)))) != len(walked) {
		t.Error("a post was shown twice")
	}
	for _, id := range before {
		if !slices.Contains(walked, id) {
			t.Errorf("post %s was not shown", id)
		}
	}
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestAPageHas20PostsAndThe50NewestComments(t *testing.T) {
	p := shared.createPost(t, "many comments")
	var ids []string
	statuses := map[string]string{}
	for i := range 60 {
		c := shared.createComment(t, p.ID, fmt.Sprint("comment ", i))
		ids = append(ids, c.ID)
		statuses[c.ID] = "approved"
	}
	eventually(t, func() error { return settled(shared.App("query"), p.ID, statuses) })
	slices.Reverse(ids)

	r := want(t, 200, "GET", shared.url("query", "/posts"), "")
	keys, posts := pageOfPosts(t, r.body)
	if len(keys) != 20 || next(t, r) == "" {
		t.Errorf("%d posts, next %q", len(keys), next(t, r))
	}
	if got := idsOf(posts[p.ID].Comments); !slices.Equal(got, ids[:50]) {
		t.Errorf("comments in GET /posts: %v", got)
	}
	for _, service := range []string{"query", "comments"} {
		path := map[string]string{"query": "/posts/" + p.ID, "comments": "/posts/" + p.ID + "/comments"}[service]
		eventually(t, func() error {
			var walked []string
			for next1 := path + "?limit=13"; next1 != ""; {
				r := want(t, 200, "GET", shared.url(service, next1), "")
				if service == "query" {
					walked = append(walked, idsOf(decode[post](t, r.body).Comments)...)
				} else {
					walked = append(walked, idsOf(decode[[]comment](t, r.body))...)
				}
				next1 = next(t, r)
			}
			if !slices.Equal(walked, ids) {
				return fmt.Errorf("walking %s: %d comments", service, len(walked))
			}
			return nil
		})
	}
	for _, bad := range []string{"/posts?limit=0", "/posts?limit=101", "/posts?cursor=x", "/posts/" + p.ID + "?limit=x", "/posts?min_sequence=-1"} {
		want(t, 400, "GET", shared.url("query", bad), "")
	}
	for _, bad := range []string{"?limit=0", "?limit=101", "?cursor=0", "?cursor=1", "?cursor=x", "?cursor="} {
		want(t, 400, "GET", shared.url("comments", "/posts/"+p.ID+"/comments"+bad), "")
	}
}

// TestNewCommentsDoNotShiftAWalkOfTheList: a cursor is a place among the comments, and no
// count of them.
func TestNewCommentsDoNotShiftAWalkOfTheList(t *testing.T) {
	p := shared.createPost(t, "a walk")
	var ids []string
	statuses := map[string]string{}
	write := func(n int) {
		for range n {
			c := shared.createComment(t, p.ID, "a step")
			ids, statuses[c.ID] = append(ids, c.ID), "approved"
		}
		eventually(t, func() error { return settled(shared.App("query"), p.ID, statuses) })
	}
	write(5)
	first := want(t, 200, "GET", shared.url("comments", "/posts/"+p.ID+"/comments?limit=3"), "")
	write(4)
	second := want(t, 200, "GET", shared.url("comments", next(t, first)), "")
	walked := append(idsOf(decode[[]comment](t, first.body)), idsOf(decode[[]comment](t, second.body))...)
	if slices.Reverse(walked); !slices.Equal(walked, ids[:5]) || next(t, second) != "" {
		t.Errorf("walked %v of %v, next %q", walked, ids, next(t, second))
	}
}

func idsOf(comments []comment) []string {
	ids := make([]string, len(comments))
	for i, c := range comments {
		ids[i] = c.ID
	}
	return ids
}

func TestETagsAreStrongAndAnswered304(t *testing.T) {
	p := shared.createPost(t, "tagged")
	c := shared.createComment(t, p.ID, "tagged")
	eventually(t, func() error { return settled(shared.App("query"), p.ID, map[string]string{c.ID: "approved"}) })
	for _, path := range []string{"/posts", "/posts/" + p.ID, "/posts?limit=1"} {
		url := shared.url("query", path)
		first := want(t, 200, "GET", url, "")
		tag := first.header.Get("ETag")
		if len(tag) < 3 || tag[0] != '"' {
			t.Fatalf("%s: ETag %q", path, tag)
		}
		if r := want(t, 304, "GET", url, "", "If-None-Match: "+tag); len(r.body) != 0 || r.header.Get("ETag") != tag {
			t.Errorf("%s: 304 with %q, ETag %q", path, r.body, r.header.Get("ETag"))
		}
		want(t, 304, "GET", url, "", `If-None-Match: "other", W/`+tag)
		want(t, 200, "GET", url, "", `If-None-Match: "other"`)
	}
	// A changed post has another tag.
	url := shared.url("query", "/posts/"+p.ID)
	tag := want(t, 200, "GET", url, "").header.Get("ETag")
	shared.createComment(t, p.ID, "a change")
	eventually(t, func() error {
		if r, err := do("GET", url, "", "If-None-Match: "+tag); err != nil || r.status != 200 {
			return fmt.Errorf("still %s, %w", r, err)
		}
		return nil
	})
}

func TestAWriteIsReadableByItsNumber(t *testing.T) {
	p := shared.createPost(t, "mine")
	// The number is the log's. A client gets it there or from the live stream.
	var number string
	eventually(t, func() error {
		for _, e := range events(t, shared.App("eventlog")) {
			if e.Subject == p.ID {
				number = e.Sequence
				return nil
			}
		}
		return fmt.Errorf("the event is not in the log yet")
	})
	r := want(t, 200, "GET", shared.url("query", "/posts/"+p.ID+"?min_sequence="+number), "")
	if got := decode[post](t, r.body); got.Title != "mine" {
		t.Errorf("%s", r.body)
	}
	// A number that the log does not have is refused.
	want(t, 409, "GET", shared.url("query", "/posts?min_sequence=999999999"), "")
}
