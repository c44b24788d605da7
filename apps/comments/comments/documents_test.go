package comments

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/state/statetest"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

func wantComment(t *testing.T, m *statetest.Memory, want event.Comment) {
	t.Helper()
	var got event.Comment
	if err := json.Unmarshal([]byte(m.Value("comment-"+want.ID)), &got); err != nil || got != want {
		t.Errorf("stored %+v (error %v), want %+v", got, err, want)
	}
}

func TestANewBatchIsOneReadAndOneWrite(t *testing.T) {
	m := statetest.New()
	var events []event.Event
	for n := range 100 {
		events = append(events, about(t, aComment(aPost, n)))
	}
	wantErrors(t, replicaOn(m).deliver(event.CommentCreated)(context.Background(), events), make([]error, 100)...)
	for _, e := range events {
		wantComment(t, m, *e.Comment)
	}
	if writes := m.Calls(statetest.Swap); len(writes) != 1 || len(writes[0].Items) != 100 {
		t.Errorf("%d writes", len(writes))
	}
	if reads := m.Calls(statetest.Get); len(reads) != 1 || len(reads[0].Items) != 100 {
		t.Errorf("%d reads", len(reads))
	}
}

func TestTheHighestRevisionWinsInAnyOrder(t *testing.T) {
	pending := aComment(aPost, 1)
	last := moderated(pending)
	for name, batches := range map[string][][]event.Event{
		"in order":           {{about(t, pending)}, {about(t, last)}},
		"overtaken":          {{about(t, last)}, {about(t, pending)}},
		"twice":              {{about(t, pending), about(t, pending)}, {about(t, last), about(t, last)}, {about(t, pending)}, {about(t, last)}},
		"both in one batch":  {{about(t, pending), about(t, last)}},
		"in one, other way":  {{about(t, last), about(t, pending)}},
		"and again with all": {{about(t, last)}, {about(t, pending), about(t, last), about(t, pending)}},
	} {
		t.Run(name, func(t *testing.T) {
			m := statetest.New()
			s := replicaOn(m)
			for _, batch := range batches {
				merge := s.deliver(event.CommentModerated)
				if batch[0].Type == event.CommentCreated || len(batch) > 1 {
					merge = s.deliver(event.CommentCreated)
				}
				wantErrors(t, merge(context.Background(), batch), make([]error, len(batch))...)
			}
			wantComment(t, m, last)
		})
	}
}

// A comment that comes alone costs a read and a write of its document for each of its two
// events.
func TestACommentCostsFourCalls(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	for _, c := range []event.Comment{first, second} {
		wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)}), nil)
		wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(c))}), nil)
		wantComment(t, m, moderated(c))
	}
	if reads, writes := len(m.Calls(statetest.Get)), len(m.Calls(statetest.Swap)); reads != 2*2 || writes != 2*2 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

// A batch reads and writes each key once, however many of its events are about one
// comment.
func TestABatchReadsAndWritesEachKeyOnce(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	var created, decided []event.Event
	for n := range 100 {
		c := aComment(idAt(noon, n%10), n)
		created = append(created, about(t, c), about(t, c))
		decided = append(decided, about(t, moderated(c)), about(t, moderated(c)))
	}
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), created), make([]error, len(created))...)
	wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), decided), make([]error, len(decided))...)
	for _, calls := range [][]statetest.Call{m.Calls(statetest.Get), m.Calls(statetest.Swap)} {
		var sizes []int
		for _, call := range calls {
			sizes = append(sizes, len(call.Items))
		}
		if !slices.Equal(sizes, []int{100, 100}) {
			t.Errorf("the calls are about %v keys", sizes)
		}
	}
}

// A store that lost its last writes (a Redis that was killed) gets them again with
// the events.
func TestWhatTheStoreLostIsWrittenAgain(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	kept, lost := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, kept)}), nil)
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, lost)}), nil)
	m.Remove("comment-" + lost.ID)

	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, lost)}), nil)
	wantComment(t, m, kept)
	wantComment(t, m, lost)
}

func TestWhatAnotherReplicaWroteIsNotOverwritten(t *testing.T) {
	m := statetest.New()
	a, b := replicaOn(m), replicaOn(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, a.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, first)}), nil)
	wantErrors(t, b.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, second)}), nil)
	wantErrors(t, b.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(first))}), nil)

	wantErrors(t, a.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(first)), about(t, moderated(second))}), nil, nil)
	wantErrors(t, a.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, first), about(t, second)}), nil, nil)
	for _, c := range []event.Comment{first, second} {
		wantComment(t, m, moderated(c))
	}
}

