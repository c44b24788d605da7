package comments

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
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

func TestANewBatchIsOneWriteOfItsDocumentsAndOneOfItsList(t *testing.T) {
	m := statetest.New()
	var events []event.Event
	var ids []string
	for n := range 100 {
		c := aComment(aPost, n)
		events, ids = append(events, about(t, c)), append(ids, c.ID)
	}
	wantErrors(t, replicaOn(m).CommentCreated(context.Background(), events), make([]error, 100)...)
	wantList(t, m, ids)
	if writes := m.Calls(statetest.Swap); len(writes) != 2 || len(writes[0].Items) != 100 || len(writes[1].Items) != 1 {
		t.Errorf("%d writes", len(writes))
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
				merge := s.CommentModerated
				if batch[0].Type == event.CommentCreated || len(batch) > 1 {
					merge = s.CommentCreated
				}
				wantErrors(t, merge(context.Background(), batch), make([]error, len(batch))...)
			}
			wantComment(t, m, last)
			wantList(t, m, []string{pending.ID})
		})
	}
}

// A comment that comes alone costs a read and a write of its document for each of its two
// events, and a read and a write of its list's tail, which is looked up at first.
func TestACommentCostsSixCalls(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	for _, c := range []event.Comment{first, second} {
		wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, c)}), nil)
		wantErrors(t, s.CommentModerated(context.Background(), []event.Event{about(t, moderated(c))}), nil)
		wantComment(t, m, moderated(c))
	}
	wantList(t, m, []string{first.ID, second.ID})
	if reads, writes := len(m.Calls(statetest.Get)), len(m.Calls(statetest.Swap)); reads != 1+2*3 || writes != 2*3 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

// A batch reads and writes each key once, however many of its events are about one
// comment or one post.
func TestABatchReadsAndWritesEachKeyOnce(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	var created, decided []event.Event
	for n := range 100 {
		c := aComment(idAt(noon, n%10), n)
		created = append(created, about(t, c), about(t, c))
		decided = append(decided, about(t, moderated(c)), about(t, moderated(c)))
	}
	for n := range 10 { // so that it is known where each list ends
		wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, aComment(idAt(noon, n), 1000+n))}), nil)
	}
	gets, swaps := len(m.Calls(statetest.Get)), len(m.Calls(statetest.Swap))
	wantErrors(t, s.CommentCreated(context.Background(), created), make([]error, len(created))...)
	wantErrors(t, s.CommentModerated(context.Background(), decided), make([]error, len(decided))...)
	for _, calls := range [][]statetest.Call{m.Calls(statetest.Get)[gets:], m.Calls(statetest.Swap)[swaps:]} {
		var sizes []int
		for _, call := range calls { // the documents, the lists, and the documents again
			sizes = append(sizes, len(call.Items))
		}
		if !slices.Equal(sizes, []int{100, 10, 100}) {
			t.Errorf("the calls are about %v keys", sizes)
		}
	}
}

// Nobody looks through a list for a comment that its moderation overtook, however
// long the list is: its document says that it isn't listed. Nor for the others of a
// batch in which another replica was first with one.
func TestNoListIsReadForWhatIsInNone(t *testing.T) {
	m := statetest.New()
	s, other := replicaOn(m), replicaOn(m)
	var all []string
	for n := 0; n < 3*chunkSize; n += chunkSize / 2 {
		var created, decided []event.Event
		for i := range chunkSize / 2 {
			c := aComment(aPost, n+i)
			created, decided, all = append(created, about(t, c)), append(decided, about(t, moderated(c))), append(all, c.ID)
		}
		wantErrors(t, s.CommentModerated(context.Background(), decided[:20]), make([]error, 20)...)
		m.Before(func(_ context.Context, c statetest.Call) error {
			if c.Op == statetest.Swap {
				m.Before(nil)
				wantErrors(t, other.CommentModerated(context.Background(), decided[20:22]), nil, nil)
			}
			return nil
		})
		before := len(m.Calls(statetest.Get))
		wantErrors(t, s.CommentCreated(context.Background(), created), make([]error, len(created))...)
		for _, call := range m.Calls(statetest.Get)[before:] { // the tail of the list, at first and where a chunk was full
			keys := call.Keys()
			if len(keys) == 0 || strings.HasPrefix(keys[0], "list-") && len(keys) > 1 {
				t.Errorf("%d comments in, it read %d keys: %.3q", n, len(keys), keys)
			}
		}
		wantErrors(t, s.CommentModerated(context.Background(), decided), make([]error, len(decided))...)
	}
	wantList(t, m, all)
	for n := range 3 * chunkSize {
		wantComment(t, m, moderated(aComment(aPost, n)))
	}
}

