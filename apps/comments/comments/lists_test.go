package comments

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/state/statetest"

	"github.com/postbus/postbus/apps/internal/state"
)

var aPost = idAt(noon, 1)

// numbered are the ids from..to-1, which sort as they are numbered.
func numbered(from, to int) []string {
	var ids []string
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("id-%06d", i))
	}
	return ids
}

// listOf is a store in which aPost has n comments, and lists over it.
func listOf(t testing.TB, n int) (*statetest.Memory, *lists) {
	t.Helper()
	m := statetest.New()
	for from := 0; from < n; from += chunkSize {
		value, err := json.Marshal(numbered(from, min(n, from+chunkSize)))
		if err != nil {
			t.Fatal(err)
		}
		m.Put(chunkKey(aPost, from/chunkSize), string(value))
	}
	return m, newLists(m, still)
}

// tailOf finds the tail of aPost.
func tailOf(t testing.TB, l *lists) (number int, ids []string) {
	t.Helper()
	number, ids, err := l.tail(t.Context(), aPost)
	if err != nil {
		t.Fatal(err)
	}
	return number, ids
}

// addition is one of ids to the list of a post.
func additionTo(t testing.TB, l *lists, post string, ids ...string) *addition {
	t.Helper()
	a, err := l.begin(t.Context(), post)
	if err != nil {
		t.Fatal(err)
	}
	a.ids = ids
	return a
}

// addOne adds ids, which are in no list, to aPost's.
func addOne(t testing.TB, l *lists, ids ...string) error {
	t.Helper()
	return l.add(t.Context(), []*addition{additionTo(t, l, aPost, ids...)})[aPost]
}

// addAgain adds ids to aPost's list that may be in it.
func addAgain(t testing.TB, l *lists, ids ...string) error {
	t.Helper()
	a := additionTo(t, l, aPost)
	a.doubtful = ids
	return l.add(t.Context(), []*addition{a})[aPost]
}

// stored is the list of aPost as it stands in the store.
func stored(t testing.TB, m *statetest.Memory) (ids []string, sizes []int) {
	t.Helper()
	for n := 0; ; n++ {
		value := m.Value(chunkKey(aPost, n))
		if value == "" {
			return ids, sizes
		}
		var chunk []string
		if err := json.Unmarshal([]byte(value), &chunk); err != nil {
			t.Fatal(err)
		}
		ids, sizes = append(ids, chunk...), append(sizes, len(chunk))
	}
}

func wantList(t testing.TB, m *statetest.Memory, want []string) {
	t.Helper()
	if got, sizes := stored(t, m); !slices.Equal(got, want) {
		t.Errorf("the list holds %d ids in chunks of %v, want %d\n%.200v\n%.200v", len(got), sizes, len(want), got, want)
	}
}

func TestChunksRollOver(t *testing.T) {
	for _, test := range []struct {
		before, added int
		sizes         []int
	}{
		{0, 1, []int{1}},
		{0, chunkSize - 1, []int{chunkSize - 1}},
		{0, chunkSize, []int{chunkSize}},
		{0, chunkSize + 1, []int{chunkSize, 1}},
		{0, 2*chunkSize + 88, []int{chunkSize, chunkSize, 88}},
		{chunkSize - 1, 1, []int{chunkSize}},
		{chunkSize - 1, 2, []int{chunkSize, 1}},
		{chunkSize, 1, []int{chunkSize, 1}},
		{chunkSize + 1, chunkSize - 1, []int{chunkSize, chunkSize}},
		{2 * chunkSize, 1, []int{chunkSize, chunkSize, 1}},
	} {
		t.Run(fmt.Sprintf("%d and then %d", test.before, test.added), func(t *testing.T) {
			m, l := listOf(t, test.before)
			all := numbered(0, test.before+test.added)
			if err := addOne(t, l, all[test.before:]...); err != nil {
				t.Fatal(err)
			}
			wantList(t, m, all)
			if _, sizes := stored(t, m); !slices.Equal(sizes, test.sizes) {
				t.Errorf("chunks of %v, want %v", sizes, test.sizes)
			}
		})
	}
}