func TestWhatContradictsAStoredCommentIsPoison(t *testing.T) {
	for name, forge := range map[string]func(*event.Comment){
		"another post":                    func(c *event.Comment) { c.PostID = idAt(noon, 99) },
		"other content":                   func(c *event.Comment) { c.Content = "forged" },
		"another author":                  func(c *event.Comment) { c.Author = "Eve" },
		"no author":                       func(c *event.Comment) { c.Author = "" },
		"another time":                    func(c *event.Comment) { c.CreatedAt = c.CreatedAt.Add(1) },
		"other content, and later":        func(c *event.Comment) { c.Content = "forged"; c.Revision = 3 },
		"another status at its revision":  func(c *event.Comment) { c.Status = event.Approved },
		"another reason at its revision":  func(c *event.Comment) { c.Reason = "forged" },
		"another post, when it was made":  func(c *event.Comment) { *c = aComment(idAt(noon, 99), 1) },
		"other content, when it was made": func(c *event.Comment) { *c = aComment(aPost, 1); c.Content = "forged" },
	} {
		t.Run(name, func(t *testing.T) {
			m := statetest.New()
			s := replicaOn(m)
			pending := aComment(aPost, 1)
			last := moderated(pending)
			wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, pending)}), nil)
			wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, last)}), nil)
			forged := last
			forge(&forged)
			other := aComment(aPost, 2)
			errs := s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, forged), about(t, other)})
			wantErrors(t, errs, bus.ErrPoison, nil)
			wantComment(t, m, last)
			wantComment(t, m, other)
			if got := m.Version("comment-" + last.ID); got != 2 {
				t.Errorf("it was written %d times", got)
			}
		})
	}
}

func TestOfTwoThatContradictInOneBatchTheFirstIsTaken(t *testing.T) {
	m := statetest.New()
	first, forged := aComment(aPost, 1), aComment(aPost, 1)
	forged.Content = "forged"
	wantErrors(t, replicaOn(m).deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, first), about(t, forged)}), nil, bus.ErrPoison)
	wantComment(t, m, first)
}

// The same time in another zone is the same time.
func TestTheSameTimeInAnotherZoneIsNoContradiction(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)}), nil)
	c.CreatedAt = c.CreatedAt.In(time.FixedZone("", 3600))
	wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(c))}), nil)
}

func TestWhileTheStoreIsDownEveryEventIsAskedForAgain(t *testing.T) {
	events := []event.Event{about(t, aComment(aPost, 1)), about(t, aComment(aPost, 2))}
	for name, test := range map[string]struct {
		breakIt func(*statetest.Memory)
		want    error
	}{
		"reads fail":  {func(m *statetest.Memory) { m.Fail(errDown, statetest.Get) }, errDown},
		"writes fail": {func(m *statetest.Memory) { m.Decide(statetest.Always(statetest.Refused)) }, state.ErrUnknown},
	} {
		for _, topic := range []event.Type{event.CommentCreated, event.CommentModerated} {
			t.Run(name+", "+string(topic), func(t *testing.T) {
				m := statetest.New()
				test.breakIt(m)
				errs := replicaOn(m).deliver(topic)(context.Background(), events)
				wantErrors(t, errs, test.want, test.want)
				if errors.Is(errs[0], bus.ErrPoison) {
					t.Error("it would be a dead letter")
				}
			})
		}
	}
}

func TestADocumentIsTriedSomeTimes(t *testing.T) {
	m := statetest.New()
	m.Decide(statetest.Always(statetest.Refused))
	wantErrors(t, replicaOn(m).deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, aComment(aPost, 1))}), state.ErrUnknown)
	if got := m.Named(statetest.Swap, "comment-"); got != 4 {
		t.Errorf("%d tries, want 4", got)
	}
}

func TestADamagedDocumentIsAnErrorAndStays(t *testing.T) {
	m := statetest.New()
	c := aComment(aPost, 1)
	m.Put("comment-"+c.ID, "{")
	errs := replicaOn(m).deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)})
	if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], bus.ErrPoison) {
		t.Errorf("errors %v", errs)
	}
	if m.Value("comment-"+c.ID) != "{" {
		t.Error("it was overwritten")
	}
	if _, err := load(context.Background(), m, c.ID); err == nil {
		t.Error("load took it")
	}
}

// The property test interleaves two replicas; here they really run at once.
func TestReplicasAtOnceStoreEveryComment(t *testing.T) {
	const comments, batch = 400, 40
	topics := []event.Type{event.CommentCreated, event.CommentModerated}
	m := statetest.New()
	var all sync.WaitGroup
	events := [2][]event.Event{} // by topic
	for n := range comments {
		c := aComment(aPost, n)
		events[0], events[1] = append(events[0], about(t, c)), append(events[1], about(t, moderated(c)))
	}
	for r := range uint64(2) {
		s := replicaOn(m)
		random := rand.New(rand.NewPCG(7, r))
		for i, topic := range topics { // batches of one replica run at once too
			mine := slices.Clone(events[i])
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			all.Go(func() {
				for len(mine) > 0 {
					n := min(batch, len(mine))
					var again []event.Event
					for i, err := range s.deliver(topic)(context.Background(), mine[:n]) {
						if errors.Is(err, bus.ErrPoison) {
							t.Errorf("a dead letter: %v", err)
						} else if err != nil {
							again = append(again, mine[i])
						}
					}
					mine = append(mine[n:], again...)
				}
			})
		}
	}
	all.Wait()
	for _, e := range events[1] {
		wantComment(t, m, *e.Comment)
	}
	if got := len(m.Keys("comment-")); got != comments {
		t.Errorf("%d comments are stored, want %d", got, comments)
	}
}

