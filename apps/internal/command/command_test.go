package command

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/journal/journaltest"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// service is a service with a store and a bus, of which each replica has a journal.
type service struct {
	*testing.T
	store *statetest.Memory
	bus   *journaltest.Bus
}

// inService runs a test of a service in a synctest bubble.
func inService(t *testing.T, test func(s *service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&service{t, statetest.New(), &journaltest.Bus{}})
	})
}

// replica starts a replica.
func (s *service) replica() *Commands { return New(journaltest.Start(s.T, s.store, s.bus)) }

// try commits e within the time that a request has.
func try(c *Commands, key, request string, e event.Event) (event.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	return c.Commit(ctx, Key{Text: key}, []byte(request), e)
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

// commit commits e and fails the test unless it succeeds.
func commit(t *testing.T, c *Commands, key, request string, e event.Event) event.Event {
	t.Helper()
	got, err := try(c, key, request, e)
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

// wantPublished checks what the bus has once nothing is under way.
func (s *service) wantPublished(want ...event.Event) {
	s.Helper()
	synctest.Wait()
	events := s.bus.Events()
	if len(events) != len(want) {
		s.Fatalf("%d events were published, want %d", len(events), len(want))
	}
	for i := range want {
		wantSame(s.T, events[i], want[i])
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
	inService(t, func(s *service) {
		c := s.replica()
		first, second := created(s.T, "a"), created(s.T, "a")
		wantSame(s.T, commit(s.T, c, "", "a", first), first)
		wantSame(s.T, commit(s.T, c, "", "a", second), second)
		s.wantPublished(first, second)
		if n := s.store.Named(statetest.Swap, "claim-"); n > 0 {
			t.Errorf("%d claims were written", n)
		}
	})
}

func TestARepeatPublishesTheFirstEventAgain(t *testing.T) {
	inService(t, func(s *service) {
		first := created(s.T, "a <b> & \u2028")
		wantSame(s.T, commit(s.T, s.replica(), "key", "a", first), first)
		s.wantPublished(first)
		// Another replica gets the repeat, with the time and id of its own.
		again := commit(s.T, s.replica(), "key", "a", created(s.T, "a"))
		wantSame(s.T, again, first)
		if again.Post == nil || again.Post.ID != first.Post.ID || !again.Post.CreatedAt.Equal(first.Post.CreatedAt) {
			t.Errorf("the answer would be %+v, not %+v", again.Post, first.Post)
		}
		s.wantPublished(first, first)
	})
}

func TestAKeyOfAnotherRequestIsRefused(t *testing.T) {
	inService(t, func(s *service) {
		c, first := s.replica(), created(s.T, "a")
		commit(s.T, c, "key", "a", first)
		_, err := try(c, "key", "b", created(s.T, "b"))
		wantProblem(s.T, err, http.StatusUnprocessableEntity)
		s.wantPublished(first)
	})
}

// The spacing and order of the JSON are in the bytes of the request, not in the event.
func TestOtherBytesThatAskForTheSameAreARepeat(t *testing.T) {
	inService(t, func(s *service) {
		first := created(s.T, "a")
		commit(s.T, s.replica(), "key", `{"title":"a"}`, first)
		s.wantPublished(first)
		wantSame(s.T, commit(s.T, s.replica(), "key", `{ "title": "\u0061" }`, created(s.T, "a")), first)
		s.wantPublished(first, first)
	})
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
			inService(t, func(s *service) {
				s.store.Put("claim-"+digest([]byte("key")), earlierClaim)
				got, err := try(s.replica(), "key", test.request, created(s.T, test.title))
				if test.status != http.StatusCreated {
					wantProblem(s.T, err, test.status)
					s.wantPublished()
					return
				}
				if err != nil || got.Subject != "01936f5e-7a00-7abc-8def-0123456789ab" {
					t.Fatalf("%s, and error %v", got.Subject, err)
				}
				s.wantPublished(got)
			})
		})
	}
}

// During an upgrade a replica of commit 3b4f435 may get the repeat. It compares the
// digest of the request's bytes in the member "request", and publishes the event.
func TestEarlierVersionsTakeTheClaims(t *testing.T) {
	inService(t, func(s *service) {
		e := created(s.T, "a")
		commit(s.T, s.replica(), "key", `{"title":"a"}`, e)
		var earlier struct {
			Request string          `json:"request"`
			Event   json.RawMessage `json:"event"`
		}
		if err := json.Unmarshal([]byte(s.store.Value("claim-"+digest([]byte("key")))), &earlier); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(`{"title":"a"}`))); earlier.Request != want {
			t.Errorf("the digest is %s, want %s", earlier.Request, want)
		}
		claimed, err := event.Parse(event.PostCreated, earlier.Event)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(s.T, claimed, e)
	})
}