// A batch over many posts costs two calls: the tails are read, and written.
func TestTheListsOfABatchAreWrittenAtOnce(t *testing.T) {
	m := statetest.New()
	l := newLists(m, still)
	var additions []*addition
	for p := range 100 {
		additions = append(additions, additionTo(t, l, idAt(noon, p), numbered(p, p+1)...))
	}
	before := len(m.Calls(statetest.Get))
	for post, err := range l.add(t.Context(), additions) {
		if err != nil {
			t.Errorf("post %s: %v", post, err)
		}
	}
	for p := range 100 {
		if got, want := m.Value(chunkKey(idAt(noon, p), 0)), fmt.Sprintf(`["id-%06d"]`, p); got != want {
			t.Errorf("post %d: %s, want %s", p, got, want)
		}
	}
	if reads, writes := len(m.Calls(statetest.Get))-before, len(m.Calls(statetest.Swap)); reads != 1 || writes != 1 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

// Another writer at one post costs another try of that post alone, and a damaged
// list nobody else's.
func TestOnePostsTroubleIsNotAnothers(t *testing.T) {
	m := statetest.New()
	l := newLists(m, still)
	raced, damaged, other := idAt(noon, 1), idAt(noon, 2), idAt(noon, 3)
	var additions []*addition
	for _, post := range []string{raced, damaged, other} {
		additions = append(additions, additionTo(t, l, post, "new"))
	}
	m.Put(chunkKey(damaged, 0), `{`)
	m.Before(func(_ context.Context, c statetest.Call) error {
		if c.Op == statetest.Swap {
			m.Before(nil)
			m.Put(chunkKey(raced, 0), `["first"]`)
		}
		return nil
	})
	failed := l.add(t.Context(), additions)
	if m.Value(chunkKey(raced, 0)) != `["first","new"]` || failed[raced] != nil {
		t.Errorf("raced: %s, error %v", m.Value(chunkKey(raced, 0)), failed[raced])
	}
	if m.Value(chunkKey(damaged, 0)) != `{` || failed[damaged] == nil {
		t.Errorf("damaged: %s, error %v", m.Value(chunkKey(damaged, 0)), failed[damaged])
	}
	if m.Value(chunkKey(other, 0)) != `["new"]` || failed[other] != nil || m.Version(chunkKey(other, 0)) != 1 {
		t.Errorf("other: %s, error %v", m.Value(chunkKey(other, 0)), failed[other])
	}
}

func TestABatchIsListedOldestFirstAndEachIDOnce(t *testing.T) {
	m, l := listOf(t, 0)
	if err := addOne(t, l, "c", "a", "b", "a", "c"); err != nil {
		t.Fatal(err)
	}
	wantList(t, m, []string{"a", "b", "c"})
}

func TestWhatIsListedIsNotListedAgain(t *testing.T) {
	const total = 2*chunkSize + 10
	for name, ids := range map[string][]string{
		"in the first chunk": numbered(0, 3),
		"in a middle chunk":  numbered(chunkSize+44, chunkSize+47),
		"in the tail":        numbered(total-3, total),
		"in all of them":     numbered(0, total),
	} {
		t.Run(name, func(t *testing.T) {
			m, l := listOf(t, total)
			if err := addAgain(t, l, ids...); err != nil {
				t.Fatal(err)
			}
			wantList(t, m, numbered(0, total))
			if len(m.Calls(statetest.Swap)) > 0 {
				t.Errorf("%d writes", len(m.Calls(statetest.Swap)))
			}
			// With one that isn't among them, that one is.
			if err := addAgain(t, l, append(slices.Clone(ids), "new")...); err != nil {
				t.Fatal(err)
			}
			wantList(t, m, append(numbered(0, total), "new"))
		})
	}
}

// However long a list is, an answer of the sidecar stays small, and what was listed a
// moment ago is found at once.
func TestASearchGoesBackwardsInBoundedReads(t *testing.T) {
	const chunks, total = 2*searchChunks + 30, (2*searchChunks+30)*chunkSize + 10
	id := func(n int) string { return numbered(n, n+1)[0] }
	m, l := listOf(t, total)
	tailOf(t, l)
	for name, test := range map[string]struct {
		ids   []string
		reads []int // of so many chunks
	}{
		"in the tail":                   {[]string{id(total - 1)}, []int{searchChunks}},
		"in the last full chunk":        {[]string{id(chunks*chunkSize - 1)}, []int{searchChunks}},
		"in the last and the tail":      {[]string{id(chunks*chunkSize - 1), id(total - 1)}, []int{searchChunks}},
		"in the last of the first read": {[]string{id((chunks - searchChunks + 1) * chunkSize)}, []int{searchChunks}},
		"in the one before":             {[]string{id((chunks-searchChunks+1)*chunkSize - 1), id(total - 1)}, []int{searchChunks, searchChunks}},
		"in the first":                  {[]string{id(0), id(total - 1)}, []int{searchChunks, searchChunks, 31}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(m.Calls(statetest.Get))
			if err := addAgain(t, l, test.ids...); err != nil {
				t.Fatal(err)
			}
			var reads []int
			for _, call := range m.Calls(statetest.Get)[before:] {
				reads = append(reads, len(call.Items))
			}
			if writes := len(m.Calls(statetest.Swap)); !slices.Equal(reads, test.reads) || writes > 0 {
				t.Errorf("reads of %v chunks and %d writes, want %v and none", reads, writes, test.reads)
			}
		})
	}
	before := len(m.Calls(statetest.Get))
	if err := addAgain(t, l, "new"); err != nil {
		t.Fatal(err)
	}
	if reads := len(m.Calls(statetest.Get)) - before; reads != 3+1 {
		t.Errorf("what isn't there was looked for, and added, in %d reads", reads)
	}
	wantList(t, m, append(numbered(0, total), "new"))
}