// Delivered again, also much later, it is listed by nobody.
func TestAnOvertakenCommentIsListedOnce(t *testing.T) {
	m := statetest.New()
	a, b := replicaOn(m), replicaOn(m)
	c := aComment(aPost, 1)
	want := []string{c.ID}
	wantErrors(t, a.CommentModerated(context.Background(), []event.Event{about(t, moderated(c))}), nil)
	for i, replica := range []*Service{b, a, b, a, replicaOn(m)} {
		wantErrors(t, replica.CommentCreated(context.Background(), []event.Event{about(t, c)}), nil)
		var others []event.Event
		for n := range chunkSize { // its chunk is full then
			o := aComment(aPost, 2+i*chunkSize+n)
			others, want = append(others, about(t, o)), append(want, o.ID)
		}
		wantErrors(t, replica.CommentCreated(context.Background(), others), make([]error, len(others))...)
		wantList(t, m, want)
	}
	if value := m.Value("comment-" + c.ID); strings.Contains(value, "unlisted") {
		t.Errorf("it is said to be unlisted: %s", value)
	}
}

// Between the document and the list the service may die.
func TestAnOvertakenCommentThatWasNotListedIsListedByTheNextDelivery(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.CommentModerated(context.Background(), []event.Event{about(t, moderated(c))}), nil)
	m.Decide(func(item state.Item) statetest.Fate {
		if strings.HasPrefix(item.Key, "list-") {
			return statetest.Refused
		}
		return statetest.Written
	})
	wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, c)}), state.ErrUnknown)
	m.Decide(nil)
	wantErrors(t, replicaOn(m).CommentCreated(context.Background(), []event.Event{about(t, c)}), nil)
	wantList(t, m, []string{c.ID})
}

// A store that lost its last writes (a Redis that was killed) gets them again with
// the events.
func TestWhatTheStoreLostIsWrittenAgain(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	kept, lost := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, kept)}), nil)
	before := m.Value(chunkKey(aPost, 0))
	wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, lost)}), nil)
	m.Remove("comment-"+lost.ID, chunkKey(aPost, 0))
	m.Put(chunkKey(aPost, 0), before)

	wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, lost)}), nil)
	wantComment(t, m, lost)
	wantList(t, m, []string{kept.ID, lost.ID})
}

func TestWhatAnotherReplicaWroteIsNotOverwritten(t *testing.T) {
	m := statetest.New()
	a, b := replicaOn(m), replicaOn(m)
	first, second := aComment(aPost, 1), aComment(aPost, 2)
	wantErrors(t, a.CommentCreated(context.Background(), []event.Event{about(t, first)}), nil)
	wantErrors(t, b.CommentCreated(context.Background(), []event.Event{about(t, second)}), nil)
	wantErrors(t, b.CommentModerated(context.Background(), []event.Event{about(t, moderated(first))}), nil)

	wantErrors(t, a.CommentModerated(context.Background(), []event.Event{about(t, moderated(first)), about(t, moderated(second))}), nil, nil)
	wantErrors(t, a.CommentCreated(context.Background(), []event.Event{about(t, first), about(t, second)}), nil, nil)
	for _, c := range []event.Comment{first, second} {
		wantComment(t, m, moderated(c))
	}
	wantList(t, m, []string{first.ID, second.ID})
}

func TestAModeratedCommentIsNotListedBeforeItWasCreated(t *testing.T) {
	m := statetest.New()
	wantErrors(t, replicaOn(m).CommentModerated(context.Background(), []event.Event{about(t, moderated(aComment(aPost, 1)))}), nil)
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
			m := statetest.New()
			s := replicaOn(m)
			pending := aComment(aPost, 1)
			last := moderated(pending)
			wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, pending)}), nil)
			wantErrors(t, s.CommentModerated(context.Background(), []event.Event{about(t, last)}), nil)
			forged := last
			forge(&forged)
			other := aComment(aPost, 2)
			errs := s.CommentCreated(context.Background(), []event.Event{about(t, forged), about(t, other)})
			wantErrors(t, errs, bus.ErrPoison, nil)
			wantComment(t, m, last)
			wantList(t, m, []string{pending.ID, other.ID})
			if got := m.Value(chunkKey(idAt(noon, 99), 0)); got != "" {
				t.Errorf("the forged post lists %s", got)
			}
		})
	}
}

