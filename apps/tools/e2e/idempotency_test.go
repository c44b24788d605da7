package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

// together sends requests at the same instant and returns the answers.
func together(t *testing.T, n int, send func(i int) (response, error)) []response {
	t.Helper()
	answers, errs := make([]response, n), make([]error, n)
	begin, all := make(chan struct{}), sync.WaitGroup{}
	for i := range n {
		all.Go(func() {
			<-begin
			answers[i], errs[i] = send(i)
		})
	}
	close(begin)
	all.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

func TestARepeatedPOSTHappensOnce(t *testing.T) {
	p := shared.createPost(t, "idempotent")
	for name, url := range map[string]string{
		"post":    shared.url("posts", "/posts/create"),
		"comment": shared.url("comments", "/posts/"+p.ID+"/comments"),
	} {
		t.Run(name, func(t *testing.T) {
			text := "once " + uuid.NewString()
			body := `{"title":"` + text + `"}`
			if name == "comment" {
				body = `{"content":"` + text + `"}`
			}
			key := "Idempotency-Key: " + uuid.NewString()
			answers := together(t, 20, func(int) (response, error) { return do("POST", url, body, key) })
			for _, r := range answers {
				if r.status != 201 || string(r.body) != string(answers[0].body) || r.header.Get("Location") != answers[0].header.Get("Location") {
					t.Fatalf("answers differ: %s and %s", r, answers[0])
				}
			}
			want(t, 422, "POST", url, strings.Replace(body, "once", "other", 1), key)

			// After all repeats have been through it, the log has it once.
			marker := ""
			if name == "comment" {
				marker = shared.createComment(t, p.ID, "marker").ID
			} else {
				marker = shared.createPost(t, "marker").ID
			}
			eventually(t, func() error {
				found, marked := 0, false
				for _, e := range events(t, shared.App("eventlog")) {
					if strings.HasSuffix(e.Type, "Created") && strings.Contains(string(e.Data), text) {
						found++
					}
					marked = marked || e.Subject == marker
				}
				if !marked || found == 0 {
					return fmt.Errorf("marked %v, found %d", marked, found)
				}
				if found > 1 {
					t.Fatalf("%d events of one command", found)
				}
				return nil
			})
		})
	}
}

func TestOneKeyWithTwoContentsAtTheSameInstant(t *testing.T) {
	p := shared.createPost(t, "of two contents")
	for field, url := range map[string]string{"title": shared.url("posts", "/posts/create"), "content": shared.url("comments", "/posts/"+p.ID+"/comments")} {
		for i := range 100 {
			key := "Idempotency-Key: " + uuid.NewString()
			answers := together(t, 2, func(n int) (response, error) {
				return do("POST", url, fmt.Sprintf(`{"%s":"content %d of %d"}`, field, n, i), key)
			})
			if a, b := answers[0].status, answers[1].status; a+b != 201+422 {
				t.Fatalf("%s, round %d: %s and %s", field, i, answers[0], answers[1])
			}
		}
	}
}

func TestAKeyIsBoundedAndBelongsToItsPost(t *testing.T) {
	a, b := shared.createPost(t, "a"), shared.createPost(t, "b")
	key := "Idempotency-Key: " + uuid.NewString()
	want(t, 201, "POST", shared.url("comments", "/posts/"+a.ID+"/comments"), `{"content":"x"}`, key)
	want(t, 422, "POST", shared.url("comments", "/posts/"+b.ID+"/comments"), `{"content":"x"}`, key)
	want(t, 201, "POST", shared.url("posts", "/posts/create"), `{"title":"x"}`, "Idempotency-Key: "+strings.Repeat("k", 255))
	want(t, 400, "POST", shared.url("posts", "/posts/create"), `{"title":"x"}`, "Idempotency-Key: "+strings.Repeat("k", 256))
}
