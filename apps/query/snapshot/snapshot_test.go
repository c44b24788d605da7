package snapshot

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/query/internal/querytest"
	"github.com/postbus/postbus/apps/query/model"
)

func TestMain(m *testing.M) { querytest.Main(m) }

// every is the interval of the tests' snapshots.
const every = 10 * time.Second

// load fills a model from a store and returns where it stands then.
func load(ctx context.Context, store state.Store, m *model.Model) uint64 {
	New(m, store, every, time.Now).Load(ctx)
	return querytest.At(m)
}

// save saves a model and returns the manifest that is in the store then.
func save(ctx context.Context, store *statetest.Memory, m *model.Model) (*manifest, error) {
	err := New(m, store, every, time.Now).Save(ctx)
	return manifestIn(store), err
}

// manifestIn is the one that is in a store, or an empty one.
func manifestIn(store *statetest.Memory) *manifest {
	man, err := readManifest([]byte(store.Value(manifestKey)))
	if err != nil {
		return new(manifest)
	}
	return man
}

// before is a hook that runs do with the key of each call of op.
func before(op statetest.Op, do func(key string)) func(context.Context, statetest.Call) error {
	return func(_ context.Context, c statetest.Call) error {
		if c.Op == op {
			do(c.Keys()[0])
		}
		return nil
	}
}

// fate is that of the writes of some keys.
func fate(f statetest.Fate, of func(key string) bool) func(state.Item) statetest.Fate {
	return func(item state.Item) statetest.Fate {
		if of(item.Key) {
			return f
		}
		return statetest.Written
	}
}

// chunksIn are the keys in a store but the manifest's, sorted.
func chunksIn(store *statetest.Memory) []string {
	return slices.DeleteFunc(store.Keys(""), func(key string) bool { return key == manifestKey })
}

// saved is a store with the snapshot of a log.
func saved(t testing.TB, log []event.Event) *statetest.Memory {
	t.Helper()
	store := statetest.New()
	if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err != nil {
		t.Fatal(err)
	}
	return store
}

// largeLog has more than three chunks: a post with many comments, and many posts
// with few.
func largeLog() []event.Event {
	long := strings.Repeat("x", 10_000)
	events := []event.Event{querytest.Posted(1)}
	for i := range 250 { // 2.5 MB
		events = append(events, querytest.CommentOf(event.CommentUpdated, 1000+i, 1, 2, long))
	}
	for i := range 200 { // 2 MB
		events = append(events, querytest.Posted(2+i), querytest.CommentOf(event.CommentUpdated, 2000+i, 2+i, 2, long))
	}
	return querytest.Numbered(0, append(events, querytest.CommentOf(event.CommentUpdated, 3000, 999, 2, long))...)
}

func TestASnapshotGivesTheSameModelBack(t *testing.T) {
	for name, log := range map[string][]event.Event{
		"nothing":         nil,
		"one post":        querytest.Numbered(0, querytest.Posted(1)),
		"everything":      querytest.SomeLog(),
		"many chunks":     largeLog(),
		"a comment alone": querytest.Numbered(0, querytest.Commented(101, 1)),
	} {
		store := saved(t, log)
		m := model.New()
		if at := load(t.Context(), store, m); at != uint64(len(log)) || querytest.At(m) != at {
			t.Errorf("%s: loaded %d, the model stands at %d, want %d", name, at, querytest.At(m), len(log))
		}
		if querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log)) {
			t.Errorf("%s: the pages are other ones", name)
		}
		if n := len(chunksIn(store)); name == "many chunks" && n <= 3 {
			t.Errorf("only %d chunks", n)
		}
	}
}

func TestChunksHoldAboutAsMuchAsTheyMay(t *testing.T) {
	store := saved(t, largeLog())
	man := manifestIn(store)
	for i, chunk := range man.Chunks {
		value := []byte(store.Value(man.key(i)))
		last := i == len(man.Chunks)-1
		if len(value) != chunk.Bytes || len(value) > chunkBytes+64<<10 || len(value) < chunkBytes && !last {
			t.Errorf("chunk %d has %d bytes, its manifest says %d", i, len(value), chunk.Bytes)
		}
		if ttl := store.TTL(man.key(i)); ttl != chunkTTL {
			t.Errorf("chunk %d lives for %v", i, ttl)
		}
	}
	if ttl := store.TTL(manifestKey); ttl != 0 {
		t.Errorf("the manifest lives for %v", ttl)
	}
}

