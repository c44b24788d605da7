package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/history"
)

// load is a group of writers that create posts and comments at a steady rate. Like good
// clients they use an Idempotency-Key and repeat until a 201. A few readers read what they
// write.
type load struct {
	s      *stack
	cancel context.CancelFunc
	all    sync.WaitGroup
	// alsoWhole, if set, returns nil when what the log and query do not show is whole again.
	alsoWhole func(books) error
	// afterwards, if set, checks a fault's own conditions when everything is settled.
	afterwards func()
	// commenting is held while a comment is written, from the first try to the last, and
	// while a command is repeated.
	commenting sync.RWMutex

	// attempts counts the writes that were begun, created those with a 201.
	attempts, created, retries atomic.Int64

	// history has all calls, of writers and readers.
	history *history.History
	// losses counts how often the log has lost its end. Positions from before are not asked for.
	losses atomic.Int64

	mu    sync.Mutex
	kept  []command         // commands that were answered 201, to repeat
	shown eventlog.Position // the furthest that a reader was shown
	posts []string          // ids
	// commented are the posts on which comments are written, or nil for all.
	commented []string
	// orange is the text of which moderation rejects a comment.
	orange   string
	comments map[string]string // post, by id
	written  []string          // ids of comments, oldest first
	expected map[string]string // the policy's decision, by comment id
	decided  map[string]*decided
	planted  map[string]bool // comments that no writer wrote, on posts that never come
	poison   map[deadKey]int // the dead letters that there will be
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
	// postShare is how many writes there are to one post.
	postShare = 8
)

// begin starts the load. The seed decides what it does.
func begin(t *testing.T, s *stack, seed uint64) *load {
	t.Helper()
	if *rate < 1 {
		t.Fatalf("RATE is %d commands a second; set it to 1 or more", *rate)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{s: s, cancel: cancel, orange: "orange", history: history.New(), comments: map[string]string{}, expected: map[string]string{}, decided: map[string]*decided{}, planted: map[string]bool{}, poison: map[deadKey]int{}}
	for i := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // to be repeatable
		l.all.Go(func() {
			every(ctx, time.Second*writers/time.Duration(*rate), func(n int) {
				if n%postShare == 0 || l.somePost(random) == "" || !l.commenting.TryRLock() {
					l.writePost(fmt.Sprintf("post %d of writer %d", n, i))
					return
				}
				defer l.commenting.RUnlock()
				text := fmt.Sprintf(`comment %d of writer %d: <b>&\u2028più`, n, i) // what JSON in HTML would escape
				if random.IntN(4) == 0 {
					text += ", orange"
				}
				l.writeComment(l.somePost(random), text)
			})
		})
	}
	for i := range pageReaders {
		random := rand.New(rand.NewPCG(seed, uint64(writers+i))) //nolint:gosec // to be repeatable
		l.all.Go(func() { l.browse(ctx, strconv.Itoa(i), random) })
	}
	random := rand.New(rand.NewPCG(seed, writers+pageReaders)) //nolint:gosec // to be repeatable
	l.all.Go(func() { l.followLog(ctx, random) })
	l.beginModerating(ctx, t, seed)
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

// withoutComments calls f while no comment is written, and only posts are. No
// Idempotency-Key is used both before and after f.
func (l *load) withoutComments(f func()) {
	l.commenting.Lock()
	defer l.commenting.Unlock()
	l.mu.Lock()
	l.kept = nil
	l.mu.Unlock()
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
	l.comments[id], l.written = post, append(l.written, id)
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

const (
	// giveUp bounds how long a write is repeated. A write that takes longer counts as lost.
	giveUp = 2 * time.Minute
	// repeatShare is how many writes there are to one of each kind of repeat.
	repeatShare = 32
)

var loadClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: writers + pageReaders}}

// command is a POST with its Idempotency-Key. A moderator's has none, and the header of signIn.
type command struct{ url, body, key, authorization string }

