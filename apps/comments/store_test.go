package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

func wantComment(t *testing.T, m *memory, want event.Comment) {
	t.Helper()
	var got event.Comment
	if err := json.Unmarshal([]byte(m.values["comment-"+want.ID]), &got); err != nil || got != want {
		t.Errorf("stored %+v (error %v), want %+v", got, err, want)
	}
}

func TestANewBatchIsOneWriteOfItsDocumentsAndOneOfItsList(t *testing.T) {
	m := newMemory()
	var events []event.Event
	var ids []string
	for n := range 100 {
		c := aComment(aPost, n)
		events, ids = append(events, told(t, c)), append(ids, c.ID)
	}
	wantErrors(t, newComments(m).merge(context.Background(), events, true), make([]error, 100)...)
	wantList(t, m, ids)
	if len(m.swaps) != 2 || len(m.swaps[0]) != 100 || len(m.swaps[1]) != 1 {
		t.Errorf("%d writes", len(m.swaps))
	}
}

func TestTheHighestRevisionWinsInAnyOrder(t *testing.T) {
	pending := aComment(aPost, 1)
	last := moderated(pending)
	for name, batches := range map[string][][]event.Event{
		"in order":           {{told(t, pending)}, {told(t, last)}},
		"overtaken":          {{told(t, last)}, {told(t, pending)}},
		"twice":              {{told(t, pending), told(t, pending)}, {told(t, last), told(t, last)}, {told(t, pending)}, {told(t, last)}},
		"both in one batch":  {{told(t, pending), told(t, last)}},
		"in one, other way":  {{told(t, last), told(t, pending)}},
		"and again with all": {{told(t, last)}, {told(t, pending), told(t, last), told(t, pending)}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s := newComments(m)
			for _, batch := range batches {
				wantErrors(t, s.merge(context.Background(), batch, batch[0].Type == event.CommentCreated || len(batch) > 1), make([]error, len(batch))...)
			}
			wantComment(t, m, last)
			wantList(t, m, []string{pending.ID})
		})
	}
}

// What this replica has just written it need not read, nor whether a comment that
// comes alone has a document: its whole life costs two writes of that, and one of its
// list, whose tail is read at first.
func TestWhatWasJustWrittenIsNotRead(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	for _, c := range []event.Comment{first, second} {
		wantErrors(t, s.merge(context.Background(), []event.Event{told(t, c)}, true), nil)
		wantErrors(t, s.merge(context.Background(), []event.Event{told(t, moderated(c))}, false), nil)
		wantComment(t, m, moderated(c))
	}
	wantList(t, m, []string{first.ID, second.ID})
	if len(m.gets) != 1 || len(m.swaps) != 6 {
		t.Errorf("%d reads and %d writes", len(m.gets), len(m.swaps))
	}
}

// Nobody looks through a list for a comment that its moderation overtook, however
// long the list is: its document says that it isn't listed. Nor for the others of a
// batch in which another replica was first with one.
func TestNoListIsReadForWhatIsInNone(t *testing.T) {
	m := newMemory()
	s, other := newComments(m), newComments(m)
	var all []string
	for n := 0; n < 3*chunkSize; n += chunkSize / 2 {
		var created, decided []event.Event
		for i := range chunkSize / 2 {
			c := aComment(aPost, n+i)
			created, decided, all = append(created, told(t, c)), append(decided, told(t, moderated(c))), append(all, c.ID)
		}
		wantErrors(t, s.merge(context.Background(), decided[:20], false), make([]error, 20)...)
		m.beforeSwap = func() {
			m.beforeSwap = nil
			wantErrors(t, other.merge(context.Background(), decided[20:22], false), nil, nil)
		}
		before := len(m.gets)
		wantErrors(t, s.merge(context.Background(), created, true), make([]error, len(created))...)
		for _, keys := range m.gets[before:] { // the tail of the list, at first and where a chunk was full
			if len(keys) == 0 || strings.HasPrefix(keys[0], "list-") && len(keys) > 1 {
				t.Errorf("%d comments in, it read %d keys: %.3q", n, len(keys), keys)
			}
		}
		wantErrors(t, s.merge(context.Background(), decided, false), make([]error, len(decided))...)
	}
	wantList(t, m, all)
	for n := range 3 * chunkSize {
		wantComment(t, m, moderated(aComment(aPost, n)))
	}
}