// What is folded after a restart must fold as if there had been none.
func TestFoldingGoesOnAfterASnapshotAsWithoutOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := querytest.AnyLog(r)
		cut := rapid.IntRange(0, len(log)).Draw(r, "cut")
		m := model.New()
		if at := load(t.Context(), saved(t, log[:cut]), m); at != uint64(cut) { //nolint:gosec // never negative
			r.Fatalf("loaded %d, want %d", at, cut)
		}
		if err := m.Apply("", log); err != nil {
			r.Fatal(err)
		}
		if a, b := querytest.Everything(m), querytest.Everything(querytest.ModelOf(t, log)); a != b {
			r.Fatalf("with a snapshot at %d:\n%s\nwithout:\n%s", cut, a, b)
		}
	})
}

// A stream that is read from the log sends each event once, also of those before a restart.
func TestStreamsAfterASnapshotSendWhatTheyWouldWithoutOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log, _ := querytest.WithRepeats(r, querytest.AnyLog(r))
		cut := rapid.IntRange(0, len(log)).Draw(r, "cut")
		m := model.New()
		if at := load(t.Context(), saved(t, log[:cut]), m); at != uint64(cut) { //nolint:gosec // never negative
			r.Fatalf("loaded %d, want %d", at, cut)
		}
		if err := m.Apply("", log); err != nil {
			r.Fatal(err)
		}
		want := querytest.ModelOf(t, log)
		if a, b := querytest.Sent(m, log), querytest.Sent(want, log); !slices.Equal(a, b) {
			r.Fatalf("with a snapshot at %d:\n%s\nwithout:\n%s", cut, a, b)
		}
		if a, b := fmt.Sprint(postsOf(m)), fmt.Sprint(postsOf(want)); a != b {
			r.Fatalf("with a snapshot at %d:\n%s\nwithout:\n%s", cut, a, b)
		}
	})
}

// A newer version may have run before, and have gone again.
func TestASnapshotOfALogOfANewerVersionLoads(t *testing.T) {
	log := querytest.Numbered(
		0,
		querytest.Posted(1), querytest.UnknownOf(querytest.Posted(1)), querytest.Commented(101, 1),
		querytest.Quarantined(querytest.Approved(101, 1)), querytest.Commented(102, 1), querytest.UnknownOf(querytest.Commented(102, 1)),
	)
	m := model.New()
	if at := load(t.Context(), saved(t, log), m); at != uint64(len(log)) {
		t.Fatalf("loaded %d", at)
	}
	querytest.WantAt(t, m, log, false)
	if page := string(m.Posts(model.Newest, 20).JSON); !strings.Contains(page, `","status":"quarantined"}`) || strings.Contains(page, "comment 101") {
		t.Errorf("the page is %s", page)
	}
	log = append(log, querytest.Numbered(len(log), querytest.CommentOf(event.CommentUpdated, 101, 1, 3, "comment 101"))...)
	if err := m.Apply("", log); err != nil {
		t.Fatal(err)
	}
	querytest.WantAt(t, m, log, false)
}

// A snapshot has left out what the version that saved it did not know. So a version that
// knows more must not use it. If this fails and query shows what is new, raise format; then,
// and otherwise, change the list.
func TestTheFormatIsThatOfWhatQueryKnows(t *testing.T) {
	known := fmt.Sprint(format, event.Types, event.Statuses)
	if want := "3 [PostCreated CommentCreated CommentModerated CommentUpdated PolicyChanged PostCommentingChanged PersonBlocked] [pending approved rejected held]"; known != want {
		t.Errorf("format, types and statuses are %s, and were %s", known, want)
	}
}

func TestCommentsThatCameFirstSurviveASnapshot(t *testing.T) {
	m := model.New()
	if at := load(t.Context(), saved(t, querytest.Numbered(0, querytest.Commented(101, 1), querytest.Posted(2), querytest.Approved(101, 1))), m); at != 3 {
		t.Fatalf("loaded %d", at)
	}
	if got := querytest.KeysOf(t, m.Posts(model.Newest, 20).JSON); !slices.Equal(got, querytest.IDs(2)) {
		t.Errorf("visible is %v", got)
	}
	if err := m.Apply("", querytest.Numbered(3, querytest.Posted(1))); err != nil {
		t.Fatal(err)
	}
	if json := string(m.Posts(model.Newest, 20).JSON); !strings.Contains(json, querytest.UUID7(101)) || !strings.Contains(json, "approved") {
		t.Errorf("when the post has come: %s", json)
	}
}