// The end was looked up before the documents were written. In the meantime the other
// replica may have listed the same ids, and filled any number of chunks.
func TestWhatIsListedSinceTheEndWasLookedUpIsNotListedAgain(t *testing.T) {
	for _, between := range []int{1, chunkSize - 10, chunkSize, 3 * chunkSize} {
		t.Run(fmt.Sprint(between), func(t *testing.T) {
			m, l := listOf(t, 10)
			mine := additionTo(t, l, aPost, fmt.Sprintf("id-%06d", 10), fmt.Sprintf("id-%06d", 10+between-1), "new")
			if err := addOne(t, newLists(m, still), numbered(10, 10+between)...); err != nil {
				t.Fatal(err)
			}
			if failed := l.add(t.Context(), []*addition{mine}); failed[aPost] != nil {
				t.Fatal(failed)
			}
			wantList(t, m, append(numbered(0, 10+between), "new"))
		})
	}
}

// A Redis that crashed may have lost its last writes, and then a chunk that was full
// is not. The next one is not begun before it is again.
func TestAChunkIsBegunOnlyAfterAFullOneInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statetest.New()
		l := newLists(m, time.Now)
		add := func(ids ...string) {
			t.Helper()
			if err := addOne(t, l, ids...); err != nil {
				t.Fatal(err)
			}
		}
		add(numbered(0, chunkSize-1)...)
		before := m.Value(chunkKey(aPost, 0))
		add("lost")
		m.Put(chunkKey(aPost, 0), before)
		add("one")
		add("two")
		wantList(t, m, append(numbered(0, chunkSize-1), "one", "two"))
		if _, sizes := stored(t, m); !slices.Equal(sizes, []int{chunkSize, 1}) {
			t.Errorf("the chunks have %v ids", sizes)
		}

		// And one that was lost as a whole is begun anew where the list now ends.
		m.Remove(chunkKey(aPost, 1))
		m.Put(chunkKey(aPost, 0), before)
		if err := addOne(t, l, "three"); err == nil {
			t.Error("a chunk was begun after one that is not full")
		}
		time.Sleep(rememberFor) // the event is delivered again
		add("three")
		wantList(t, m, append(numbered(0, chunkSize-1), "three"))
	})
}

func TestAListWithAHoleIsAnError(t *testing.T) {
	m, l := listOf(t, 2*chunkSize+1)
	m.Put(chunkKey(aPost, 1), `["id-000128"]`)
	l.tails.put(aPost, 2)
	if _, _, err := l.page(t.Context(), aPost, fromNewest, 100); err == nil {
		t.Error("a page over the hole is none")
	}
}