// Delivered again, also much later, it is listed by nobody.
func TestAnOvertakenCommentIsListedOnce(t *testing.T) {
	m := newMemory()
	a, b := newComments(m), newComments(m)
	c := aComment(aPost, 1)
	want := []string{c.ID}
	wantErrors(t, a.merge(context.Background(), []event.Event{told(t, moderated(c))}, false), nil)
	for i, replica := range []*comments{b, a, b, a, newComments(m)} {
		wantErrors(t, replica.merge(context.Background(), []event.Event{told(t, c)}, true), nil)
		var others []event.Event
		for n := range chunkSize { // its chunk is full then
			o := aComment(aPost, 2+i*chunkSize+n)
			others, want = append(others, told(t, o)), append(want, o.ID)
		}
		wantErrors(t, replica.merge(context.Background(), others, true), make([]error, len(others))...)
		wantList(t, m, want)
	}
	if value := m.values["comment-"+c.ID]; strings.Contains(value, "unlisted") {
		t.Errorf("it is said to be unlisted: %s", value)
	}
}

// Between the document and the list the service may die.
func TestAnOvertakenCommentThatWasNotListedIsListedByTheNextDelivery(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, moderated(c))}, false), nil)
	m.fate = func(key string) fate {
		if strings.HasPrefix(key, "list-") {
			return refused
		}
		return written
	}
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, c)}, true), state.ErrUnknown)
	m.fate = nil
	wantErrors(t, newComments(m).merge(context.Background(), []event.Event{told(t, c)}, true), nil)
	wantList(t, m, []string{c.ID})
}

// A store that lost its last writes (a Redis that was killed) gets them again with
// the events, whatever this replica remembers of them.
func TestWhatTheStoreLostIsWrittenAgain(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	kept, lost := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, kept)}, true), nil)
	before := m.values[chunkKey(aPost, 0)]
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, lost)}, true), nil)
	delete(m.values, "comment-"+lost.ID)
	delete(m.versions, "comment-"+lost.ID)
	m.values[chunkKey(aPost, 0)] = before
	m.versions[chunkKey(aPost, 0)]--

	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, lost)}, true), nil)
	wantComment(t, m, lost)
	wantList(t, m, []string{kept.ID, lost.ID})
}

// What another replica did meanwhile is found when the guess fails.
func TestWhatAnotherReplicaWroteIsNotOverwritten(t *testing.T) {
	m := newMemory()
	a, b := newComments(m), newComments(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, a.merge(context.Background(), []event.Event{told(t, first)}, true), nil)
	wantErrors(t, b.merge(context.Background(), []event.Event{told(t, second)}, true), nil)
	wantErrors(t, b.merge(context.Background(), []event.Event{told(t, moderated(first))}, false), nil)

	wantErrors(t, a.merge(context.Background(), []event.Event{told(t, moderated(first)), told(t, moderated(second))}, false), nil, nil)
	wantErrors(t, a.merge(context.Background(), []event.Event{told(t, first), told(t, second)}, true), nil, nil)
	for _, c := range []event.Comment{first, second} {
		wantComment(t, m, moderated(c))
	}
	wantList(t, m, []string{first.ID, second.ID})
}