// entriesOf are the ids of a model's posts and comments, in the order of its snapshot.
func entriesOf(m *model.Model) []uuid.UUID {
	var ids []uuid.UUID
	for _, p := range postsOf(m) {
		ids = append(ids, p.ID)
		for _, c := range p.Comments {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// In any other order the comments of a post would be moved for each that comes late.
func TestChunksAreRestoredInTheirOrderWhateverTheOrderOfTheAnswers(t *testing.T) {
	log := largeLog()
	whole := entriesOf(querytest.ModelOf(t, log))
	for name, delay := range map[string]func(i, n int) int{
		"the first answer first": func(i, _ int) int { return i },
		"the last answer first":  func(i, n int) int { return n - i },
		"every other one late":   func(i, _ int) int { return i % 2 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := saved(t, log)
				man := manifestIn(store)
				n := len(man.Chunks)
				store.Before(before(statetest.Get, func(key string) {
					for i := range n {
						if key == man.key(i) {
							time.Sleep(time.Duration(delay(i, n)) * time.Second) // of the bubble's clock
						}
					}
				}))
				m := model.New()
				go load(t.Context(), store, m)
				for range 2 * n {
					synctest.Wait()
					if got := entriesOf(m); !slices.Equal(got, whole[:min(len(got), len(whole))]) {
						t.Errorf("%d entries are restored, and they are not the first ones", len(got))
					}
					time.Sleep(time.Second) // of the bubble's clock
				}
				if got := entriesOf(m); !slices.Equal(got, whole) || querytest.At(m) != uint64(len(log)) {
					t.Errorf("%d of %d entries are restored, and the model stands at %d", len(got), len(whole), querytest.At(m))
				}
			})
		})
	}
}

// wantIgnored loads what is in the store into a new model, which must stay empty.
func wantIgnored(t *testing.T, what string, store *statetest.Memory) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { // load tries more than once, with pauses
		m := model.New()
		if at := load(t.Context(), store, m); at != 0 {
			t.Errorf("%s: loaded %d", what, at)
		}
		querytest.WantEmpty(t, m)
	})
}

func TestNoSnapshotIsNone(t *testing.T) {
	store := statetest.New()
	wantIgnored(t, "an empty store", store)
	if len(store.Calls(statetest.Get)) != 1 {
		t.Errorf("%d reads to find nothing", len(store.Calls(statetest.Get)))
	}
}

func TestADamagedChunkIsIgnoredWhereverTheDamageIs(t *testing.T) {
	store := saved(t, querytest.Numbered(0, querytest.Posted(1), querytest.Commented(101, 1)))
	key := chunksIn(store)[0]
	whole := []byte(store.Value(key))
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x20
		store.Put(key, string(damaged))
		wantIgnored(t, fmt.Sprintf("byte %d", i), store)
	}
	for n := range whole {
		store.Put(key, string(whole[:n]))
		wantIgnored(t, fmt.Sprintf("cut to %d bytes", n), store)
	}
	store.Put(key, string(append(slices.Clone(whole), whole...)))
	wantIgnored(t, "there twice", store)
	store.Put(key, string(whole))
	if at := load(t.Context(), store, model.New()); at != 2 {
		t.Errorf("the whole chunk: loaded %d", at) // or the tests above proved nothing
	}
}

func TestASnapshotWithoutOneOfItsChunksIsIgnored(t *testing.T) {
	log := largeLog()
	for missing := range chunksIn(saved(t, log)) {
		store := saved(t, log)
		store.Remove(chunksIn(store)[missing])
		wantIgnored(t, fmt.Sprintf("without chunk %d", missing), store)
	}
}

func TestChunksInAnotherOrderAreIgnored(t *testing.T) {
	store := saved(t, largeLog())
	a, b := chunksIn(store)[0], chunksIn(store)[1]
	first, second := []byte(store.Value(a)), []byte(store.Value(b))
	store.Put(a, string(second))
	store.Put(b, string(first))
	wantIgnored(t, "two chunks swapped", store)
}

