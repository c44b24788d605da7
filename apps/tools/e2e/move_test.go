package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// transfer runs the tool that exports and imports, on a system.
func (s *stack) transfer(t *testing.T, tool string, args ...string) string {
	t.Helper()
	args = append([]string{"-app-id", s.App("eventlog").ID, "-eventlog", s.App("eventlog").Sidecar()}, args...)
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput() //nolint:gosec // our own
	if err != nil {
		t.Fatalf("transfer %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// A blog moves from the default engine to this one. Its readers get the same bytes, and it
// goes on there.
func TestABlogMovesToThisEngine(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "transfer")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "./apps/eventlog/transfer") //nolint:gosec // our own
	build.Dir = built.checkout.Root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	from := anotherOn(t, system.RedisEngine)
	var pages []string
	var posts []post
	for i := range 3 {
		p := from.createPost(t, fmt.Sprintf("A <post> & \u2028 %d", i))
		want := map[string]string{}
		for j := range 4 {
			content, status := fmt.Sprintf("comment %d", j), "approved"
			if j == 3 {
				content, status = "I like ORANGES.", "rejected"
			}
			want[from.createComment(t, p.ID, content).ID] = status
		}
		eventually(t, func() error { return settled(from.App("query"), p.ID, want) })
		pages, posts = append(pages, "query /posts/"+p.ID+"?limit=100", "comments /posts/"+p.ID+"/comments"), append(posts, p)
	}
	pages = append(pages, "query /posts", "query /posts?limit=2")
	read := func(s *stack) (all []string) {
		for _, page := range pages {
			service, path, _ := strings.Cut(page, " ")
			r, err := do("GET", s.url(service, path), "")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r.String())
		}
		return all
	}
	eventually(t, func() error { // the decision on a comment may be in the log after what it has caused
		if n := len(events(t, from.App("eventlog"))); n != 39 {
			return fmt.Errorf("the log has %d events, want 39", n)
		}
		return nil
	})
	file := filepath.Join(t.TempDir(), "blog")
	from.transfer(t, tool, "export", file)
	before := read(from)

	to := anotherOn(t, engine)
	if out, want := to.transfer(t, tool, "import", file), "has the 39 events"; !strings.Contains(out, want) {
		t.Errorf("the import says %q, want %q", out, want)
	}
	eventually(t, func() error {
		if after := read(to); !slices.Equal(after, before) {
			return fmt.Errorf("the pages are\n%q, want\n%q", after, before)
		}
		return nil
	})
	c := to.createComment(t, posts[0].ID, "and on it goes")
	eventually(t, func() error {
		r, err := do("GET", to.url("comments", "/posts/"+posts[0].ID+"/comments/"+c.ID), "")
		if err == nil && !strings.Contains(string(r.body), `"approved"`) {
			err = fmt.Errorf("the comment is %s", r)
		}
		return err
	})
	for name, s := range map[string]*stack{"old": from, "new": to} {
		eventually(t, func() error {
			if want, n := map[string]int{"old": 39, "new": 42}[name], len(events(t, s.App("eventlog"))); n != want {
				return fmt.Errorf("the log of the %s blog has %d events, want %d", name, n, want)
			}
			return nil
		})
	}
}
