package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

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
func listOf(t testing.TB, n int) (*memory, *lists) {
	t.Helper()
	m := newMemory()
	for from := 0; from < n; from += chunkSize {
		value, err := json.Marshal(numbered(from, min(n, from+chunkSize)))
		if err != nil {
			t.Fatal(err)
		}
		m.put(chunkKey(aPost, from/chunkSize), string(value))
	}
	return m, newLists(m)
}

// tailOf reads the tail of aPost.
func tailOf(t testing.TB, l *lists) *chunk {
	t.Helper()
	tails, err := l.tails(context.Background(), []string{aPost})
	if err != nil {
		t.Fatal(err)
	}
	return tails[aPost]
}

// addOne adds ids to the list of one post.
func addOne(l *lists, tail *chunk, ids []string, search bool) error {
	a := &addition{tail: tail, ids: ids, search: search}
	l.add(context.Background(), a)
	return a.err
}

// stored is the list of aPost as it stands in the store.
func stored(t testing.TB, m *memory) (ids []string, sizes []int) {
	t.Helper()
	for n := 0; ; n++ {
		value, ok := m.values[chunkKey(aPost, n)]
		if !ok {
			return ids, sizes
		}
		var chunk []string
		if err := json.Unmarshal([]byte(value), &chunk); err != nil {
			t.Fatal(err)
		}
		ids, sizes = append(ids, chunk...), append(sizes, len(chunk))
	}
}