func TestKeysAreApart(t *testing.T) {
	inService(t, func(s *service) {
		c, a, b := s.replica(), created(s.T, "a"), created(s.T, "a")
		commit(s.T, c, "key", "a", a)
		wantSame(s.T, commit(s.T, c, "Key", "a", b), b)
		s.wantPublished(a, b)
	})
}

func TestAClaimLivesForADay(t *testing.T) {
	inService(t, func(s *service) {
		commit(s.T, s.replica(), "key", "a", created(s.T, "a"))
		claims := s.store.Keys("claim-")
		if len(claims) != 1 {
			t.Fatalf("%d claims, want 1", len(claims))
		}
		if got := s.store.TTL(claims[0]); got != 24*time.Hour {
			t.Errorf("it lives for %v", got)
		}
	})
}

func TestOneOfConcurrentRequestsWithOneKeyWins(t *testing.T) {
	const replicas = 8
	inService(t, func(s *service) {
		results, errs := make([]event.Event, replicas), make([]error, replicas)
		var all sync.WaitGroup
		for i := range replicas {
			c, e := s.replica(), created(s.T, fmt.Sprint(i))
			all.Go(func() { results[i], errs[i] = try(c, "key", fmt.Sprint(i), e) })
		}
		all.Wait()
		won := -1
		for i, err := range errs {
			if err != nil {
				wantProblem(s.T, err, http.StatusUnprocessableEntity)
			} else if won >= 0 {
				t.Fatalf("requests %d and %d both won", won, i)
			} else {
				won = i
			}
		}
		if won < 0 {
			t.Fatal("no request won")
		}
		s.wantPublished(results[won])
	})
}

