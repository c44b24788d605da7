package command

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// topic is a bus that keeps what was published.
type topic struct {
	mu     sync.Mutex
	events []event.Event
	err    error
}

func (p *topic) Publish(_ context.Context, e event.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.events = append(p.events, e)
	return nil
}

func created(t *testing.T, title string) event.Event {
	t.Helper()
	at := time.Now().UTC()
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: event.NewID(), Title: title, CreatedAt: at, Revision: 1}, at, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// publish publishes e and fails the test unless it succeeds.
func publish(t *testing.T, c *Commands, key, request string, e event.Event) event.Event {
	t.Helper()
	got, err := c.Publish(context.Background(), key, []byte(request), e)
	if err != nil {
		t.Fatalf("key %.40q, request %q: %v", key, request, err)
	}
	return got
}

// wantProblem checks that err is a problem of that status, and returns its detail.
func wantProblem(t *testing.T, err error, status int) (detail string) {
	t.Helper()
	var p *web.Problem
	if !errors.As(err, &p) || p.Status != status {
		t.Fatalf("error %v, want a problem of status %d", err, status)
	}
	if (p.RetryAfter > 0) != (status == http.StatusServiceUnavailable) {
		t.Errorf("a %d asks to retry after %v", status, p.RetryAfter)
	}
	return p.Detail
}

func wantPublished(t *testing.T, bus *topic, want ...event.Event) {
	t.Helper()
	if len(bus.events) != len(want) {
		t.Fatalf("%d events were published, want %d", len(bus.events), len(want))
	}
	for i := range want {
		wantSame(t, bus.events[i], want[i])
	}
}

// wantSame checks that two events are the same to the byte.
func wantSame(t *testing.T, got, want event.Event) {
	t.Helper()
	a, err := event.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := event.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("got event\n%s, want\n%s", a, b)
	}
}

func TestWithoutKeyEveryRequestIsItsOwnAndNothingIsClaimed(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	c := New(bus, store)
	first, second := created(t, "a"), created(t, "a")
	wantSame(t, publish(t, c, "", "a", first), first)
	wantSame(t, publish(t, c, "", "a", second), second)
	wantPublished(t, bus, first, second)
	if n := len(store.Calls(statetest.Get)) + len(store.Calls(statetest.Swap)); n > 0 {
		t.Errorf("the store was called %d times", n)
	}
}

func TestARepeatPublishesTheFirstEventAgain(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	first := created(t, "a <b> & \u2028")
	wantSame(t, publish(t, New(bus, store), "key", "a", first), first)
	// Another replica gets the repeat, with the time and id of its own.
	again := publish(t, New(bus, store), "key", "a", created(t, "a"))
	wantSame(t, again, first)
	if again.Post == nil || again.Post.ID != first.Post.ID || !again.Post.CreatedAt.Equal(first.Post.CreatedAt) {
		t.Errorf("the answer would be %+v, not %+v", again.Post, first.Post)
	}
	wantPublished(t, bus, first, first)
}

func TestAKeyOfAnotherRequestIsRefused(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	c := New(bus, store)
	first := created(t, "a")
	publish(t, c, "key", "a", first)
	_, err := c.Publish(context.Background(), "key", []byte("b"), created(t, "b"))
	wantProblem(t, err, http.StatusUnprocessableEntity)
	wantPublished(t, bus, first)
}

// The spacing and order of the JSON are in the bytes of the request, not in the event.
func TestOtherBytesThatAskForTheSameAreARepeat(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	first := created(t, "a")
	publish(t, New(bus, store), "key", `{"title":"a"}`, first)
	wantSame(t, publish(t, New(bus, store), "key", `{ "title": "\u0061" }`, created(t, "a")), first)
	wantPublished(t, bus, first, first)
}

// A claim as commit 3b4f435 wrote it, for the request `{"title":"a"}`.
const earlierClaim = `{"request":"c66a6f9e3a6339f6c80c5fb40a9c15c11878e8aae519469861478ff8643b0f4f","event":` +
	`{"specversion":"1.0","id":"1743151b-cd0c-5765-8847-2d1a77a379f2","source":"/posts","type":"PostCreated",` +
	`"subject":"01936f5e-7a00-7abc-8def-0123456789ab","time":"2024-11-27T12:00:00.123456789Z","datacontenttype":"application/json",` +
	`"data":{"body":"","createdAt":"2024-11-27T12:00:00.123456789Z","id":"01936f5e-7a00-7abc-8def-0123456789ab","revision":1,"title":"a"}}}`