func TestAwaitingAComment(t *testing.T) {
	const here, elsewhere, never = "here", "elsewhere", ""
	for name, test := range map[string]struct {
		id    func(now time.Time) string
		comes string        // at this replica, or at another
		at    time.Duration // when it comes
		found bool
		after time.Duration
		reads int
	}{
		"that is there":                          {func(now time.Time) string { return idAt(now, 1) }, elsewhere, 0, true, 0, 1},
		"that is old and there":                  {func(now time.Time) string { return idAt(now.Add(-time.Hour), 1) }, elsewhere, 0, true, 0, 1},
		"that is old and isn't":                  {func(now time.Time) string { return idAt(now.Add(-commentDelay), 1) }, never, 0, false, 0, 1},
		"that is young and isn't":                {func(now time.Time) string { return idAt(now.Add(-commentDelay+time.Millisecond), 1) }, never, 0, false, arrivalWait, 3},
		"that is young and comes":                {func(now time.Time) string { return idAt(now.Add(-time.Second), 1) }, here, 110 * time.Millisecond, true, 110 * time.Millisecond, 2},
		"that comes later":                       {func(now time.Time) string { return idAt(now, 1) }, here, arrivalWait - 1, true, arrivalWait - 1, 3},
		"that comes elsewhere":                   {func(now time.Time) string { return idAt(now, 1) }, elsewhere, 110 * time.Millisecond, true, arrivalPause, 2},
		"that comes elsewhere, and later":        {func(now time.Time) string { return idAt(now, 1) }, elsewhere, arrivalWait - 1, true, arrivalWait, 3},
		"that is a little ahead of us and comes": {func(now time.Time) string { return idAt(now.Add(2*time.Second), 1) }, here, 110 * time.Millisecond, true, 110 * time.Millisecond, 2},
		"from the far future":                    {func(now time.Time) string { return idAt(now.Add(time.Hour), 1) }, never, 0, false, 0, 1},
		"that has no such id":                    {func(time.Time) string { return "8c5f0f1e-58a5-4a0a-9a55-3d8c8b1f6b11" }, never, 0, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := statetest.New()
				s := replicaOn(m)
				replica := s
				if test.comes == elsewhere {
					replica = replicaOn(m)
				}
				c := aComment(aPost, 1)
				c.ID = test.id(time.Now())
				come := func() {
					wantErrors(t, replica.deliver(event.CommentCreated)(context.Background(), []event.Event{about(t, c)}), nil)
				}
				switch {
				case test.comes != never && test.at == 0:
					come()
				case test.comes != never:
					time.AfterFunc(test.at, come)
				}
				before := m.Named(statetest.Get, "comment-"+c.ID)
				start := time.Now()
				got, err := s.find(context.Background(), c.ID)
				if err != nil || (got != nil) != test.found {
					t.Errorf("got %+v and error %v", got, err)
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				reads := m.Named(statetest.Get, "comment-"+c.ID) - before
				if test.comes != never && test.at > 0 {
					reads-- // the handler's own
				}
				if reads != test.reads {
					t.Errorf("%d reads, want %d", reads, test.reads)
				}
				wantNobodyWaits(t, s.arrivals)
			})
		})
	}
}

// A decision that overtakes its comment is stored, and so is the comment with it.
func TestACommentArrivesWithWhicheverEventIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := replicaOn(statetest.New())
		c := aComment(aPost, 1)
		c.ID = idAt(time.Now(), 1)
		time.AfterFunc(110*time.Millisecond, func() {
			wantErrors(t, s.deliver(event.CommentModerated)(context.Background(), []event.Event{about(t, moderated(c))}), nil)
		})
		start := time.Now()
		got, err := s.find(context.Background(), c.ID)
		if took := time.Since(start); err != nil || got == nil || *got != moderated(c) || took != 110*time.Millisecond {
			t.Errorf("got %+v and error %v after %v", got, err, took)
		}
	})
}

func TestAwaitingACommentEndsWithItsRequestAndWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		s := replicaOn(m)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.find(ctx, idAt(time.Now(), 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		m.Fail(errDown, statetest.Get)
		if _, err := s.find(context.Background(), idAt(time.Now(), 1)); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
	})
}