func TestTheTailIsFound(t *testing.T) {
	for _, total := range []int{0, 1, 255, 256, 257, 511, 512, 5 * chunkSize, 8*chunkSize - 1, 33*chunkSize + 7, 64 * chunkSize, 100*chunkSize - 1} {
		t.Run(fmt.Sprint(total), func(t *testing.T) {
			m, l := listOf(t, total)
			number, ids := tailOf(t, l)
			if number != total/chunkSize || len(ids) != total%chunkSize {
				t.Errorf("found chunk %d with %d ids", number, len(ids))
			}
			// By doubling and halving: not one read a chunk.
			before := len(m.Calls(statetest.Get))
			if before > 16 {
				t.Errorf("%d reads", before)
			}
			want := 1
			if len(ids) == 0 && total > 0 {
				want = 3 // the full chunk, and that none comes after it yet
			}
			again, _ := tailOf(t, l)
			if reads := len(m.Calls(statetest.Get)) - before; again != number || reads != want {
				t.Errorf("where it was remembered: chunk %d after %d reads", again, reads)
			}
		})
	}
}

// The other replica goes on to further chunks.
func TestTheTailIsFoundFromAnyChunkBeforeIt(t *testing.T) {
	for _, total := range []int{12 * chunkSize, 12*chunkSize + 9} {
		for seen := range total/chunkSize + 1 {
			_, l := listOf(t, total)
			l.tails.put(aPost, seen)
			if number, ids := tailOf(t, l); number != total/chunkSize || len(ids) != total%chunkSize {
				t.Errorf("%d comments, chunk %d was seen: found chunk %d with %d ids", total, seen, number, len(ids))
			}
		}
	}
}

func TestTheListsOfManyPostsAreOfTheirOwn(t *testing.T) {
	m := statetest.New()
	l := newLists(m, still)
	var additions []*addition
	for p, total := range []int{0, 3, chunkSize, 2*chunkSize + 1} {
		additions = append(additions, additionTo(t, l, idAt(noon, p), numbered(0, total)...))
	}
	for post, err := range l.add(t.Context(), additions) {
		if err != nil {
			t.Errorf("post %s: %v", post, err)
		}
	}
	for p, want := range []struct{ number, ids int }{{0, 0}, {0, 3}, {1, 0}, {2, 1}} {
		number, ids, err := newLists(m, still).tail(t.Context(), idAt(noon, p))
		if err != nil || number != want.number || len(ids) != want.ids {
			t.Errorf("post %d: chunk %d with %d ids, error %v, want %+v", p, number, len(ids), err, want)
		}
	}
}

func TestPagingWalksEveryIDOnceNewestFirst(t *testing.T) {
	for _, total := range []int{0, 1, 2, 49, 50, 51, 255, 256, 257, 300, 511, 512, 513, 700} {
		for _, limit := range []int{1, 7, 50, 99, maxLimit} {
			if limit == 1 && total > chunkSize+1 {
				continue // slow, and says no more
			}
			t.Run(fmt.Sprintf("%d by %d", total, limit), func(t *testing.T) {
				_, l := listOf(t, total)
				var walked []string
				pages := 0
				for before := fromNewest; ; {
					ids, next, err := l.page(context.Background(), aPost, before, limit)
					if err != nil {
						t.Fatal(err)
					}
					if len(ids) > limit || len(ids) < limit && next != 0 || len(ids) == 0 && total > 0 {
						t.Fatalf("a page of %d ids, and then %d", len(ids), next)
					}
					walked = append(walked, ids...)
					pages++
					if next == 0 {
						break
					}
					if next >= before {
						t.Fatalf("the page before %d goes on before %d", before, next)
					}
					before = next
				}
				want := numbered(0, total)
				slices.Reverse(want)
				if !slices.Equal(walked, want) {
					t.Errorf("walked %d ids, want %d", len(walked), total)
				}
				if want := max(1, (total+limit-1)/limit); pages != want {
					t.Errorf("%d pages, want %d", pages, want)
				}
			})
		}
	}
}