func TestTheClaimsOfEarlierVersionsHold(t *testing.T) {
	for name, test := range map[string]struct {
		request, title string
		status         int
	}{
		"the same bytes":                            {`{"title":"a"}`, "a", http.StatusCreated},
		"the same, written otherwise":               {` {"title":"a"}`, "a", http.StatusCreated},
		"the same bytes, read otherwise since":      {`{"title":"a"}`, "A", http.StatusCreated},
		"other bytes, which ask for something else": {`{"title":"b"}`, "b", http.StatusUnprocessableEntity},
	} {
		t.Run(name, func(t *testing.T) {
			bus, store := &topic{}, statetest.New()
			key := "claim-" + digest([]byte("key"))
			store.Put(key, earlierClaim)
			got, err := New(bus, store).Publish(context.Background(), "key", []byte(test.request), created(t, test.title))
			if test.status != http.StatusCreated {
				wantProblem(t, err, test.status)
				wantPublished(t, bus)
				return
			}
			if err != nil || got.Subject != "01936f5e-7a00-7abc-8def-0123456789ab" {
				t.Fatalf("%s, and error %v", got.Subject, err)
			}
			wantPublished(t, bus, got)
		})
	}
}

// During an upgrade a replica of commit 3b4f435 may get the repeat. It compares the
// digest of the request's bytes in the member "request", and publishes the event.
func TestEarlierVersionsTakeTheClaims(t *testing.T) {
	store := statetest.New()
	e := created(t, "a")
	publish(t, New(&topic{}, store), "key", `{"title":"a"}`, e)
	var earlier struct {
		Request string          `json:"request"`
		Event   json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal([]byte(store.Value("claim-"+digest([]byte("key")))), &earlier); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(`{"title":"a"}`))); earlier.Request != want {
		t.Errorf("the digest is %s, want %s", earlier.Request, want)
	}
	claimed, err := event.Parse(event.PostCreated, earlier.Event)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, claimed, e)
}

func TestKeysAreApart(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	c := New(bus, store)
	a, b := created(t, "a"), created(t, "a")
	publish(t, c, "key", "a", a)
	wantSame(t, publish(t, c, "Key", "a", b), b)
	wantPublished(t, bus, a, b)
}

func TestAClaimLivesForADay(t *testing.T) {
	store := statetest.New()
	publish(t, New(&topic{}, store), "key", "a", created(t, "a"))
	claims := store.Keys("claim-")
	if len(claims) != 1 {
		t.Fatalf("%d claims, want 1", len(claims))
	}
	if got := store.TTL(claims[0]); got != 24*time.Hour {
		t.Errorf("it lives for %v", got)
	}
}

func TestOneOfConcurrentRequestsWithOneKeyWins(t *testing.T) {
	const replicas = 8
	bus, store := &topic{}, statetest.New()
	results := make([]event.Event, replicas)
	errs := make([]error, replicas)
	var all sync.WaitGroup
	for i := range replicas {
		e := created(t, fmt.Sprint(i))
		all.Go(func() {
			results[i], errs[i] = New(bus, store).Publish(context.Background(), "key", fmt.Append(nil, i), e)
		})
	}
	all.Wait()
	won := -1
	for i, err := range errs {
		if err != nil {
			wantProblem(t, err, http.StatusUnprocessableEntity)
		} else if won >= 0 {
			t.Fatalf("requests %d and %d both won", won, i)
		} else {
			won = i
		}
	}
	if won < 0 {
		t.Fatal("no request won")
	}
	wantPublished(t, bus, results[won])
}