func TestOfTwoThatContradictInOneBatchTheFirstIsTaken(t *testing.T) {
	m := statetest.New()
	first, forged := aComment(aPost, 1), aComment(aPost, 1)
	forged.Content = "forged"
	wantErrors(t, replicaOn(m).CommentCreated(context.Background(), []event.Event{about(t, first), about(t, forged)}), nil, bus.ErrPoison)
	wantComment(t, m, first)
	wantList(t, m, []string{first.ID})
}

// The same time in another zone is the same time.
func TestTheSameTimeInAnotherZoneIsNoContradiction(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	c := aComment(aPost, 1)
	wantErrors(t, s.CommentCreated(context.Background(), []event.Event{about(t, c)}), nil)
	c.CreatedAt = c.CreatedAt.In(time.FixedZone("", 3600))
	wantErrors(t, s.CommentModerated(context.Background(), []event.Event{about(t, moderated(c))}), nil)
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
		for handler, handle := range map[string]func(*Service, context.Context, []event.Event) []error{
			"CommentCreated": (*Service).CommentCreated, "CommentModerated": (*Service).CommentModerated,
		} {
			t.Run(name+", "+handler, func(t *testing.T) {
				m := statetest.New()
				test.breakIt(m)
				errs := handle(replicaOn(m), context.Background(), events)
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
	wantErrors(t, replicaOn(m).CommentModerated(context.Background(), []event.Event{about(t, aComment(aPost, 1))}), state.ErrUnknown)
	if got := m.Named(statetest.Swap, "comment-"); got != 4 {
		t.Errorf("%d tries, want 4", got)
	}
}

func TestWhatCouldNotBeListedIsListedByTheNextDelivery(t *testing.T) {
	m := statetest.New()
	s := replicaOn(m)
	other := idAt(noon, 2)
	events := []event.Event{about(t, aComment(aPost, 1)), about(t, aComment(other, 2))}
	m.Decide(func(item state.Item) statetest.Fate {
		if item.Key == chunkKey(aPost, 0) {
			return statetest.Refused
		}
		return statetest.Written
	})
	// Of the two lists, one can be written: only the other's event comes again.
	wantErrors(t, s.CommentCreated(context.Background(), events), state.ErrUnknown, nil)
	m.Decide(nil)
	wantErrors(t, s.CommentCreated(context.Background(), events[:1]), nil)
	wantList(t, m, []string{events[0].Comment.ID})
}

func TestADamagedDocumentIsAnErrorAndStays(t *testing.T) {
	m := statetest.New()
	c := aComment(aPost, 1)
	m.Put("comment-"+c.ID, "{")
	errs := replicaOn(m).CommentCreated(context.Background(), []event.Event{about(t, c)})
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
func TestReplicasAtOnceListEveryCommentOnce(t *testing.T) {
	const comments, batch = 400, 40
	m := statetest.New()
	var all sync.WaitGroup
	var want []string
	events := make([]event.Event, comments)
	for n := range events {
		c := aComment(aPost, n)
		events[n], want = about(t, c), append(want, c.ID)
	}
	for r := range uint64(2) {
		s := replicaOn(m)
		random := rand.New(rand.NewPCG(7, r))
		for range 2 { // batches of one replica run at once too
			mine := slices.Clone(events)
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			all.Go(func() {
				for len(mine) > 0 {
					n := min(batch, len(mine))
					var again []event.Event
					for i, err := range s.CommentCreated(context.Background(), mine[:n]) {
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
	m := statetest.New()
	s := replicaOn(m)
	var events []event.Event
	for n := range 5 {
		events = append(events, about(t, aComment(aPost, n)))
	}
	wantErrors(t, s.CommentCreated(context.Background(), events), make([]error, 5)...)
	page, next, err := s.page(context.Background(), aPost, fromNewest, 3)
	if err != nil || len(page) != 3 || next != 3 {
		t.Fatalf("got %d comments, then %d, error %v", len(page), next, err)
	}
	for i, c := range page {
		if c != aComment(aPost, 4-i) {
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
				m := statetest.New()
				s := replicaOn(m)
				replica := s
				if test.comes == elsewhere {
					replica = replicaOn(m)
				}
				c := aComment(aPost, 1)
				c.ID = test.id(time.Now())
				come := func() { wantErrors(t, replica.CommentCreated(context.Background(), []event.Event{about(t, c)}), nil) }
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
			wantErrors(t, s.CommentModerated(context.Background(), []event.Event{about(t, moderated(c))}), nil)
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