func TestAModeratedCommentIsNotListedBeforeItWasCreated(t *testing.T) {
	m := newMemory()
	wantErrors(t, newComments(m).merge(context.Background(), []event.Event{told(t, moderated(aComment(aPost, 1)))}, false), nil)
	wantList(t, m, nil)
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
			m := newMemory()
			s := newComments(m)
			pending := aComment(aPost, 1)
			last := moderated(pending)
			wantErrors(t, s.merge(context.Background(), []event.Event{told(t, pending)}, true), nil)
			wantErrors(t, s.merge(context.Background(), []event.Event{told(t, last)}, false), nil)
			forged := last
			forge(&forged)
			other := aComment(aPost, 2)
			errs := s.merge(context.Background(), []event.Event{told(t, forged), told(t, other)}, true)
			wantErrors(t, errs, bus.ErrPoison, nil)
			wantComment(t, m, last)
			wantList(t, m, []string{pending.ID, other.ID})
			if got, ok := m.values[chunkKey(idAt(noon, 99), 0)]; ok {
				t.Errorf("the forged post lists %s", got)
			}
		})
	}
}

func TestOfTwoThatContradictInOneBatchTheFirstIsTaken(t *testing.T) {
	m := newMemory()
	first, forged := aComment(aPost, 1), aComment(aPost, 1)
	forged.Content = "forged"
	wantErrors(t, newComments(m).merge(context.Background(), []event.Event{told(t, first), told(t, forged)}, true), nil, bus.ErrPoison)
	wantComment(t, m, first)
	wantList(t, m, []string{first.ID})
}

// The same time in another zone is the same time.
func TestTheSameTimeInAnotherZoneIsNoContradiction(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, c)}, true), nil)
	c.CreatedAt = c.CreatedAt.In(time.FixedZone("", 3600))
	wantErrors(t, s.merge(context.Background(), []event.Event{told(t, moderated(c))}, false), nil)
}

func TestWhileTheStoreIsDownEveryEventIsAskedForAgain(t *testing.T) {
	events := []event.Event{told(t, aComment(aPost, 1)), told(t, aComment(aPost, 2))}
	for name, test := range map[string]struct {
		m    *memory
		want error
	}{
		"reads fail":  {&memory{getErr: errDown}, errDown},
		"writes fail": {&memory{fate: always(refused)}, state.ErrUnknown},
	} {
		for _, list := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", list ", list), func(t *testing.T) {
				errs := newComments(test.m).merge(context.Background(), events, list)
				wantErrors(t, errs, test.want, test.want)
				if errors.Is(errs[0], bus.ErrPoison) {
					t.Error("it would be a dead letter")
				}
			})
		}
	}
}

func TestADocumentIsTriedSomeTimes(t *testing.T) {
	m := newMemory()
	m.fate = always(refused)
	wantErrors(t, newComments(m).merge(context.Background(), []event.Event{told(t, aComment(aPost, 1))}, false), state.ErrUnknown)
	if got := m.writesOf("comment-"); got != swapTries {
		t.Errorf("%d tries, want %d", got, swapTries)
	}
}

func TestWhatCouldNotBeListedIsListedByTheNextDelivery(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	other := idAt(noon, 2)
	events := []event.Event{told(t, aComment(aPost, 1)), told(t, aComment(other, 2))}
	m.fate = func(key string) fate {
		if key == chunkKey(aPost, 0) {
			return refused
		}
		return written
	}
	// Of the two lists, one can be written: only the other's event comes again.
	wantErrors(t, s.merge(context.Background(), events, true), state.ErrUnknown, nil)
	m.fate = nil
	wantErrors(t, s.merge(context.Background(), events[:1], true), nil)
	wantList(t, m, []string{events[0].Comment.ID})
}

func TestADamagedDocumentIsAnErrorAndStays(t *testing.T) {
	m := newMemory()
	c := aComment(aPost, 1)
	m.put("comment-"+c.ID, "{")
	errs := newComments(m).merge(context.Background(), []event.Event{told(t, c)}, true)
	if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], bus.ErrPoison) {
		t.Errorf("errors %v", errs)
	}
	if m.values["comment-"+c.ID] != "{" {
		t.Error("it was overwritten")
	}
	if _, err := newComments(m).load(context.Background(), []string{c.ID}); err == nil {
		t.Error("load took it")
	}
}

