package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// padded is a valid post's body of exactly that many bytes.
func padded(bytes int) string {
	const body = `{"title":"edge"}`
	return body + strings.Repeat(" ", bytes-len(body))
}

func TestBadInputGetsAClearError(t *testing.T) {
	p := shared.createPost(t, "errors")
	create, comments := shared.url("posts", "/posts/create"), shared.url("comments", "/posts/"+p.ID+"/comments")
	title := func(s string) string { return `{"title":"` + s + `"}` }
	content := func(s string) string { return `{"content":"` + s + `"}` }
	for _, c := range []struct {
		name, method, url, body string
		status                  int
		headers                 []string
	}{
		{"64 KiB exactly", "POST", create, padded(64 << 10), 201, nil},
		{"one byte more", "POST", create, padded(64<<10 + 1), 413, nil},
		{"title of 1 character", "POST", create, title("x"), 201, nil},
		{"title of 200 characters", "POST", create, title(strings.Repeat("x", 200)), 201, nil},
		{"title of 201 characters", "POST", create, title(strings.Repeat("x", 201)), 422, nil},
		{"an emoji counts as one", "POST", create, title(strings.Repeat("🍊", 200)), 201, nil},
		{"201 emojis", "POST", create, title(strings.Repeat("🍊", 201)), 422, nil},
		{"empty title", "POST", create, title(""), 422, nil},
		{"blank title", "POST", create, title("  "), 422, nil},
		{"no title", "POST", create, `{}`, 422, nil},
		{"invalid UTF-8", "POST", create, title("\xff"), 422, nil},
		{"half of a surrogate pair", "POST", create, title(`\ud800`), 422, nil},
		{"a whole surrogate pair", "POST", create, title(`\ud83c\udf4a`), 201, nil},
		{"unknown field", "POST", create, `{"title":"x","status":"approved"}`, 400, nil},
		{"wrong type", "POST", create, `{"title":1}`, 400, nil},
		{"not JSON", "POST", create, `title=x`, 400, nil},
		{"an array", "POST", create, `[]`, 400, nil},
		{"null", "POST", create, `null`, 400, nil},
		{"something after it", "POST", create, `{"title":"x"}{}`, 400, nil},
		{"empty body", "POST", create, ``, 400, []string{"Content-Type: application/json"}},
		{"deeply nested", "POST", create, `{"title":` + strings.Repeat("[", 60_000), 400, nil},
		{"deeply nested and closed", "POST", create, `{"title":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}`, 400, nil},
		{"wrong content type", "POST", create, title("x"), 415, []string{"Content-Type: text/plain"}},
		{"a content coding", "POST", create, title("x"), 415, []string{"Content-Encoding: gzip"}},
		{"a content coding, through the host", "POST", shared.url("client", "/posts/create"), title("x"), 415, []string{"Content-Encoding: br"}},
		{"the coding that is none", "POST", create, title("x"), 201, []string{"Content-Encoding: identity"}},
		{"content type with charset", "POST", create, title("x"), 201, []string{"Content-Type: application/json; charset=utf-8"}},
		{"wrong method", "PUT", create, title("x"), 405, nil},
		{"no such path", "GET", shared.url("posts", "/nothing"), "", 404, nil},
		{"no such path of query", "GET", shared.url("query", "/nothing"), "", 404, nil},
		{"wrong method on query", "POST", shared.url("query", "/posts"), "{}", 405, nil},
		{"HEAD on query", "HEAD", shared.url("query", "/posts"), "", 200, nil},
		{"HEAD on comments", "HEAD", comments, "", 200, nil},
		{"wrong method on eventlog", "DELETE", shared.url("eventlog", "/events"), "", 405, nil},

		{"content of 1 character", "POST", comments, content("x"), 201, nil},
		{"content of 10,000 characters", "POST", comments, content(strings.Repeat("é", 10_000)), 201, nil},
		{"content of 10,001 characters", "POST", comments, content(strings.Repeat("é", 10_001)), 422, nil},
		{"empty content", "POST", comments, content(""), 422, nil},
		{"invalid UTF-8 in a comment", "POST", comments, content("\xc3"), 422, nil},
		{"unknown field in a comment", "POST", comments, `{"content":"x","id":"mine"}`, 400, nil},
		{"comment over 64 KiB", "POST", comments, content(strings.Repeat("x", 64<<10)), 413, nil},
		{"wrong method on comments", "DELETE", comments, "", 405, nil},
		{"no such comment", "GET", comments + "/" + p.ID, "", 404, nil},
		{"a comment's id that is none", "GET", comments + "/x", "", 404, nil},
		{"no such post", "GET", shared.url("query", "/posts/x"), "", 404, nil},

		{"a query with a semicolon", "GET", shared.url("query", "/posts?limit=1;cursor=x"), "", 400, nil},
		{"a query with a semicolon, through the host", "GET", shared.url("client", "/posts?limit=1;cursor=x"), "", 400, nil},
		{"a query that is cut off", "GET", comments + "?limit=%", "", 400, nil},
		{"a limit twice", "GET", shared.url("eventlog", "/events?limit=1&limit=2"), "", 400, nil},
		{"a limit that is none", "GET", shared.url("query", "/posts?limit=x"), "", 400, nil},
		{"a cursor that is none", "GET", shared.url("query", "/posts?cursor=x"), "", 400, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := want(t, c.status, c.method, c.url, c.body, c.headers...)
			if c.status < 400 {
				return
			}
			if got := r.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type: %q", got)
			}
			problem := decode[struct {
				Status        int
				Title, Detail string
			}](t, r.body)
			if problem.Status != c.status || problem.Title != http.StatusText(c.status) || problem.Detail == "" {
				t.Errorf("problem: %s", r.body)
			}
			if c.status == 405 && r.header.Get("Allow") == "" {
				t.Error("no Allow header")
			}
		})
	}
}