func TestADamagedManifestIsIgnored(t *testing.T) {
	store := saved(t, querytest.SomeLog())
	whole := []byte(store.Value(manifestKey))
	for n := range whole {
		store.Put(manifestKey, string(whole[:n]))
		wantIgnored(t, fmt.Sprintf("cut to %d bytes", n), store)
	}
	edit := func(change func(*manifest)) []byte {
		var man manifest
		if err := json.Unmarshal(whole, &man); err != nil {
			t.Fatal(err)
		}
		change(&man)
		value, err := json.Marshal(man)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for name, value := range map[string][]byte{
		"not JSON":           []byte("hello"),
		"null":               []byte("null"),
		"an array":           []byte("[]"),
		"an empty object":    []byte("{}"),
		"a format to come":   edit(func(m *manifest) { m.Format = format + 1 }),
		"a format gone by":   edit(func(m *manifest) { m.Format = format - 1 }),
		"another generation": edit(func(m *manifest) { m.Generation = event.NewID() }),
		"another checksum":   edit(func(m *manifest) { m.Chunks[0].SHA256 = strings.Repeat("0", 64) }),
		"no checksum":        edit(func(m *manifest) { m.Chunks[0].SHA256 = "" }),
		"a chunk too many":   edit(func(m *manifest) { m.Chunks = append(m.Chunks, m.Chunks[0]) }),
	} {
		store.Put(manifestKey, string(value))
		wantIgnored(t, name, store)
	}
}

// A manifest whose number is wrong makes the model skip or repeat a part of the
// log without anybody's knowing; one that lost its chunks, all of it.
func TestADamagedManifestIsIgnoredWhereverTheDamageIs(t *testing.T) {
	log := querytest.SomeLog()
	store := saved(t, log)
	whole := []byte(store.Value(manifestKey))
	want := querytest.Everything(querytest.ModelOf(t, log))
	for i := range whole {
		for _, bit := range []byte{0x01, 0x02, 0x20} {
			damaged := slices.Clone(whole)
			damaged[i] ^= bit
			store.Put(manifestKey, string(damaged))
			m := model.New()
			var at uint64
			synctest.Test(t, func(t *testing.T) { at = load(t.Context(), store, m) })
			ignored := at == 0 && querytest.At(m) == 0 && len(postsOf(m)) == 0
			if !ignored && (at != uint64(len(log)) || querytest.At(m) != at || querytest.Everything(m) != want) {
				t.Errorf("%s is taken for a snapshot at %d with %d posts", damaged, at, len(postsOf(m)))
			}
		}
	}
}

func TestThatTheModelIsNotReadyIsAnsweredWhileTheStoreIsRead(t *testing.T) {
	store := saved(t, largeLog())
	m := model.New()
	store.Before(func(context.Context, statetest.Call) error {
		if now := m.Status(); now.Ready || now.At.Sequence > 0 { // it answers: the model is not locked
			t.Errorf("ready %v at %d", now.Ready, now.At.Sequence)
		}
		return nil
	})
	if at := load(t.Context(), store, m); at != uint64(len(largeLog())) {
		t.Errorf("loaded %d", at)
	}
}

func TestLoadGoesOnUntilTheStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, querytest.SomeLog())
		store.Fail(statetest.ErrDown)
		loaded := make(chan uint64, 1)
		go func() { loaded <- load(t.Context(), store, model.New()) }()
		time.Sleep(time.Minute) // of the bubble's clock
		select {
		case at := <-loaded:
			t.Fatalf("gave up, with %d", at)
		default:
		}
		store.Fail(nil)
		if at := <-loaded; at != uint64(len(querytest.SomeLog())) {
			t.Errorf("loaded %d", at)
		}
	})
}

func TestLoadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := statetest.New()
		store.Fail(statetest.ErrDown)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m := model.New()
		if at := load(ctx, store, m); at != 0 {
			t.Errorf("loaded %d", at)
		}
		querytest.WantEmpty(t, m)
	})
}

// A replica may replace the snapshot, and remove its chunks, while another loads it.
func TestASnapshotThatIsReplacedWhileItIsLoadedIsLoadedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		store := saved(t, log[:5])
		gone := chunksIn(store)[0]
		chunk := []byte(store.Value(gone))
		store.Remove(gone) // as if it had just been removed
		m := model.New()
		loaded := make(chan uint64, 1)
		go func() { loaded <- load(t.Context(), store, m) }()
		synctest.Wait() // it has failed once
		store.Put(gone, string(chunk))
		if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err != nil {
			t.Fatal(err)
		}
		if at := <-loaded; at != uint64(len(log)) || querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log)) {
			t.Errorf("loaded %d", at)
		}
	})
}

// With replicas that save often that may happen more than once.
func TestLoadTriesOnAsLongAsTheSnapshotIsReplaced(t *testing.T) {
	for replaced, loads := range map[int]bool{3: true, damagedTries - 1: true, damagedTries: false} {
		synctest.Test(t, func(t *testing.T) {
			log := querytest.Numbered(0, querytest.Posts(1, 20)...)
			store := saved(t, log[:1])
			n := 0
			store.Before(before(statetest.Get, func(key string) {
				if key != manifestKey && n < replaced {
					n++
					if _, err := save(t.Context(), store, querytest.ModelOf(t, log[:1+n])); err != nil {
						t.Error(err)
					}
				}
			}))
			want := 0
			if loads {
				want = 1 + replaced
			}
			m := model.New()
			if at := load(t.Context(), store, m); at != uint64(want) || querytest.At(m) != at || n != replaced { //nolint:gosec // never negative
				t.Errorf("replaced %d times, loaded %d, want %d", n, at, want)
			}
		})
	}
}