// write sends a command until it gets a 201, and returns the id. Some commands are sent
// twice at once, again after their 201, or again much later. Some keys are used again with
// another body.
func (l *load) write(url, body string) string {
	c := command{url: url, body: body, key: uuid.NewString()}
	kind := l.attempts.Add(1) % repeatShare
	again := func(c command) { l.again(func() command { return c }) }
	if kind == 0 && l.commenting.TryRLock() {
		l.all.Go(func() {
			defer l.commenting.RUnlock()
			_, _, _ = l.try(c)
		})
	}
	id := l.untilCreated(c)
	if id == "" {
		return ""
	}
	switch kind {
	case 1:
		again(c)
	case 2:
		l.again(func() command { return l.earlier(c) })
	case 3:
		again(command{url: url, body: strings.Replace(body, `":"`, `":"not `, 1), key: c.key})
	}
	return id
}

// earlier keeps a command, and returns the one that was kept half as long after the
// load's begin.
func (l *load) earlier(c command) command {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, c)
	return l.kept[len(l.kept)/2]
}

func (l *load) untilCreated(c command) string {
	for begun := time.Now(); time.Since(begun) < giveUp; {
		status, got, err := l.try(c)
		switch {
		case err == nil && status == http.StatusCreated:
			return got
		case err == nil && status != http.StatusServiceUnavailable && status != http.StatusBadGateway:
			l.fail(fmt.Errorf("POST %s: %d %s", c.url, status, got))
			return ""
		}
		l.retries.Add(1)
		time.Sleep(50 * time.Millisecond) // a client's pause between two tries
	}
	l.fail(fmt.Errorf("POST %s: no 201 within %s", c.url, giveUp))
	return ""
}

// again sends a command that was sent before, unless no key may be used now. The history's
// model says what the answer has to be.
func (l *load) again(c func() command) {
	if l.commenting.TryRLock() {
		defer l.commenting.RUnlock()
		_, _, _ = l.try(c())
	}
}

// try sends a command once and records the call.
func (l *load) try(c command) (status int, idOrWhy string, err error) {
	record := l.history.Command(c.key, c.url+" "+c.body)
	status, idOrWhy, answer, err := l.send(c)
	if l.s.isMixed {
		answer = idOrWhy // the first version gives no receipts
	}
	if err == nil {
		record.Answered(status, answer)
	}
	return status, idOrWhy, err
}

// send sends a command once, and notes that it failed if it has no answer.
func (l *load) send(c command) (status int, idOrWhy, answer string, err error) {
	status, idOrWhy, answer, sent, err := send(c)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = append(l.failed, failure{c.url, sent, err})
	}
	return status, idOrWhy, answer, err
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, err)
}

// send posts a command. It returns the id of the new entity, or the reason for failure,
// and the whole answer. sent is the time at which the request was sent, if it was.
func send(c command) (status int, idOrWhy, answer string, sent time.Time, err error) {
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
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost, c.url, strings.NewReader(c.body))
	if err != nil {
		return 0, "", "", time.Time{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	if name, value, has := strings.Cut(c.authorization, ": "); has {
		req.Header.Set(name, value)
	}
	res, err := loadClient.Do(req)
	if err != nil {
		return 0, "", "", time.Time{}, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	var says struct{ ID, Detail string }
	if err == nil {
		err = json.Unmarshal(raw, &says)
	}
	if err != nil {
		return 0, "", "", time.Time{}, err
	}
	if res.StatusCode == http.StatusCreated {
		return res.StatusCode, says.ID, string(raw), time.Time{}, nil
	}
	return res.StatusCode, says.Detail, string(raw), time.Time{}, nil
}

// books are what the writers and the moderators know: what must exist, and nothing else may.
type books struct {
	posts    map[string]bool
	comments map[string]string // post, by id
	// expected is the status of each comment: the policy's decision, or, asDecided, what stands.
	expected map[string]string
	decided  map[string]*decided
	planted  map[string]bool // comments that must stay invisible
}

func newBooks() books {
	return books{posts: map[string]bool{}, comments: map[string]string{}, expected: map[string]string{}, decided: map[string]*decided{}, planted: map[string]bool{}}
}

func (l *load) books() books {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := newBooks()
	maps.Copy(b.planted, l.planted)
	for _, id := range l.posts {
		b.posts[id] = true
	}
	for id, post := range l.comments {
		b.comments[id], b.expected[id] = post, l.expected[id]
	}
	for id, d := range l.decided {
		b.decided[id] = d.clone()
	}
	return b
}