// The property test interleaves two replicas; here they really run at once.
func TestReplicasAtOnceListEveryCommentOnce(t *testing.T) {
	const comments, batch = 400, 40
	m := newMemory()
	var all sync.WaitGroup
	var want []string
	events := make([]event.Event, comments)
	for n := range events {
		c := aComment(aPost, n)
		events[n], want = told(t, c), append(want, c.ID)
	}
	for r := range uint64(2) {
		s := newComments(m)
		random := rand.New(rand.NewPCG(7, r))
		for range 2 { // batches of one replica run at once too
			mine := slices.Clone(events)
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			all.Go(func() {
				for len(mine) > 0 {
					n := min(batch, len(mine))
					var again []event.Event
					for i, err := range s.merge(context.Background(), mine[:n], true) {
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
	got, _ := stored(t, m)
	if len(got) != comments || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("%d ids are listed, want %d", len(got), comments)
	}
}

func TestAPageHoldsTheCommentsNewestFirst(t *testing.T) {
	m := newMemory()
	s := newComments(m)
	var events []event.Event
	for n := range 5 {
		events = append(events, told(t, aComment(aPost, n)))
	}
	wantErrors(t, s.merge(context.Background(), events, true), make([]error, 5)...)
	page, next, err := s.page(context.Background(), aPost, fromNewest, 3)
	if err != nil || len(page) != 3 || next != 3 {
		t.Fatalf("got %d comments, then %d, error %v", len(page), next, err)
	}
	for i, c := range page {
		if *c != aComment(aPost, 4-i) {
			t.Errorf("comment %d is %+v", i, c)
		}
	}
	// The API answers with a list, and with an empty one and not null.
	if page, next, err = s.page(context.Background(), idAt(noon, 2), fromNewest, 3); err != nil || page == nil || len(page) > 0 || next != 0 {
		t.Errorf("a post without comments: %v, then %d, error %v", page, next, err)
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
				m := newMemory()
				s := newComments(m)
				replica := s
				if test.comes == elsewhere {
					replica = newComments(m)
				}
				c := aComment(aPost, 1)
				c.ID = test.id(time.Now())
				come := func() { wantErrors(t, replica.merge(context.Background(), []event.Event{told(t, c)}, true), nil) }
				switch {
				case test.comes != never && test.at == 0:
					come()
				case test.comes != never:
					time.AfterFunc(test.at, come)
				}
				before := m.readsOf("comment-" + c.ID)
				start := time.Now()
				got, err := s.await(context.Background(), c.ID)
				if err != nil || (got != nil) != test.found {
					t.Errorf("got %+v and error %v", got, err)
				}
				if took := time.Since(start); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				if reads := m.readsOf("comment-"+c.ID) - before; reads != test.reads {
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
		s := newComments(newMemory())
		c := aComment(aPost, 1)
		c.ID = idAt(time.Now(), 1)
		time.AfterFunc(110*time.Millisecond, func() {
			wantErrors(t, s.merge(context.Background(), []event.Event{told(t, moderated(c))}, false), nil)
		})
		start := time.Now()
		got, err := s.await(context.Background(), c.ID)
		if took := time.Since(start); err != nil || got == nil || *got != moderated(c) || took != 110*time.Millisecond {
			t.Errorf("got %+v and error %v after %v", got, err, took)
		}
	})
}

func TestAwaitingACommentEndsWithItsRequestAndWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := newComments(m)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := s.await(ctx, idAt(time.Now(), 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		m.getErr = errDown
		if _, err := s.await(context.Background(), idAt(time.Now(), 1)); !errors.Is(err, errDown) {
			t.Errorf("error %v", err)
		}
	})
}