func TestADamagedSnapshotIsTriedSeveralTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, querytest.SomeLog())
		store.Put(chunksIn(store)[0], string([]byte("oops")))
		if at := load(t.Context(), store, model.New()); at != 0 || len(store.Calls(statetest.Get)) != 1+2*damagedTries { // one was the save's
			t.Errorf("loaded %d after %d reads", at, len(store.Calls(statetest.Get)))
		}
	})
}

func TestAnOlderSnapshotDoesNotReplaceAYoungerOne(t *testing.T) {
	log := querytest.SomeLog()
	store := saved(t, log)
	before := chunksIn(store)
	for _, at := range []int{0, 5, len(log) - 1, len(log)} {
		man, err := save(t.Context(), store, querytest.ModelOf(t, log[:at]))
		if err != nil || man.Sequence != uint64(len(log)) {
			t.Errorf("save at %d: %d stays, %v", at, man.Sequence, err)
		}
		if got := chunksIn(store); !slices.Equal(got, before) {
			t.Errorf("save at %d: the chunks are %v", at, got)
		}
	}
	if at := load(t.Context(), store, model.New()); at != uint64(len(log)) {
		t.Errorf("loaded %d", at)
	}
}

// Replicas share the keys, so another has often just saved.
func TestASaveThatIsNotNeededDoesNotCopyTheModel(t *testing.T) {
	log := querytest.Numbered(0, querytest.Posts(1, 1001)...)
	for i := range 1000 {
		log = append(log, querytest.Numbered(len(log), querytest.Commented(2000+i, 1+i))...)
	}
	m := querytest.ModelOf(t, log)
	s := New(m, saved(t, log), every, time.Now)
	copied := testing.AllocsPerRun(5, func() { m.Copy() })
	allocs := testing.AllocsPerRun(5, func() {
		if err := s.Save(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > copied/2 {
		t.Errorf("%v allocations to find that there is nothing to do; a copy takes %v", allocs, copied)
	}
}

func TestTheChunksOfTheSnapshotThatWasReplacedAreDeleted(t *testing.T) {
	log := largeLog()
	store := saved(t, log[:len(log)-1])
	reads := len(store.Calls(statetest.Get))
	man, err := save(t.Context(), store, querytest.ModelOf(t, log))
	if err != nil {
		t.Fatal(err)
	}
	wantChunks(t, "replaced", store, man)
	if n := len(store.Calls(statetest.Get)) - reads; n != 1 {
		t.Errorf("%d reads, want the manifest's alone: a chunk is a megabyte", n)
	}
	if at := load(t.Context(), store, model.New()); at != uint64(len(log)) {
		t.Errorf("loaded %d", at)
	}
}

// The manifest is the last that is written: until then the old snapshot counts.
func TestASaveThatFailsLeavesTheOldSnapshot(t *testing.T) {
	log := largeLog()
	for name, fails := range map[string]func(key string) bool{
		"the manifest": func(key string) bool { return key == manifestKey },
		"a chunk":      func(key string) bool { return strings.HasSuffix(key, "000002") },
	} {
		store := saved(t, log[:400])
		old := chunksIn(store)
		store.Decide(fate(statetest.Refused, fails))
		if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, key := range old {
			if !slices.Contains(chunksIn(store), key) {
				t.Errorf("%s: %s is gone", name, key)
			}
		}
		m := model.New()
		if at := load(t.Context(), store, m); at != 400 || querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log[:400])) {
			t.Errorf("%s: loaded %d", name, at)
		}
	}
}

// wantChunks checks that the chunks of these snapshots are in the store, and no others.
func wantChunks(t *testing.T, what string, store *statetest.Memory, of ...*manifest) {
	t.Helper()
	var want []string
	for _, man := range of {
		for i := range man.Chunks {
			want = append(want, man.key(i))
		}
	}
	slices.Sort(want)
	if got := chunksIn(store); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%s: the chunks are %v, want %v", what, got, want)
	}
}