func TestConcurrentRepeatsPublishOneEventOnly(t *testing.T) {
	const replicas = 8
	bus, store := &topic{}, statetest.New()
	var all sync.WaitGroup
	for range replicas {
		e := created(t, "a")
		all.Go(func() {
			if _, err := New(bus, store).Publish(context.Background(), "key", []byte("a"), e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(bus.events) != replicas {
		t.Fatalf("%d publishes, want %d", len(bus.events), replicas)
	}
	for _, e := range bus.events {
		wantSame(t, e, bus.events[0])
	}
}

// The failed write did happen: the stored claim is this request's own.
func TestAClaimWhoseAnswerWasLostIsStillTheClaim(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	store.Decide(statetest.Always(statetest.Lost))
	e := created(t, "a")
	wantSame(t, publish(t, New(bus, store), "key", "a", e), e)
	wantPublished(t, bus, e)
	store.Decide(nil)
	wantSame(t, publish(t, New(bus, store), "key", "a", created(t, "a")), e)
}

func TestWhileTheStoreIsDownNothingIsPublished(t *testing.T) {
	for name, fail := range map[string]func(*statetest.Memory){
		"no call succeeds": func(m *statetest.Memory) { m.Fail(statetest.ErrDown) },
		"only writes fail": func(m *statetest.Memory) { m.Fail(statetest.ErrDown, statetest.Swap) },
		"the claim can't be read": func(m *statetest.Memory) {
			m.Decide(statetest.Always(statetest.Lost))
			m.Fail(statetest.ErrDown, statetest.Get)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bus, store := &topic{}, statetest.New()
			fail(store)
			_, err := New(bus, store).Publish(context.Background(), "key", []byte("a"), created(t, "a"))
			wantProblem(t, err, http.StatusServiceUnavailable)
			wantPublished(t, bus)
		})
	}
}

func TestWhenPublishFailsARepeatPublishesTheSameEvent(t *testing.T) {
	bus, store := &topic{err: errors.New("bus is down")}, statetest.New()
	c := New(bus, store)
	first := created(t, "a")
	_, err := c.Publish(context.Background(), "key", []byte("a"), first)
	if detail := wantProblem(t, err, http.StatusServiceUnavailable); !strings.Contains(detail, "not known") {
		t.Errorf("the problem says %q, not that it isn't known", detail)
	}
	bus.err = nil
	wantSame(t, publish(t, c, "key", "a", created(t, "a")), first)
	wantPublished(t, bus, first)
}

func TestWhenPublishFailsWithoutKeyItIsUnavailable(t *testing.T) {
	store := statetest.New()
	_, err := New(&topic{err: errors.New("bus is down")}, store).Publish(context.Background(), "", nil, created(t, "a"))
	wantProblem(t, err, http.StatusServiceUnavailable)
}

func TestAKeyHasAtMost255Bytes(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	c := New(bus, store)
	e := created(t, "a")
	publish(t, c, strings.Repeat("k", 255), "a", e)
	wantSame(t, publish(t, c, strings.Repeat("k", 255), "a", created(t, "a")), e)
	for _, key := range []string{strings.Repeat("k", 256), strings.Repeat("é", 128)} {
		_, err := c.Publish(context.Background(), key, []byte("a"), created(t, "a"))
		wantProblem(t, err, http.StatusBadRequest)
	}
	wantPublished(t, bus, e, e)
	if claims := store.Keys(""); len(claims) != 1 {
		t.Errorf("%d claims, want 1", len(claims))
	}
}

// A key may contain bytes that cannot be part of a store's key.
func TestAKeyIsAnyBytes(t *testing.T) {
	bus, store := &topic{}, statetest.New()
	c := New(bus, store)
	var want []event.Event
	for _, key := range []string{" ", "a||b", "\x00", "\xff", "posts||claim", "é"} {
		e := created(t, "a")
		publish(t, c, key, "a", e)
		want = append(want, e)
	}
	wantPublished(t, bus, want...)
	for _, key := range store.Keys("") {
		if digits, ok := strings.CutPrefix(key, "claim-"); !ok || strings.Trim(digits, "0123456789abcdef") != "" {
			t.Errorf("the store's key is %q", key)
		}
	}
}

// No replica wrote a document that is no claim. The request must fail, and not look
// successful.
func TestADamagedClaimFailsTheRequest(t *testing.T) {
	for name, value := range map[string]string{
		"no JSON":  "x",
		"no event": `{"request":"` + digest([]byte("a")) + `","event":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			bus, store := &topic{}, statetest.New()
			key := "claim-" + digest([]byte("key"))
			store.Put(key, value)
			if _, err := New(bus, store).Publish(context.Background(), "key", []byte("a"), created(t, "a")); err == nil {
				t.Error("it succeeded")
			}
			wantPublished(t, bus)
		})
	}
}