func wantList(t testing.TB, m *memory, want []string) {
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
			if err := addOne(l, tailOf(t, l), all[test.before:], false); err != nil {
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
	m := newMemory()
	l := newLists(m)
	var additions []*addition
	for p := range 100 {
		post := idAt(noon, p)
		additions = append(additions, &addition{tail: &chunk{post: post, item: state.Item{Key: chunkKey(post, 0)}}, ids: numbered(p, p+1)})
	}
	l.add(context.Background(), additions...)
	for p, a := range additions {
		if want := fmt.Sprintf(`["id-%06d"]`, p); a.err != nil || m.values[chunkKey(idAt(noon, p), 0)] != want {
			t.Errorf("post %d: %s, error %v", p, m.values[chunkKey(idAt(noon, p), 0)], a.err)
		}
	}
	if len(m.gets) > 0 || len(m.swaps) != 1 {
		t.Errorf("%d reads and %d writes", len(m.gets), len(m.swaps))
	}
}

// Another writer at one post costs another try of that post alone, and a damaged
// list nobody else's.
func TestOnePostsTroubleIsNotAnothers(t *testing.T) {
	m := newMemory()
	l := newLists(m)
	raced, damaged, other := idAt(noon, 1), idAt(noon, 2), idAt(noon, 3)
	additions := make([]*addition, 3)
	for i, post := range []string{raced, damaged, other} {
		additions[i] = &addition{tail: &chunk{post: post, item: state.Item{Key: chunkKey(post, 0)}}, ids: []string{"new"}}
	}
	m.put(chunkKey(raced, 0), `["first"]`)
	m.put(chunkKey(damaged, 0), `{`)
	l.add(context.Background(), additions...)
	if a := additions[0]; a.err != nil || m.values[chunkKey(raced, 0)] != `["first","new"]` {
		t.Errorf("raced: %s, error %v", m.values[chunkKey(raced, 0)], a.err)
	}
	if a := additions[1]; a.err == nil || m.values[chunkKey(damaged, 0)] != `{` {
		t.Errorf("damaged: %s, error %v", m.values[chunkKey(damaged, 0)], a.err)
	}
	if a := additions[2]; a.err != nil || m.values[chunkKey(other, 0)] != `["new"]` {
		t.Errorf("other: %s, error %v", m.values[chunkKey(other, 0)], a.err)
	}
}

func TestABatchIsListedOldestFirstAndEachIDOnce(t *testing.T) {
	m, l := listOf(t, 0)
	if err := addOne(l, tailOf(t, l), []string{"c", "a", "b", "a", "c"}, false); err != nil {
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
			if err := addOne(l, tailOf(t, l), ids, true); err != nil {
				t.Fatal(err)
			}
			wantList(t, m, numbered(0, total))
			if len(m.swaps) > 0 {
				t.Errorf("%d writes", len(m.swaps))
			}
			// With one that isn't among them, that one is.
			if err := addOne(l, tailOf(t, l), append(slices.Clone(ids), "new"), true); err != nil {
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
	tail := tailOf(t, l)
	guess := *tail
	guess.guessed = true
	for name, test := range map[string]struct {
		tail  *chunk
		ids   []string
		reads []int // of so many chunks
	}{
		"in the tail":                   {tail, []string{id(total - 1)}, nil},
		"in the tail, which is guessed": {&guess, []string{id(total - 1)}, []int{1}},
		"in the last full chunk":        {tail, []string{id(chunks*chunkSize - 1)}, []int{searchChunks}},
		"in the last and the tail":      {tail, []string{id(chunks*chunkSize - 1), id(total - 1)}, []int{searchChunks}},
		"in the last of the first read": {tail, []string{id((chunks - searchChunks) * chunkSize)}, []int{searchChunks}},
		"in the one before":             {tail, []string{id((chunks-searchChunks)*chunkSize - 1), id(total - 1)}, []int{searchChunks, searchChunks}},
		"in the first":                  {tail, []string{id(0), id(total - 1)}, []int{searchChunks, searchChunks, 30}},
	} {
		t.Run(name, func(t *testing.T) {
			m.gets, m.swaps = nil, nil
			if err := addOne(l, test.tail, test.ids, true); err != nil {
				t.Fatal(err)
			}
			var reads []int
			for _, keys := range m.gets {
				reads = append(reads, len(keys))
			}
			if !slices.Equal(reads, test.reads) || len(m.swaps) > 0 {
				t.Errorf("reads of %v chunks and %d writes, want %v and none", reads, len(m.swaps), test.reads)
			}
		})
	}
	m.gets = nil
	if err := addOne(l, tail, []string{"new"}, true); err != nil {
		t.Fatal(err)
	}
	if len(m.gets) != 3 {
		t.Errorf("what isn't there was looked for in %d reads", len(m.gets))
	}
	wantList(t, m, append(numbered(0, total), "new"))
}

// The tail was read before the documents were written. In the meantime the other
// replica may have listed the same ids, and filled any number of chunks.
func TestWhatIsListedSinceTheTailWasReadIsNotListedAgain(t *testing.T) {
	for _, between := range []int{1, chunkSize - 10, chunkSize, 3 * chunkSize} {
		t.Run(fmt.Sprint(between), func(t *testing.T) {
			m, l := listOf(t, 10)
			tail := tailOf(t, l)
			other := newLists(m)
			if err := addOne(other, tailOf(t, other), numbered(10, 10+between), false); err != nil {
				t.Fatal(err)
			}
			mine := []string{fmt.Sprintf("id-%06d", 10), fmt.Sprintf("id-%06d", 10+between-1), "new"}
			if err := addOne(l, tail, mine, false); err != nil {
				t.Fatal(err)
			}
			wantList(t, m, append(numbered(0, 10+between), "new"))
		})
	}
}

// A Redis that crashed may have lost its last writes, and then a chunk that was full
// is not. The next one is not begun before it is again.
func TestAChunkIsBegunOnlyAfterAFullOneInTheStore(t *testing.T) {
	add := func(l *lists, ids ...string) {
		t.Helper()
		likely, err := l.likelyTails(t.Context(), []string{aPost})
		if err != nil {
			t.Fatal(err)
		}
		if err := addOne(l, likely[aPost], ids, false); err != nil {
			t.Fatal(err)
		}
	}
	m, l := listOf(t, 0)
	add(l, numbered(0, chunkSize-1)...)
	before, version := m.values[chunkKey(aPost, 0)], m.versions[chunkKey(aPost, 0)]
	add(l, "lost")
	m.values[chunkKey(aPost, 0)], m.versions[chunkKey(aPost, 0)] = before, version
	add(l, "one")
	add(l, "two")
	wantList(t, m, append(numbered(0, chunkSize-1), "one", "two"))
	if _, sizes := stored(t, m); !slices.Equal(sizes, []int{chunkSize, 1}) {
		t.Errorf("the chunks have %v ids", sizes)
	}

	// And one that was lost as a whole is begun anew where the list now ends.
	delete(m.values, chunkKey(aPost, 1))
	delete(m.versions, chunkKey(aPost, 1))
	m.values[chunkKey(aPost, 0)], m.versions[chunkKey(aPost, 0)] = before, version
	l.hints.Add(aPost, 1)
	l.recent.Purge()
	add(l, "three")
	wantList(t, m, append(numbered(0, chunkSize-1), "three"))
}

func TestAListWithAHoleIsAnError(t *testing.T) {
	m, l := listOf(t, 2*chunkSize+1)
	m.put(chunkKey(aPost, 1), `["id-000128"]`)
	l.hints.Add(aPost, 2)
	if _, _, err := l.page(t.Context(), aPost, fromNewest, 100); err == nil {
		t.Error("a page over the hole is none")
	}
}

func TestTheTailIsFoundWithoutHints(t *testing.T) {
	for _, total := range []int{0, 1, 255, 256, 257, 511, 512, 5 * chunkSize, 8*chunkSize - 1, 33*chunkSize + 7, 64 * chunkSize, 100*chunkSize - 1} {
		t.Run(fmt.Sprint(total), func(t *testing.T) {
			m, l := listOf(t, total)
			tail := tailOf(t, l)
			if tail.number != total/chunkSize || len(tail.ids) != total%chunkSize || tail.full() {
				t.Errorf("found chunk %d with %d ids", tail.number, len(tail.ids))
			}
			// By doubling and halving: not one read a chunk.
			if len(m.gets) > 16 {
				t.Errorf("%d reads", len(m.gets))
			}
			m.gets = nil
			reads := 1
			if len(tail.ids) == 0 && total > 0 {
				reads = 2 // the full chunk, and that none comes after it yet
			}
			if again := tailOf(t, l); again.number != tail.number || len(m.gets) != reads {
				t.Errorf("with its hint: chunk %d after %d reads", again.number, len(m.gets))
			}
		})
	}
}

// The other replica rolls over without a word.
func TestTheTailIsFoundFromAnyOldHint(t *testing.T) {
	for _, total := range []int{12 * chunkSize, 12*chunkSize + 9} {
		for hint := range total/chunkSize + 1 {
			_, l := listOf(t, total)
			l.hints.Add(aPost, hint)
			if tail := tailOf(t, l); tail.number != total/chunkSize || len(tail.ids) != total%chunkSize {
				t.Errorf("%d comments, hint %d: found chunk %d with %d ids", total, hint, tail.number, len(tail.ids))
			}
		}
	}
}

func TestTheTailsOfManyPostsAreRead(t *testing.T) {
	m := newMemory()
	l := newLists(m)
	var posts []string
	for p, total := range []int{0, 3, chunkSize, 2*chunkSize + 1} {
		post := idAt(noon, p)
		posts = append(posts, post)
		if err := addOne(l, &chunk{post: post, item: state.Item{Key: chunkKey(post, 0)}}, numbered(0, total), false); err != nil {
			t.Fatal(err)
		}
	}
	tails, err := newLists(m).tails(context.Background(), posts)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range []struct{ number, ids int }{{0, 0}, {0, 3}, {1, 0}, {2, 1}} {
		if got := tails[posts[p]]; got.post != posts[p] || got.number != want.number || len(got.ids) != want.ids {
			t.Errorf("post %d: chunk %d of %s with %d ids, want %+v", p, got.number, got.post, len(got.ids), want)
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
	tailOf(t, l) // so that there is a hint
	m.gets = nil
	if _, _, err := l.page(context.Background(), aPost, 300, maxLimit); err != nil {
		t.Fatal(err)
	}
	if len(m.gets) != 2 || len(m.gets[1]) != 2 {
		t.Errorf("read %v, want the tail and then two chunks", m.gets)
	}
}

// A cursor is a position from the oldest, so new comments shift no page.
func TestNewCommentsDoNotShiftAWalk(t *testing.T) {
	_, l := listOf(t, 300)
	first, next, err := l.page(context.Background(), aPost, fromNewest, 50)
	if err != nil {
		t.Fatal(err)
	}
	if err := addOne(l, tailOf(t, l), numbered(300, 600), false); err != nil {
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
	tail := tailOf(t, l)
	m.fate = always(refused)
	if err := addOne(l, tail, []string{"new"}, false); !errors.Is(err, state.ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
	if len(m.swaps) != swapTries {
		t.Errorf("%d tries, want %d", len(m.swaps), swapTries)
	}
	m.fate = nil
	wantList(t, m, numbered(0, 3))
}

func TestAnAddWhoseAnswerWasLostListsNothingTwice(t *testing.T) {
	for _, before := range []int{0, 255, 256} {
		m, l := listOf(t, before)
		tail := tailOf(t, l)
		m.fate = always(lost)
		if err := addOne(l, tail, []string{"x", "y"}, false); err != nil {
			t.Errorf("after %d: %v", before, err)
		}
		wantList(t, m, append(numbered(0, before), "x", "y"))
	}
}

func TestListsSayWhenTheStoreIsDown(t *testing.T) {
	m, l := listOf(t, 300)
	tail := tailOf(t, l)
	m.getErr = errDown
	if _, err := l.tails(context.Background(), []string{aPost}); !errors.Is(err, errDown) {
		t.Errorf("tails: %v", err)
	}
	if _, _, err := l.page(context.Background(), aPost, fromNewest, 50); !errors.Is(err, errDown) {
		t.Errorf("page: %v", err)
	}
	if err := addOne(l, tail, []string{"new"}, true); !errors.Is(err, errDown) {
		t.Errorf("add: %v", err)
	}
}

// A damaged chunk must not pass for an empty one: it would be overwritten.
func TestADamagedChunkIsAnErrorAndStays(t *testing.T) {
	m, l := listOf(t, 300)
	m.put(chunkKey(aPost, 1), "{")
	if _, err := l.tails(context.Background(), []string{aPost}); err == nil {
		t.Error("tails took it")
	}
	if _, _, err := l.page(context.Background(), aPost, 200, 50); err == nil {
		t.Error("page took it")
	}
	if m.values[chunkKey(aPost, 1)] != "{" {
		t.Error("it was overwritten")
	}
}
