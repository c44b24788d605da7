package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// load is a group of writers that create posts and comments at a steady rate. Like good
// clients they use an Idempotency-Key and repeat until a 201.
type load struct {
	s      *stack
	cancel context.CancelFunc
	all    sync.WaitGroup
	// alsoWhole, if set, returns nil when what the log and query do not show is whole again.
	alsoWhole func(books) error
	// afterwards, if set, checks a fault's own conditions when everything is settled.
	afterwards func()
	// commenting is held by a write of a comment, from its first try to its last. While a
	// fault locks it, the writers write posts.
	commenting sync.RWMutex

	// attempts counts the writes that were begun, created those with a 201.
	attempts, created, retries atomic.Int64

	mu    sync.Mutex
	posts []string // ids
	// commented are the posts on which comments are written, or nil for all.
	commented []string
	// orange is the text of which moderation rejects a comment.
	orange   string
	comments map[string]string // post, by id
	expected map[string]string // final status, by comment id
	planted  map[string]bool   // comments that no writer wrote, on posts that never come
	poison   map[deadKey]int   // the dead letters that there will be
	// deadLetteredAgain says that the topic may have some dead letters more than once,
	// because their publisher was killed. Eventlog still keeps each once.
	deadLetteredAgain bool
	failed            []failure
	wrong             []error
}

// failure is a try that had no answer. (A 503 is one: it says that Redis did not
// answer in time.)
type failure struct {
	url  string
	sent time.Time // when it had gone out as a whole
	err  error
}

const (
	writers = 16
	// writesPerSecond is the rate of all writers together.
	writesPerSecond = 240
	// postShare is how many writes there are to one post.
	postShare = 8
)

// begin starts the load. The seed decides what it does.
func begin(t *testing.T, s *stack, seed uint64) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{s: s, cancel: cancel, orange: "orange", comments: map[string]string{}, expected: map[string]string{}, planted: map[string]bool{}, poison: map[deadKey]int{}}
	for i := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // to be repeatable
		l.all.Go(func() {
			tick := time.NewTicker(time.Second * writers / writesPerSecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				if n%postShare != 0 && l.somePost(random) != "" && l.commenting.TryRLock() {
					text := fmt.Sprintf(`comment %d of writer %d: <b>&\u2028più`, n, i) // what JSON in HTML would escape
					if random.IntN(4) == 0 {
						text += ", orange"
					}
					l.writeComment(l.somePost(random), text)
					l.commenting.RUnlock()
				} else {
					l.writePost(fmt.Sprintf("post %d of writer %d", n, i))
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

// end stops the load when every write that was begun has its 201. It may be called again.
func (l *load) end() {
	l.cancel()
	l.all.Wait()
}

func (l *load) somePost(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	posts := l.posts
	if l.commented != nil {
		posts = l.commented
	}
	if len(posts) == 0 {
		return ""
	}
	return posts[random.IntN(len(posts))]
}

// commentOnlyOnThese has the writers comment only on the posts that there are now.
func (l *load) commentOnlyOnThese() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commented = slices.Clone(l.posts)
}

// withoutComments calls f while no comment is written and no Idempotency-Key of one is in
// use. Posts are written meanwhile.
func (l *load) withoutComments(f func()) {
	l.commenting.Lock()
	defer l.commenting.Unlock()
	f()
}

func (l *load) writePost(title string) {
	if id := l.write(l.s.url("posts", "/posts/create"), `{"title":"`+title+`"}`); id != "" {
		l.created.Add(1)
		l.bookPost(id)
	}
}

func (l *load) writeComment(post, text string) {
	if id := l.write(l.s.url("comments", "/posts/"+post+"/comments"), `{"content":"`+text+`"}`); id != "" {
		l.created.Add(1)
		l.bookComment(id, post, text)
	}
}

func (l *load) bookPost(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = append(l.posts, id)
}

func (l *load) bookComment(id, post, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.comments[id] = post
	l.expected[id] = map[bool]string{true: "rejected", false: "approved"}[strings.Contains(text, l.orange)]
}

// plant records a comment that stays invisible.
func (l *load) plant(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.planted[id] = true
}

// failedBefore returns the tries at a service that were sent before a time and failed.
func (l *load) failedBefore(service string, sent time.Time) []failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []failure
	for _, f := range l.failed {
		if strings.HasPrefix(f.url, l.s.url(service, "/")) && !f.sent.IsZero() && f.sent.Before(sent) {
			found = append(found, f)
		}
	}
	return found
}

// giveUp bounds how long a write is repeated. A write that takes longer counts as lost.
const giveUp = 2 * time.Minute

var loadClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: writers}}

// write sends a command until it gets a 201, sometimes repeats it after that, and returns
// the id.
func (l *load) write(url, body string) string {
	key, id := uuid.NewString(), ""
	repeat := l.attempts.Add(1)%32 == 0
	for begun := time.Now(); time.Since(begun) < giveUp; {
		status, got, sent, err := send(url, body, key)
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
		if err != nil {
			l.mu.Lock()
			l.failed = append(l.failed, failure{url, sent, err})
			l.mu.Unlock()
		}
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

// send posts a command once. It returns the id of the new entity, or the reason for
// failure. sent is the time at which the request was sent, if it was.
func send(url, body, key string) (status int, idOrWhy string, sent time.Time, err error) {
	var wrote atomic.Pointer[time.Time]
	defer func() {
		if at := wrote.Load(); at != nil {
			sent = *at
		}
	}()
	trace := &httptrace.ClientTrace{WroteRequest: func(w httptrace.WroteRequestInfo) {
		if now := time.Now(); w.Err == nil {
			wrote.Store(&now)
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", time.Time{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := loadClient.Do(req)
	if err != nil {
		return 0, "", time.Time{}, err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct{ ID, Detail string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, "", time.Time{}, err
	}
	if res.StatusCode == http.StatusCreated {
		return res.StatusCode, answer.ID, time.Time{}, nil
	}
	return res.StatusCode, answer.Detail, time.Time{}, nil
}

// books are what the writers know: what must exist, and nothing else may.
type books struct {
	posts    map[string]bool
	comments map[string]string // post, by id
	expected map[string]string // final status, by id
	planted  map[string]bool   // comments that must stay invisible
}

func (l *load) books() books {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := books{posts: map[string]bool{}, comments: map[string]string{}, expected: map[string]string{}, planted: maps.Clone(l.planted)}
	for _, id := range l.posts {
		b.posts[id] = true
	}
	for id, post := range l.comments {
		b.comments[id], b.expected[id] = post, l.expected[id]
	}
	return b
}