func TestACommentOnAPostThatDoesNotExistIs404(t *testing.T) {
	shared.createPost(t, "so that comments knows a young one")
	old := uuid.Must(uuid.NewV7())
	copy(old[:6], []byte{0x01, 0x80, 0, 0, 0, 0}) // of 2022
	for name, id := range map[string]string{
		"no UUID": "nothing", "a UUIDv4": uuid.NewString(), "an old UUIDv7": old.String(), "upper case": strings.ToUpper(old.String()),
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, func() error { // until comments knows the young post
				r, err := do("POST", shared.url("comments", "/posts/"+id+"/comments"), `{"content":"lost"}`)
				if err != nil || r.status != 404 {
					return fmt.Errorf("%s, %w", r, err)
				}
				return nil
			})
			fastest := time.Hour
			for range 5 {
				r := want(t, 404, "POST", shared.url("comments", "/posts/"+id+"/comments"), `{"content":"lost"}`)
				fastest = min(fastest, r.took)
			}
			if fastest > 500*time.Millisecond { // it would wait for 0.6 s
				t.Errorf("not at once: it took %s", fastest)
			}
		})
	}
}

func TestAPostThatMayBeOnItsWayIsNever404(t *testing.T) {
	// Comments is delivered no posts: its subscription is another app's.
	s := another(t, func(resource map[string]any) {
		if meta, _ := resource["metadata"].(map[string]any); meta["name"] == "comments-post-created" {
			resource["scopes"] = []any{"nobody"}
		}
	}, built.binaries)
	comment := func(post string) (response, error) {
		return do("POST", s.url("comments", "/posts/"+post+"/comments"), `{"content":"too early"}`)
	}
	inTheLog := func(post string) func() error { // comments reads there what it was not delivered
		return func() error {
			r, err := comment(post)
			if err == nil && r.status == 404 {
				t.Fatalf("%s", r)
			}
			if err != nil || r.status != 201 {
				return fmt.Errorf("%s, %w", r, err)
			}
			return nil
		}
	}
	eventually(t, inTheLog(s.createPost(t, "so that comments follows the log").ID))
	p := s.createPost(t, "not delivered")
	r := want(t, 503, "POST", s.url("comments", "/posts/"+p.ID+"/comments"), `{"content":"too early"}`)
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if r.took < 600*time.Millisecond || r.took > 10*time.Second {
		t.Errorf("it waited for %s, not for about 0.6 s", r.took)
	}
	eventually(t, inTheLog(p.ID))
}