// A week of chunks that nothing names would fill the store; ones that a manifest
// may yet name have to be there when it comes.
func TestASaveThatFailsLeavesItsChunksOnlyIfItsManifestMayLand(t *testing.T) {
	log := largeLog()
	older, younger := querytest.ModelOf(t, log[:400]), querytest.ModelOf(t, log)
	isManifest := func(key string) bool { return key == manifestKey }
	isThird := func(key string) bool { return strings.HasSuffix(key, "000002") }
	for name, c := range map[string]struct {
		fails func(store *statetest.Memory)
		stay  bool
	}{
		"a chunk":             {func(s *statetest.Memory) { s.Decide(fate(statetest.Refused, isThird)) }, false},
		"a chunk that landed": {func(s *statetest.Memory) { s.Decide(fate(statetest.Lost, isThird)) }, false},
		"the manifest":        {func(s *statetest.Memory) { s.Decide(fate(statetest.Refused, isManifest)) }, true},
		"the manifest, and reading it": {func(s *statetest.Memory) {
			s.Decide(fate(statetest.Refused, isManifest))
			s.Before(before(statetest.Swap, func(key string) {
				if isManifest(key) {
					s.Fail(statetest.ErrDown, statetest.Get)
				}
			}))
		}, true},
		"the manifest, because of a damaged one": {func(s *statetest.Memory) {
			s.Before(before(statetest.Swap, func(key string) {
				if isManifest(key) {
					s.Put(key, "hello")
				}
			}))
		}, false},
	} {
		store := statetest.New()
		old, err := save(t.Context(), store, older)
		if err != nil {
			t.Fatal(err)
		}
		c.fails(store)
		if _, err := save(t.Context(), store, younger); err == nil {
			t.Fatalf("%s: no error", name)
		}
		written := new(manifest)
		for _, call := range store.Calls(statetest.Swap) {
			for _, key := range call.Keys() {
				if of := strings.Split(key, "-"); !isManifest(key) && !strings.Contains(key, old.Generation) {
					written.Generation = strings.Join(of[1:len(of)-1], "-")
					written.Chunks = append(written.Chunks, chunk{})
				}
			}
		}
		if c.stay {
			wantChunks(t, name, store, old, written)
		} else {
			wantChunks(t, name, store, old)
		}
	}
}

func TestASaveThatTakesTooLongLeavesNoChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := largeLog()
		store := saved(t, log[:400])
		store.Before(before(statetest.Swap, func(key string) {
			if strings.HasSuffix(key, "000003") {
				time.Sleep(saveTimeout + time.Second) // of the bubble's clock
			}
		}))
		if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err == nil {
			t.Fatal("no error")
		}
		wantChunks(t, "too slow", store, manifestIn(store))
	})
}

func TestAManifestWhoseAnswerWasLostCounts(t *testing.T) {
	log := largeLog()
	store := saved(t, log[:400])
	store.Decide(fate(statetest.Lost, func(key string) bool { return key == manifestKey }))
	man, err := save(t.Context(), store, querytest.ModelOf(t, log))
	if err != nil || manifestIn(store).Generation != man.Generation {
		t.Errorf("error %v", err)
	}
	wantChunks(t, "its answer was lost", store, man)
}

// Of two replicas that save at the same time one wins, and what it wrote is whole.
func TestOfTwoThatSaveAtOnceOneWins(t *testing.T) {
	log := querytest.SomeLog()
	store := saved(t, log[:3])
	raced := false
	store.Before(before(statetest.Swap, func(key string) {
		if key == manifestKey && !raced {
			raced = true
			if _, err := save(t.Context(), store, querytest.ModelOf(t, log[:8])); err != nil {
				t.Error(err)
			}
		}
	}))
	if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err == nil {
		t.Error("both won")
	}
	wantChunks(t, "of two at once", store, manifestIn(store))
	m := model.New()
	if at := load(t.Context(), store, m); at != 8 || querytest.Everything(m) != querytest.Everything(querytest.ModelOf(t, log[:8])) {
		t.Errorf("loaded %d", at)
	}
}

func TestADamagedSnapshotIsReplaced(t *testing.T) {
	log := querytest.SomeLog()
	for name, value := range map[string]string{"not JSON": "hello", "another format": `{"format":99,"sequence":1000}`} {
		store := statetest.New()
		store.Put(manifestKey, string([]byte(value)))
		if _, err := save(t.Context(), store, querytest.ModelOf(t, log)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if at := load(t.Context(), store, model.New()); at != uint64(len(log)) {
			t.Errorf("%s: loaded %d", name, at)
		}
	}
}

// Chunks live for a week only, so a snapshot that nothing changes has to be renewed.
func TestASnapshotIsRenewedBeforeItsChunksGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, querytest.SomeLog())
		first := chunksIn(store)
		time.Sleep(renewAfter) // of the bubble's clock
		if _, err := save(t.Context(), store, querytest.ModelOf(t, querytest.SomeLog())); err != nil {
			t.Fatal(err)
		}
		if got := chunksIn(store); len(got) != len(first) || slices.Equal(got, first) {
			t.Errorf("was %v, is %v", first, got)
		}
	})
}

