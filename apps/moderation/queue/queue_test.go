package queue

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog/eventlogtest"
)

// about is an event of a comment at a revision.
func about(t *testing.T, id string, status event.Status, revision int) event.Event {
	t.Helper()
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	c := event.Comment{ID: id, PostID: event.NewID(), Content: "Hello", Status: status, CreatedAt: at, Revision: revision}
	typ := event.CommentModerated
	if status == event.Pending {
		typ = event.CommentCreated
	}
	e, err := event.OfComment(typ, "comments", c, at, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Whatever the order in the log, the highest revision counts; and when the log is another one,
// the index is of that one alone.
func TestTheIndexIsTheFoldOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := event.NewID(), event.NewID()
		log := eventlogtest.New(about(t, b, event.Held, 2), about(t, a, event.Approved, 3), about(t, a, event.Held, 2), about(t, a, event.Pending, 1), about(t, b, event.Pending, 1))
		x := New(log)
		if x.IsReady() {
			t.Error("it is ready before it has read the log")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go x.Run(ctx)
		synctest.Wait()
		held, isMore := x.After(uuid.Nil, event.Held, 10)
		if len(held) != 1 || held[0].ID.String() != b || isMore || !x.IsReady() {
			t.Errorf("held are %v, more %v", held, isMore)
		}
		if entry, found := x.Find(uuid.MustParse(a)); !found || entry.Status != event.Approved || entry.Revision != 3 || entry.Sequence != 2 {
			t.Errorf("the entry is %+v, %v", entry, found)
		}
		log.Append(about(t, b, event.Approved, 3))
		synctest.Wait()
		if held, _ := x.After(uuid.Nil, event.Held, 10); len(held) != 0 {
			t.Errorf("held are %v", held)
		}
		c := event.NewID()
		log.Replace(event.NewID(), about(t, c, event.Held, 2))
		time.Sleep(3 * time.Second) // of the bubble's clock
		if _, found := x.Find(uuid.MustParse(a)); found {
			t.Error("it has a comment of the log before")
		}
		if held, _ := x.After(uuid.Nil, event.Held, 10); len(held) != 1 || held[0].ID.String() != c {
			t.Errorf("held are %v", held)
		}
	})
}

// deciding is a PersonBlocked, decided so many hours after noon.
func deciding(t *testing.T, person string, blocked bool, revision, hours int) event.Event {
	t.Helper()
	at := time.Date(2026, 11, 29, 12+hours, 0, 0, 0, time.UTC)
	e, err := event.OfBlocking("moderation", event.Blocking{Subject: person, Blocked: blocked, Revision: revision, DecidedBy: "m", DecidedAt: at}, "")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// In any order of the log the highest revision of each person counts: who was unblocked has
// gone, and who was blocked again is back.
func TestWhoIsBlockedIsTheFoldOfTheLog(t *testing.T) {
	all := []event.Event{
		deciding(t, "ann", true, 1, 0), deciding(t, "ann", false, 2, 1),
		deciding(t, "bob", true, 1, 2), deciding(t, "bob", false, 2, 3), deciding(t, "bob", true, 3, 4),
		deciding(t, "cat", true, 1, 5),
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // to be repeatable
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			order := random.Perm(len(all))
			log := eventlogtest.New()
			for _, i := range order {
				log.Append(all[i])
			}
			x := New(log)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go x.Run(ctx)
			synctest.Wait()
			wantBlocked(t, x, 10, "cat", "bob")
			wantBlocked(t, x, 1, "cat")
			log.Replace(event.NewID(), all[0])
			time.Sleep(3 * time.Second) // of the bubble's clock
			wantBlocked(t, x, 10, "ann")
			if t.Failed() {
				t.Fatalf("the order was %v", order)
			}
		})
	}
}

func wantBlocked(t *testing.T, x *Index, limit int, want ...string) {
	t.Helper()
	var got []string
	for _, p := range x.Blocked(limit) {
		got = append(got, p.Subject)
	}
	if !slices.Equal(got, want) {
		t.Errorf("blocked are %v, want %v", got, want)
	}
}