func TestConcurrentRepeatsPublishOneEventOnly(t *testing.T) {
	const replicas = 8
	inService(t, func(s *service) {
		var all sync.WaitGroup
		for range replicas {
			c, e := s.replica(), created(s.T, "a")
			all.Go(func() {
				if _, err := try(c, "key", "a", e); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		events := s.bus.Events()
		if len(events) != replicas {
			t.Fatalf("%d publishes, want %d", len(events), replicas)
		}
		for _, e := range events {
			wantSame(s.T, e, events[0])
		}
	})
}

// The failed write did happen: the stored claim is this request's own.
func TestAClaimWhoseAnswerWasLostIsStillTheClaim(t *testing.T) {
	inService(t, func(s *service) {
		c, e := s.replica(), created(s.T, "a")
		s.store.Decide(func(item state.Item) statetest.Fate {
			if strings.HasPrefix(item.Key, "claim-") || strings.HasPrefix(item.Key, "journal-") {
				return statetest.Lost
			}
			return statetest.Written
		})
		wantSame(s.T, commit(s.T, c, "key", "a", e), e)
		s.wantPublished(e)
		s.store.Decide(nil)
		wantSame(s.T, commit(s.T, c, "key", "a", created(s.T, "a")), e)
	})
}

// It is not known whether the command is committed. Once the store is back, it is, and a
// repeat gets the same event.
func TestWhileTheStoreIsDownNothingIsPublished(t *testing.T) {
	for name, fail := range map[string]func(*statetest.Memory){
		"no call succeeds": func(m *statetest.Memory) { m.Fail(statetest.ErrDown) },
		"only writes fail": func(m *statetest.Memory) { m.Fail(statetest.ErrDown, statetest.Swap) },
		"the claim can't be read": func(m *statetest.Memory) {
			m.Decide(statetest.Always(statetest.Lost))
			m.Fail(statetest.ErrDown, statetest.Get)
		},
	} {
		for _, key := range []string{"key", ""} {
			t.Run(fmt.Sprintf("%s, key %q", name, key), func(t *testing.T) {
				inService(t, func(s *service) {
					c, e := s.replica(), created(s.T, "a")
					fail(s.store)
					_, err := try(c, key, "a", e)
					if detail := wantProblem(s.T, err, http.StatusServiceUnavailable); !strings.Contains(detail, "not known") {
						t.Errorf("the problem says %q, not that it isn't known", detail)
					}
					s.wantPublished()
					s.store.Fail(nil)
					s.store.Decide(nil)
					time.Sleep(time.Second) // of the bubble's clock
					s.wantPublished(e)
					if key != "" {
						wantSame(s.T, commit(s.T, c, key, "a", created(s.T, "a")), e)
					}
				})
			})
		}
	}
}

// The store has the command. The bus gets the event when it is back, and a repeat is
// answered with the same event meanwhile.
func TestWhileTheBusIsDownCommandsAreCommitted(t *testing.T) {
	inService(t, func(s *service) {
		s.bus.Fail(errors.New("bus is down"))
		c, first, second := s.replica(), created(s.T, "a"), created(s.T, "b")
		commit(s.T, c, "key", "a", first)
		commit(s.T, c, "", "b", second)
		wantSame(s.T, commit(s.T, c, "key", "a", created(s.T, "a")), first)
		s.wantPublished()
		s.bus.Fail(nil)
		time.Sleep(time.Second) // of the bubble's clock
		s.wantPublished(first, second)
	})
}

// The journal of a process that stops takes nothing more, and what it was about to write it
// may have written.
func TestAJournalThatStopsIsUnavailable(t *testing.T) {
	stopped := journaltest.New()
	stopped.Fail(journal.ErrStopped)
	_, err := New(stopped).Commit(t.Context(), Key{Text: "key"}, []byte("a"), created(t, "a"))
	if detail := wantProblem(t, err, http.StatusServiceUnavailable); !strings.Contains(detail, "not known") {
		t.Errorf("the problem says %q", detail)
	}
}

func TestAFullJournalIsUnavailableAndNothingHasHappened(t *testing.T) {
	full := journaltest.New()
	full.Fail(journal.ErrFull)
	for _, key := range []string{"key", ""} {
		_, err := New(full).Commit(t.Context(), Key{Text: key}, []byte("a"), created(t, "a"))
		if detail := wantProblem(t, err, http.StatusServiceUnavailable); !strings.Contains(detail, "has changed nothing") {
			t.Errorf("the problem says %q", detail)
		}
	}
}

// filling is a journal that is full by the time that the repeat commits the first event.
type filling struct{ *journaltest.Fake }

func (f filling) Commit(ctx context.Context, e event.Event, claim journal.Claim) (journal.Claim, error) {
	if claim.IsRepeat {
		return claim, journal.ErrFull
	}
	return f.Fake.Commit(ctx, e, claim)
}

func TestARepeatInAFullJournalDoesNotSayThatNothingHasHappened(t *testing.T) {
	c := New(filling{journaltest.New()})
	commit(t, c, "key", "a", created(t, "a"))
	_, err := try(c, "key", "a", created(t, "a"))
	if detail := wantProblem(t, err, http.StatusServiceUnavailable); strings.Contains(detail, "has changed nothing") {
		t.Errorf("the first try has happened, and the problem says %q", detail)
	}
}

// The first try has written its claim and perhaps not its page. So a repeat that can't
// commit the event must not look successful.
func TestARepeatIsCommittedBeforeItIsAnswered(t *testing.T) {
	inService(t, func(s *service) {
		first := created(s.T, "a")
		c := s.replica()
		commit(s.T, c, "key", "a", first)
		for _, page := range s.store.Keys("journal-") {
			s.store.Remove(page) // as if it had never been written
		}
		other := s.replica()
		wantSame(s.T, commit(s.T, other, "key", "a", created(s.T, "a")), first)
		found := false
		for _, page := range s.store.Keys("journal-") {
			found = found || strings.Contains(s.store.Value(page), first.ID)
		}
		if !found {
			t.Errorf("no page has event %s", first.ID)
		}
	})
}

func TestAKeyHasAtMost255Bytes(t *testing.T) {
	inService(t, func(s *service) {
		c, e := s.replica(), created(s.T, "a")
		commit(s.T, c, strings.Repeat("k", 255), "a", e)
		s.wantPublished(e)
		wantSame(s.T, commit(s.T, c, strings.Repeat("k", 255), "a", created(s.T, "a")), e)
		for _, key := range []string{strings.Repeat("k", 256), strings.Repeat("é", 128)} {
			_, err := try(c, key, "a", created(s.T, "a"))
			wantProblem(s.T, err, http.StatusBadRequest)
		}
		s.wantPublished(e, e)
		if claims := s.store.Keys("claim-"); len(claims) != 1 {
			t.Errorf("%d claims, want 1", len(claims))
		}
	})
}

// A key may contain bytes that cannot be part of a store's key.
func TestAKeyIsAnyBytes(t *testing.T) {
	inService(t, func(s *service) {
		c := s.replica()
		var want []event.Event
		for _, key := range []string{" ", "a||b", "\x00", "\xff", "posts||claim", "é"} {
			e := created(s.T, "a")
			commit(s.T, c, key, "a", e)
			want = append(want, e)
		}
		s.wantPublished(want...)
		claims := s.store.Keys("claim-")
		if len(claims) != len(want) {
			t.Errorf("%d claims, want %d", len(claims), len(want))
		}
		for _, key := range claims {
			if digits, ok := strings.CutPrefix(key, "claim-"); !ok || strings.Trim(digits, "0123456789abcdef") != "" {
				t.Errorf("the store's key is %q", key)
			}
		}
	})
}

// No replica wrote a document that is no claim. The request must fail, and not look
// successful.
func TestADamagedClaimFailsTheRequest(t *testing.T) {
	for name, value := range map[string]string{
		"no JSON":  "x",
		"no event": `{"request":"` + digest([]byte("a")) + `","event":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			inService(t, func(s *service) {
				s.store.Put("claim-"+digest([]byte("key")), value)
				_, err := try(s.replica(), "key", "a", created(s.T, "a"))
				var p *web.Problem
				if err == nil || errors.As(err, &p) {
					t.Errorf("error %v, want one that is no problem of the client's", err)
				}
				s.wantPublished()
			})
		})
	}
}

func TestAnEventThatCannotBeEncodedIsNoProblemOfTheClients(t *testing.T) {
	inService(t, func(s *service) {
		bad := created(s.T, "a")
		bad.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
		_, err := try(s.replica(), "", "a", bad)
		var p *web.Problem
		if err == nil || errors.As(err, &p) {
			t.Errorf("error %v", err)
		}
		s.wantPublished()
	})
}

// Another person's key neither answers for a person nor stops one.
func TestAKeyBelongsToItsPerson(t *testing.T) {
	inService(t, func(s *service) {
		c, seen := s.replica(), map[string]Key{}
		for _, key := range []Key{{"key", ""}, {"key", "ann"}, {"key", "bob"}, {"nkey", "an"}, {"annkey", ""}} {
			e := created(t, "of "+key.Owner)
			got, err := c.Commit(s.Context(), key, []byte(key.Owner), e)
			if err != nil || got.ID != e.ID {
				t.Errorf("%+v is taken for another one, %+v: %v", key, seen[got.ID], err)
			}
			again, err := c.Commit(s.Context(), key, []byte(key.Owner), created(t, "of "+key.Owner))
			if err != nil || again.ID != e.ID {
				t.Errorf("%+v is not known again: %v", key, err)
			}
			seen[e.ID] = key
		}
	})
}

// A key is of the person who is signed in, or of the guest's browser that the client's host names. On
// the public port nobody names one.
func TestAKeysOwnerIsThePersonOrTheBrowser(t *testing.T) {
	for _, test := range []struct {
		person, guest string
		isChannel     bool
		want          string
	}{
		{"ann", "browser", true, "ann"}, {"", "browser", true, "browser"}, {"", "", true, ""}, {"", "browser", false, ""}, {"ann", "browser", false, "ann"},
	} {
		engine := web.NewEngine()
		if test.isChannel {
			engine.Use(web.FromHost)
		}
		engine.Use(identity.New(anybody{}).Identify)
		var got Key
		engine.GET("/", func(c *gin.Context) { got = KeyOf(c) })
		req := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		req.Header.Set(KeyHeader, "key")
		req.Header.Set(web.GuestHeader, test.guest)
		if test.person != "" {
			req.Header.Set("Authorization", "Bearer "+test.person)
		}
		engine.ServeHTTP(httptest.NewRecorder(), req)
		if got != (Key{Text: "key", Owner: test.want}) {
			t.Errorf("%+v: the key is %+v", test, got)
		}
	}
}

// anybody verifies each token as that of the person of that name.
type anybody struct{}

func (anybody) Verify(_ context.Context, token string) (identity.Person, error) {
	return identity.Person{Subject: token}, nil
}

// Replicas of earlier versions compare a guest's claims.
func TestAGuestsClaimIsThatOfEarlierVersions(t *testing.T) {
	if got, want := (Key{Text: "key"}).claim(), fmt.Sprintf("claim-%x", sha256.Sum256([]byte("key"))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
