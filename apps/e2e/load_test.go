package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// load is writers that create posts and comments at a steady rate, each as a good
// client does it: with an Idempotency-Key, repeated until there is a 201.
type load struct {
	s      *stack
	cancel context.CancelFunc
	all    sync.WaitGroup

	attempts, retries atomic.Int64

	mu       sync.Mutex
	posts    []string          // ids
	comments map[string]string // post, by id
	expected map[string]string // final status, by comment id
	wrong    []error
}

const (
	writers = 16
	// writesPerSecond is what all writers together begin.
	writesPerSecond = 240
	// postShare is how many writes there are for one post.
	postShare = 8
)

// begin starts the load. What it does follows from the seed.
func begin(t *testing.T, s *stack, seed uint64) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{s: s, cancel: cancel, comments: map[string]string{}, expected: map[string]string{}}
	for i := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // to be repeatable
		l.all.Go(func() {
			tick := time.NewTicker(time.Second * writers / writesPerSecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				if n%postShare == 0 || l.somePost(random) == "" {
					l.writePost(fmt.Sprintf("post %d of writer %d", n, i))
				} else {
					text := fmt.Sprintf("comment %d of writer %d", n, i)
					if random.IntN(4) == 0 {
						text += ", orange"
					}
					l.writeComment(l.somePost(random), text)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return l
}

// end stops the load, once every write that was begun has its 201.
func (l *load) end() {
	l.cancel()
	l.all.Wait()
}

func (l *load) somePost(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posts) == 0 {
		return ""
	}
	return l.posts[random.IntN(len(l.posts))]
}

func (l *load) writePost(title string) {
	if id := l.write(l.s.url("posts", "/posts/create"), `{"title":"`+title+`"}`); id != "" {
		l.mu.Lock()
		l.posts = append(l.posts, id)
		l.mu.Unlock()
	}
}

func (l *load) writeComment(post, text string) {
	if id := l.write(l.s.url("comments", "/posts/"+post+"/comments"), `{"content":"`+text+`"}`); id != "" {
		l.mu.Lock()
		l.comments[id] = post
		l.expected[id] = map[bool]string{true: "rejected", false: "approved"}[strings.Contains(text, "orange")]
		l.mu.Unlock()
	}
}

// giveUp bounds how long a write is repeated; what takes that long is lost.
const giveUp = 2 * time.Minute

var loadClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: writers}}

// write sends a command until it gets a 201, and once in a while once more after
// that, and returns the id.
func (l *load) write(url, body string) string {
	key, id := uuid.NewString(), ""
	repeat := l.attempts.Add(1)%32 == 0
	for begun := time.Now(); time.Since(begun) < giveUp; {
		status, got, err := send(url, body, key)
		switch {
		case err == nil && status == http.StatusCreated:
			if id != "" && id != got {
				l.fail(fmt.Errorf("two 201s of one key name %s and %s", id, got))
			}
			if id = got; !repeat {
				return id
			}
			repeat = false
			continue
		case err == nil && status != http.StatusServiceUnavailable && status != http.StatusBadGateway:
			l.fail(fmt.Errorf("POST %s: %d %s", url, status, got))
			return ""
		}
		l.retries.Add(1)
		time.Sleep(50 * time.Millisecond) // a client's pause between two tries
	}
	l.fail(fmt.Errorf("POST %s: no 201 within %s", url, giveUp))
	return ""
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, err)
}

func send(url, body, key string) (status int, idOrBody string, err error) {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := loadClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ ID, Detail string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, "", err
	}
	if res.StatusCode == http.StatusCreated {
		return res.StatusCode, answer.ID, nil
	}
	return res.StatusCode, answer.Detail, nil
}

// books are what the writers know: what must be there, and nothing else.
type books struct {
	posts    map[string]bool
	comments map[string]string // post, by id
	expected map[string]string // final status, by id
}

func (l *load) books() books {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := books{posts: map[string]bool{}, comments: map[string]string{}, expected: map[string]string{}}
	for _, id := range l.posts {
		b.posts[id] = true
	}
	for id, post := range l.comments {
		b.comments[id], b.expected[id] = post, l.expected[id]
	}
	return b
}