func TestAPageIsReadFromTwoChunksAtMost(t *testing.T) {
	m, l := listOf(t, 700)
	tailOf(t, l) // so that it is remembered
	before := len(m.Calls(statetest.Get))
	if _, _, err := l.page(context.Background(), aPost, 300, maxLimit); err != nil {
		t.Fatal(err)
	}
	if reads := m.Calls(statetest.Get)[before:]; len(reads) != 2 || len(reads[1].Items) != 2 {
		t.Errorf("read %v, want the tail and then two chunks", reads)
	}
}

// A cursor is a position from the oldest, so new comments shift no page.
func TestNewCommentsDoNotShiftAWalk(t *testing.T) {
	_, l := listOf(t, 300)
	first, next, err := l.page(context.Background(), aPost, fromNewest, 50)
	if err != nil {
		t.Fatal(err)
	}
	if err := addOne(t, l, numbered(300, 600)...); err != nil {
		t.Fatal(err)
	}
	second, _, err := l.page(context.Background(), aPost, next, 50)
	if err != nil {
		t.Fatal(err)
	}
	want := numbered(200, 300)
	slices.Reverse(want)
	if got := append(first, second...); !slices.Equal(got, want) {
		t.Errorf("walked %v", got)
	}
}

func TestACursorPastTheEndsIsNoError(t *testing.T) {
	_, l := listOf(t, 3)
	for before, want := range map[int]int{1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 1000: 3, fromNewest: 3} {
		ids, next, err := l.page(context.Background(), aPost, before, 50)
		if err != nil || len(ids) != want || next != 0 {
			t.Errorf("before %d: %v, then %d, error %v", before, ids, next, err)
		}
	}
}

func TestAddGivesUpAfterSomeTries(t *testing.T) {
	m, l := listOf(t, 3)
	m.Decide(statetest.Always(statetest.Refused))
	if err := addOne(t, l, "new"); !errors.Is(err, state.ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
	if tries := len(m.Calls(statetest.Swap)); tries != 4 {
		t.Errorf("%d tries, want 4", tries)
	}
	m.Decide(nil)
	wantList(t, m, numbered(0, 3))
}

func TestAnAddWhoseAnswerWasLostListsNothingTwice(t *testing.T) {
	for _, before := range []int{0, 255, 256} {
		m, l := listOf(t, before)
		m.Decide(statetest.Always(statetest.Lost))
		if err := addOne(t, l, "x", "y"); err != nil {
			t.Errorf("after %d: %v", before, err)
		}
		wantList(t, m, append(numbered(0, before), "x", "y"))
	}
}

func TestListsSayWhenTheStoreIsDown(t *testing.T) {
	m, l := listOf(t, 300)
	a, again := additionTo(t, l, aPost, "new"), additionTo(t, l, aPost)
	again.doubtful = []string{"new"}
	m.Fail(errDown, statetest.Get)
	if _, _, err := l.tail(t.Context(), aPost); !errors.Is(err, errDown) {
		t.Errorf("tail: %v", err)
	}
	if _, err := newLists(m, still).begin(t.Context(), aPost); !errors.Is(err, errDown) {
		t.Errorf("begin: %v", err)
	}
	if _, _, err := l.page(t.Context(), aPost, fromNewest, 50); !errors.Is(err, errDown) {
		t.Errorf("page: %v", err)
	}
	for _, a := range []*addition{a, again} {
		if err := l.add(t.Context(), []*addition{a})[aPost]; !errors.Is(err, errDown) {
			t.Errorf("add: %v", err)
		}
	}
}

// A damaged chunk must not pass for an empty one: it would be overwritten.
func TestADamagedChunkIsAnErrorAndStays(t *testing.T) {
	m, l := listOf(t, 300)
	a := additionTo(t, l, aPost, "new")
	a.number, a.begin = 1, 1
	m.Put(chunkKey(aPost, 1), "{")
	if _, _, err := newLists(m, still).tail(t.Context(), aPost); err == nil {
		t.Error("tail took it")
	}
	if _, _, err := l.page(t.Context(), aPost, 200, 50); err == nil {
		t.Error("page took it")
	}
	if l.add(t.Context(), []*addition{a})[aPost] == nil {
		t.Error("add took it")
	}
	if m.Value(chunkKey(aPost, 1)) != "{" {
		t.Error("it was overwritten")
	}
}