func TestSnapshotsAreSavedFromTimeToTimeWhenSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := querytest.SomeLog()
		store := statetest.New()
		m := model.New()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go New(m, store, every, time.Now).Run(ctx)
		at := func() uint64 {
			synctest.Wait()
			return manifestIn(store).Sequence
		}
		later := func(d time.Duration) { time.Sleep(d) } // of the bubble's clock
		const interval = 12500 * time.Millisecond        // at the most

		if err := m.Apply("", log[:5]); err != nil {
			t.Fatal(err)
		}
		later(time.Minute)
		if at() != 0 {
			t.Error("saved before it was ready")
		}
		m.SetReady()
		later(interval)
		if at() != 5 {
			t.Errorf("the snapshot is at %d, want 5", at())
		}
		swaps := store.Written()
		later(time.Minute)
		if synctest.Wait(); store.Written() != swaps {
			t.Errorf("%d writes with nothing new", store.Written()-swaps)
		}
		if err := m.Apply("", log); err != nil {
			t.Fatal(err)
		}
		later(interval)
		if at() != uint64(len(log)) {
			t.Errorf("the snapshot is at %d, want %d", at(), len(log))
		}
		swaps = store.Written()
		later(renewAfter + time.Minute)
		if synctest.Wait(); store.Written() == swaps {
			t.Error("not renewed")
		}
		store.Fail(statetest.ErrDown)
		if err := m.Apply("", querytest.Numbered(len(log), querytest.Posted(90))); err != nil {
			t.Fatal(err)
		}
		later(time.Minute)
		store.Fail(nil)
		later(time.Minute)
		if at() != uint64(len(log))+1 {
			t.Errorf("after the store was down the snapshot is at %d", at())
		}
	})
}

func TestReplicasThatStartTogetherDoNotSaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first := map[time.Duration]bool{}
		began := time.Now()
		var mu sync.Mutex
		var running sync.WaitGroup
		for range 3 {
			store := statetest.New()
			var once sync.Once
			store.Before(before(statetest.Swap, func(string) {
				once.Do(func() {
					mu.Lock()
					defer mu.Unlock()
					first[time.Since(began)] = true
				})
			}))
			s := New(querytest.ModelOf(t, querytest.SomeLog()), store, every, time.Now)
			running.Go(func() { s.Run(ctx) })
		}
		running.Wait()
		for at := range first {
			if at < every || at > every*5/4 {
				t.Errorf("the first save came after %v", at)
			}
		}
		if len(first) != 3 {
			t.Errorf("three replicas save after %v", first)
		}
	})
}

func FuzzDecodeRecords(f *testing.F) {
	repeats := append(slices.Clone(querytest.SomeLog()), querytest.SomeLog()...)
	for _, log := range [][]event.Event{nil, querytest.SomeLog(), querytest.Numbered(0, querytest.Commented(101, 1)), querytest.Numbered(0, repeats...)} {
		_, posts := querytest.ModelOf(f, log).Copy()
		encode(posts, func(chunk []byte) { f.Add(chunk) })
	}
	f.Add([]byte("P"))
	f.Add(bytes.Repeat([]byte{0xff}, 60))
	f.Add(append([]byte("C"), make([]byte, 19)...))
	f.Fuzz(func(t *testing.T, chunk []byte) {
		posts, err := decode(chunk)
		if err != nil {
			return
		}
		m := model.New()
		m.Restore(posts)
		_ = querytest.Everything(m)
		// What was taken is a model: it can be encoded, and comes back the same.
		again := model.New()
		_, posts = m.Copy()
		encode(posts, func(chunk []byte) {
			posts, err := decode(slices.Clone(chunk))
			if err != nil {
				t.Fatal(err)
			}
			again.Restore(posts)
		})
		if querytest.Everything(again) != querytest.Everything(m) || fmt.Sprint(postsOf(again)) != fmt.Sprint(postsOf(m)) {
			t.Fatal("the records of a model that was decoded give another one")
		}
	})
}

// savedIn is a store with the snapshot of a log with an id.
func savedIn(t testing.TB, id string, log []event.Event) *statetest.Memory {
	t.Helper()
	store := statetest.New()
	if _, err := save(t.Context(), store, querytest.ModelIn(t, id, log, 0)); err != nil {
		t.Fatal(err)
	}
	return store
}

// A query that has not noticed yet may save once more, into the store that was emptied.
func TestASnapshotOfALogThatIsGoneIsReplacedWhateverItsNumber(t *testing.T) {
	log := querytest.SomeLog()
	store := savedIn(t, querytest.OneLog, log)
	for _, n := range []int{3, len(log), 40} {
		man, err := save(t.Context(), store, querytest.ModelIn(t, querytest.OtherLog, querytest.OtherEvents(n), 0))
		if err != nil || man.at != querytest.PositionIn(querytest.OtherLog, querytest.OtherEvents(n), n) || manifestIn(store).Position != man.Position {
			t.Errorf("at %d: %s stays, %v", n, manifestIn(store).Position, err)
		}
		wantChunks(t, "replaced", store, man)
		if man, err = save(t.Context(), store, querytest.ModelIn(t, querytest.OneLog, log, 0)); err != nil || man.at.Log != querytest.OneLog {
			t.Errorf("at %d: %+v, %v", n, man.at, err) // the log of each says which is believed
		}
	}
}

// The log's end may go while the snapshot of it is being saved.
func TestASaveThatFailsKeepsTheSnapshotDistrusted(t *testing.T) {
	log := querytest.SomeLog()
	store := savedIn(t, querytest.OneLog, log)
	s := New(nil, store, every, time.Now)
	saveAt := func(n int) (*manifest, error) {
		s.model = querytest.ModelIn(t, querytest.OneLog, log[:n], 0)
		err := s.Save(t.Context())
		return manifestIn(store), err
	}
	s.Distrust()
	store.Fail(statetest.ErrDown)
	if _, err := saveAt(5); err == nil {
		t.Fatal("no error")
	}
	store.Fail(nil)
	store.Before(before(statetest.Swap, func(key string) {
		if key == manifestKey {
			store.Before(nil)
			s.Distrust() // it began anew meanwhile
		}
	}))
	for _, n := range []int{5, 4} {
		if man, err := saveAt(n); err != nil || man.Sequence != uint64(n) { //nolint:gosec // never negative
			t.Errorf("at %d: %d stays, %v", n, man.Sequence, err)
		}
	}
	if man, err := saveAt(3); err != nil || man.Sequence != 4 {
		t.Errorf("an older one replaces a younger one that is trusted: %d, %v", man.Sequence, err)
	}
}

// Replicas of the version before run beside during an upgrade, and after one that is
// taken back.
func TestTheVersionBeforeTakesASnapshot(t *testing.T) {
	var was struct {
		Format     int       `json:"format"`
		Sequence   uint64    `json:"sequence"`
		Generation string    `json:"generation"`
		Saved      time.Time `json:"saved"`
		Chunks     []chunk   `json:"chunks"`
		Checksum   string    `json:"checksum"`
	}
	if err := json.Unmarshal([]byte(savedIn(t, querytest.OneLog, querytest.SomeLog()).Value(manifestKey)), &was); err != nil {
		t.Fatal(err)
	}
	want := was.Checksum
	was.Checksum = ""
	raw, err := event.Marshal(was)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(raw)); got != want || was.Sequence != uint64(len(querytest.SomeLog())) {
		t.Errorf("its checksum is %s, and in the manifest %s", got, want)
	}
}

func TestASnapshotsPositionIsSealed(t *testing.T) {
	store := savedIn(t, querytest.OneLog, querytest.SomeLog())
	whole := []byte(store.Value(manifestKey))
	for name, change := range map[string]func(m map[string]any){
		"another log": func(m map[string]any) {
			m["position"] = strings.Replace(m["position"].(string), querytest.OneLog, querytest.OtherLog, 1)
		}, //nolint:errcheck,forcetypeassert // it is one
		"no position":    func(m map[string]any) { delete(m, "position") },
		"a number alone": func(m map[string]any) { m["position"] = "15" },
		"no seal":        func(m map[string]any) { delete(m, "seal") },
	} {
		m := map[string]any{}
		if err := json.Unmarshal(whole, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		value, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		store.Put(manifestKey, string(value))
		wantIgnored(t, name, store)
	}
}

func postsOf(m *model.Model) []model.Post {
	_, posts := m.Copy()
	return posts
}

// What is written now is read by commit 3b4f435: its records come back byte for byte.
func TestRecordsAreThoseOfTheFirstVersion(t *testing.T) {
	file, err := os.Open("../../internal/testdata/3b4f435/query-store.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	raw, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]struct{ Value []byte }
	if err := json.NewDecoder(raw).Decode(&keys); err != nil {
		t.Fatal(err)
	}
	chunks := 0
	for key, k := range keys {
		if key == manifestKey {
			continue
		}
		chunks++
		posts, err := decode(k.Value)
		if err != nil {
			t.Fatal(err)
		}
		var again []byte
		encode(posts, func(chunk []byte) { again = append(again, chunk...) })
		if len(posts) == 0 || !bytes.Equal(again, k.Value) {
			t.Errorf("%s: %d posts are %d bytes, and were %d", key, len(posts), len(again), len(k.Value))
		}
	}
	if chunks == 0 {
		t.Error("no chunk was recorded")
	}
}
