package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
)

// saved is a store with the snapshot of a log.
func saved(t testing.TB, log []event.Event) *fakeStore {
	t.Helper()
	store := newFakeStore()
	if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err != nil {
		t.Fatal(err)
	}
	return store
}

// largeLog has more than three chunks: a post with many comments, and many posts
// with few.
func largeLog() []event.Event {
	long := strings.Repeat("x", 10_000)
	events := []event.Event{posted(1)}
	for i := range 250 { // 2.5 MB
		events = append(events, commentOf(event.CommentCreated, 1000+i, 1, 1, long))
	}
	for i := range 200 { // 2 MB
		events = append(events, posted(2+i), commentOf(event.CommentUpdated, 2000+i, 2+i, 2, long))
	}
	return numbered(0, append(events, commentOf(event.CommentCreated, 3000, 999, 1, long))...)
}

func TestASnapshotGivesTheSameModelBack(t *testing.T) {
	for name, log := range map[string][]event.Event{
		"nothing":      nil,
		"one post":     numbered(0, posted(1)),
		"everything":   someLog(),
		"many chunks":  largeLog(),
		"parked alone": numbered(0, commented(101, 1)),
	} {
		store := saved(t, log)
		m := newModel()
		if at := newSnapshots(store).load(t.Context(), m); at != uint64(len(log)) || m.at() != at {
			t.Errorf("%s: loaded %d, the model stands at %d, want %d", name, at, m.at(), len(log))
		}
		if everything(m) != everything(modelOf(t, log)) {
			t.Errorf("%s: the pages are other ones", name)
		}
		if n := len(store.chunks()); name == "many chunks" && n <= 3 {
			t.Errorf("only %d chunks", n)
		}
	}
}

func TestChunksHoldAboutAsMuchAsTheyMay(t *testing.T) {
	store := saved(t, largeLog())
	man := store.manifest()
	for i, chunk := range man.Chunks {
		value := store.get(man.key(i))
		last := i == len(man.Chunks)-1
		if len(value) != chunk.Bytes || len(value) > chunkBytes+64<<10 || len(value) < chunkBytes && !last {
			t.Errorf("chunk %d has %d bytes, its manifest says %d", i, len(value), chunk.Bytes)
		}
		if ttl := store.values[man.key(i)].ttl; ttl != chunkTTL {
			t.Errorf("chunk %d lives for %v", i, ttl)
		}
	}
	if ttl := store.values[manifestKey].ttl; ttl != 0 {
		t.Errorf("the manifest lives for %v", ttl)
	}
}

// What is folded after a restart must fold as if there had been none.
func TestFoldingGoesOnAfterASnapshotAsWithoutOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		log := anyLog(r)
		cut := rapid.IntRange(0, len(log)).Draw(r, "cut")
		m := newModel()
		if at := newSnapshots(saved(t, log[:cut])).load(t.Context(), m); at != uint64(cut) { //nolint:gosec // never negative
			r.Fatalf("loaded %d, want %d", at, cut)
		}
		if err := m.apply(log); err != nil {
			r.Fatal(err)
		}
		if a, b := everything(m), everything(modelOf(t, log)); a != b {
			r.Fatalf("with a snapshot at %d:\n%s\nwithout:\n%s", cut, a, b)
		}
	})
}

func TestParkedCommentsSurviveASnapshot(t *testing.T) {
	m := newModel()
	if at := newSnapshots(saved(t, numbered(0, commented(101, 1), posted(2), approved(101, 1)))).load(t.Context(), m); at != 3 {
		t.Fatalf("loaded %d", at)
	}
	if got := keysOf(t, m.postsPage(nil, 20).json); !slices.Equal(got, ids(2)) {
		t.Errorf("visible is %v", got)
	}
	if err := m.apply(numbered(3, posted(1))); err != nil {
		t.Fatal(err)
	}
	if json := string(m.postsPage(nil, 20).json); !strings.Contains(json, uuid7(101)) || !strings.Contains(json, "approved") {
		t.Errorf("when the post has come: %s", json)
	}
}

// wantIgnored loads what is in the store into a new model, which must stay empty.
func wantIgnored(t *testing.T, what string, store *fakeStore) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { // load tries more than once, with pauses
		m := newModel()
		if at := newSnapshots(store).load(t.Context(), m); at != 0 {
			t.Errorf("%s: loaded %d", what, at)
		}
		wantEmpty(t, m)
	})
}

func TestNoSnapshotIsNone(t *testing.T) {
	store := newFakeStore()
	wantIgnored(t, "an empty store", store)
	if store.gets != 1 {
		t.Errorf("%d reads to find nothing", store.gets)
	}
}

func TestADamagedChunkIsIgnoredWhereverTheDamageIs(t *testing.T) {
	store := saved(t, numbered(0, posted(1), commented(101, 1)))
	key := store.chunks()[0]
	whole := store.get(key)
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x20
		store.set(key, damaged)
		wantIgnored(t, fmt.Sprintf("byte %d", i), store)
	}
	for n := range whole {
		store.set(key, whole[:n])
		wantIgnored(t, fmt.Sprintf("cut to %d bytes", n), store)
	}
	store.set(key, append(slices.Clone(whole), whole...))
	wantIgnored(t, "there twice", store)
	store.set(key, whole)
	if at := newSnapshots(store).load(t.Context(), newModel()); at != 2 {
		t.Errorf("the whole chunk: loaded %d", at) // or the tests above proved nothing
	}
}

func TestASnapshotWithoutOneOfItsChunksIsIgnored(t *testing.T) {
	log := largeLog()
	for missing := range saved(t, log).chunks() {
		store := saved(t, log)
		delete(store.values, store.chunks()[missing])
		wantIgnored(t, fmt.Sprintf("without chunk %d", missing), store)
	}
}

func TestChunksInAnotherOrderAreIgnored(t *testing.T) {
	store := saved(t, largeLog())
	a, b := store.chunks()[0], store.chunks()[1]
	first, second := store.get(a), store.get(b)
	store.set(a, second)
	store.set(b, first)
	wantIgnored(t, "two chunks swapped", store)
}

func TestADamagedManifestIsIgnored(t *testing.T) {
	store := saved(t, someLog())
	whole := store.get(manifestKey)
	for n := range whole {
		store.set(manifestKey, whole[:n])
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
		"a format to come":   edit(func(m *manifest) { m.Format = snapshotFormat + 1 }),
		"a format gone by":   edit(func(m *manifest) { m.Format = snapshotFormat - 1 }),
		"another generation": edit(func(m *manifest) { m.Generation = event.NewID() }),
		"another checksum":   edit(func(m *manifest) { m.Chunks[0].SHA256 = strings.Repeat("0", 64) }),
		"no checksum":        edit(func(m *manifest) { m.Chunks[0].SHA256 = "" }),
		"a chunk too many":   edit(func(m *manifest) { m.Chunks = append(m.Chunks, m.Chunks[0]) }),
	} {
		store.set(manifestKey, value)
		wantIgnored(t, name, store)
	}
}

// A manifest whose number is wrong makes the model skip or repeat a part of the
// log without anybody's knowing; one that lost its chunks, all of it.
func TestADamagedManifestIsIgnoredWhereverTheDamageIs(t *testing.T) {
	log := someLog()
	store := saved(t, log)
	whole := store.get(manifestKey)
	want := everything(modelOf(t, log))
	for i := range whole {
		for _, bit := range []byte{0x01, 0x02, 0x20} {
			damaged := slices.Clone(whole)
			damaged[i] ^= bit
			store.set(manifestKey, damaged)
			m := newModel()
			var at uint64
			synctest.Test(t, func(t *testing.T) { at = newSnapshots(store).load(t.Context(), m) })
			ignored := at == 0 && m.at() == 0 && len(m.posts) == 0
			if !ignored && (at != uint64(len(log)) || m.at() != at || everything(m) != want) {
				t.Errorf("%s is taken for a snapshot at %d with %d posts", damaged, at, len(m.posts))
			}
		}
	}
}

func TestThatTheModelIsNotReadyIsAnsweredWhileTheStoreIsRead(t *testing.T) {
	store := saved(t, largeLog())
	m := newModel()
	store.beforeGet = func(string) {
		if !m.mu.TryRLock() {
			t.Error("the model is locked during a read of the store")
			return
		}
		defer m.mu.RUnlock()
		if m.ready || m.sequence > 0 {
			t.Errorf("ready %v at %d", m.ready, m.sequence)
		}
	}
	if at := newSnapshots(store).load(t.Context(), m); at != uint64(len(largeLog())) {
		t.Errorf("loaded %d", at)
	}
}

func TestLoadGoesOnUntilTheStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, someLog())
		store.down = true
		loaded := make(chan uint64, 1)
		go func() { loaded <- newSnapshots(store).load(t.Context(), newModel()) }()
		time.Sleep(time.Minute) // of the bubble's clock
		select {
		case at := <-loaded:
			t.Fatalf("gave up, with %d", at)
		default:
		}
		store.setDown(false)
		if at := <-loaded; at != uint64(len(someLog())) {
			t.Errorf("loaded %d", at)
		}
	})
}

func TestLoadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore()
		store.down = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m := newModel()
		if at := newSnapshots(store).load(ctx, m); at != 0 {
			t.Errorf("loaded %d", at)
		}
		wantEmpty(t, m)
	})
}

// A replica may replace the snapshot, and remove its chunks, while another loads it.
func TestASnapshotThatIsReplacedWhileItIsLoadedIsLoadedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := someLog()
		store := saved(t, log[:5])
		gone := store.chunks()[0]
		chunk := store.get(gone)
		delete(store.values, gone) // as if it had just been removed
		m := newModel()
		loaded := make(chan uint64, 1)
		go func() { loaded <- newSnapshots(store).load(t.Context(), m) }()
		synctest.Wait() // it has failed once
		store.set(gone, chunk)
		if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err != nil {
			t.Fatal(err)
		}
		if at := <-loaded; at != uint64(len(log)) || everything(m) != everything(modelOf(t, log)) {
			t.Errorf("loaded %d", at)
		}
	})
}

// With replicas that save often that may happen more than once.
func TestLoadTriesOnAsLongAsTheSnapshotIsReplaced(t *testing.T) {
	for replaced, loads := range map[int]bool{3: true, replacedTries - 1: true, replacedTries: false} {
		synctest.Test(t, func(t *testing.T) {
			log := numbered(0, posts(1, 20)...)
			store := saved(t, log[:1])
			n := 0
			store.beforeGet = func(key string) {
				if key != manifestKey && n < replaced {
					n++
					if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log[:1+n])); err != nil {
						t.Error(err)
					}
				}
			}
			want := 0
			if loads {
				want = 1 + replaced
			}
			m := newModel()
			if at := newSnapshots(store).load(t.Context(), m); at != uint64(want) || m.at() != at || n != replaced { //nolint:gosec // never negative
				t.Errorf("replaced %d times, loaded %d, want %d", n, at, want)
			}
		})
	}
}

func TestADamagedSnapshotIsTriedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, someLog())
		store.set(store.chunks()[0], []byte("oops"))
		if at := newSnapshots(store).load(t.Context(), newModel()); at != 0 || store.gets != 1+2*damagedTries { // one was the save's
			t.Errorf("loaded %d after %d reads", at, store.gets)
		}
	})
}

func TestAnOlderSnapshotDoesNotReplaceAYoungerOne(t *testing.T) {
	log := someLog()
	store := saved(t, log)
	before := store.chunks()
	for _, at := range []int{0, 5, len(log) - 1, len(log)} {
		man, err := newSnapshots(store).save(t.Context(), modelOf(t, log[:at]))
		if err != nil || man.Sequence != uint64(len(log)) {
			t.Errorf("save at %d: %d stays, %v", at, man.Sequence, err)
		}
		if got := store.chunks(); !slices.Equal(got, before) {
			t.Errorf("save at %d: the chunks are %v", at, got)
		}
	}
	if at := newSnapshots(store).load(t.Context(), newModel()); at != uint64(len(log)) {
		t.Errorf("loaded %d", at)
	}
}

// Replicas share the keys, so another has often just saved.
func TestASaveThatIsNotNeededDoesNotCopyTheModel(t *testing.T) {
	log := numbered(0, posts(1, 1001)...)
	for i := range 1000 {
		log = append(log, numbered(len(log), commented(2000+i, 1+i))...)
	}
	s, m := newSnapshots(saved(t, log)), modelOf(t, log)
	copied := testing.AllocsPerRun(5, func() { m.copyAll() })
	allocs := testing.AllocsPerRun(5, func() {
		if _, err := s.save(t.Context(), m); err != nil {
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
	reads := store.gets
	man, err := newSnapshots(store).save(t.Context(), modelOf(t, log))
	if err != nil {
		t.Fatal(err)
	}
	wantChunks(t, "replaced", store, man)
	if n := store.gets - reads; n != 1 {
		t.Errorf("%d reads, want the manifest's alone: a chunk is a megabyte", n)
	}
	if at := newSnapshots(store).load(t.Context(), newModel()); at != uint64(len(log)) {
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
		old := store.chunks()
		store.failing = fails
		if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err == nil {
			t.Fatalf("%s: no error", name)
		}
		for _, key := range old {
			if !slices.Contains(store.chunks(), key) {
				t.Errorf("%s: %s is gone", name, key)
			}
		}
		m := newModel()
		if at := newSnapshots(store).load(t.Context(), m); at != 400 || everything(m) != everything(modelOf(t, log[:400])) {
			t.Errorf("%s: loaded %d", name, at)
		}
	}
}

// wantChunks checks that the chunks of these snapshots are in the store, and no others.
func wantChunks(t *testing.T, what string, store *fakeStore, of ...manifest) {
	t.Helper()
	var want []string
	for _, man := range of {
		for i := range man.Chunks {
			want = append(want, man.key(i))
		}
	}
	slices.Sort(want)
	if got := store.chunks(); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%s: the chunks are %v, want %v", what, got, want)
	}
}

// A week of chunks that nothing names would fill the store; ones that a manifest
// may yet name have to be there when it comes.
func TestASaveThatFailsLeavesItsChunksOnlyIfItsManifestMayLand(t *testing.T) {
	log := largeLog()
	older, younger := modelOf(t, log[:400]), modelOf(t, log)
	isManifest := func(key string) bool { return key == manifestKey }
	for name, c := range map[string]struct {
		fails func(store *fakeStore)
		stay  bool
	}{
		"a chunk":             {func(s *fakeStore) { s.failing = func(key string) bool { return strings.HasSuffix(key, "000002") } }, false},
		"a chunk that landed": {func(s *fakeStore) { s.lost = func(key string) bool { return strings.HasSuffix(key, "000002") } }, false},
		"the manifest":        {func(s *fakeStore) { s.failing = isManifest }, true},
		"the manifest, and reading it": {func(s *fakeStore) {
			s.failing = func(key string) bool {
				s.unreadable = s.unreadable || isManifest(key)
				return isManifest(key)
			}
		}, true},
		"the manifest, because of a damaged one": {func(s *fakeStore) {
			s.before = func(key string) {
				if isManifest(key) {
					s.set(key, []byte("hello"))
				}
			}
		}, false},
	} {
		store := newFakeStore()
		old, err := newSnapshots(store).save(t.Context(), older)
		if err != nil {
			t.Fatal(err)
		}
		c.fails(store)
		man, err := newSnapshots(store).save(t.Context(), younger)
		if err == nil {
			t.Fatalf("%s: no error", name)
		}
		if c.stay {
			wantChunks(t, name, store, old, man)
		} else {
			wantChunks(t, name, store, old)
		}
	}
}

func TestASaveThatTakesTooLongLeavesNoChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := largeLog()
		store := saved(t, log[:400])
		store.before = func(key string) {
			if strings.HasSuffix(key, "000003") {
				time.Sleep(saveTimeout + time.Second) // of the bubble's clock
			}
		}
		if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err == nil {
			t.Fatal("no error")
		}
		wantChunks(t, "too slow", store, store.manifest())
	})
}

func TestAManifestWhoseAnswerWasLostCounts(t *testing.T) {
	log := largeLog()
	store := saved(t, log[:400])
	store.lost = func(key string) bool { return key == manifestKey }
	man, err := newSnapshots(store).save(t.Context(), modelOf(t, log))
	if err != nil || store.manifest().Generation != man.Generation {
		t.Errorf("error %v", err)
	}
	wantChunks(t, "its answer was lost", store, man)
}

// Of two replicas that save at the same time one wins, and what it wrote is whole.
func TestOfTwoThatSaveAtOnceOneWins(t *testing.T) {
	log := someLog()
	store := saved(t, log[:3])
	raced := false
	store.before = func(key string) {
		if key == manifestKey && !raced {
			raced = true
			if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log[:8])); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err == nil {
		t.Error("both won")
	}
	wantChunks(t, "of two at once", store, store.manifest())
	m := newModel()
	if at := newSnapshots(store).load(t.Context(), m); at != 8 || everything(m) != everything(modelOf(t, log[:8])) {
		t.Errorf("loaded %d", at)
	}
}

func TestADamagedSnapshotIsReplaced(t *testing.T) {
	log := someLog()
	for name, value := range map[string]string{"not JSON": "hello", "another format": `{"format":99,"sequence":1000}`} {
		store := newFakeStore()
		store.set(manifestKey, []byte(value))
		if _, err := newSnapshots(store).save(t.Context(), modelOf(t, log)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if at := newSnapshots(store).load(t.Context(), newModel()); at != uint64(len(log)) {
			t.Errorf("%s: loaded %d", name, at)
		}
	}
}

// Chunks live for a week only, so a snapshot that nothing changes has to be renewed.
func TestASnapshotIsRenewedBeforeItsChunksGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := saved(t, someLog())
		first := store.chunks()
		time.Sleep(renewAfter) // of the bubble's clock
		if _, err := newSnapshots(store).save(t.Context(), modelOf(t, someLog())); err != nil {
			t.Fatal(err)
		}
		if got := store.chunks(); len(got) != len(first) || slices.Equal(got, first) {
			t.Errorf("was %v, is %v", first, got)
		}
	})
}

func TestSnapshotsAreSavedFromTimeToTimeWhenSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := someLog()
		store := newFakeStore()
		m := newModel()
		f := newFollower(m, nil, &snapshots{store: store, every: 10 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.saveSnapshots(ctx)
		at := func() uint64 {
			synctest.Wait()
			return store.manifest().Sequence
		}
		later := func(d time.Duration) { time.Sleep(d) } // of the bubble's clock
		const interval = 12500 * time.Millisecond        // at the most

		if err := m.apply(log[:5]); err != nil {
			t.Fatal(err)
		}
		later(time.Minute)
		if at() != 0 {
			t.Error("saved before it was ready")
		}
		m.setReady()
		later(interval)
		if at() != 5 {
			t.Errorf("the snapshot is at %d, want 5", at())
		}
		swaps := store.swapped()
		later(time.Minute)
		if synctest.Wait(); store.swapped() != swaps {
			t.Errorf("%d writes with nothing new", store.swapped()-swaps)
		}
		if err := m.apply(log); err != nil {
			t.Fatal(err)
		}
		later(interval)
		if at() != uint64(len(log)) {
			t.Errorf("the snapshot is at %d, want %d", at(), len(log))
		}
		swaps = store.swapped()
		later(renewAfter + time.Minute)
		if synctest.Wait(); store.swapped() == swaps {
			t.Error("not renewed")
		}
		store.setDown(true)
		if err := m.apply(numbered(len(log), posted(90))); err != nil {
			t.Fatal(err)
		}
		later(time.Minute)
		store.setDown(false)
		later(time.Minute)
		if at() != uint64(len(log))+1 {
			t.Errorf("after the store was down the snapshot is at %d", at())
		}
	})
}

func TestAnIntervalOfNoUseIsIgnored(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 10 * time.Second, "often": 10 * time.Second, "0s": 10 * time.Second, "-1s": 10 * time.Second, "200ms": 200 * time.Millisecond} {
		t.Setenv("SNAPSHOT_EVERY", text)
		if got := newSnapshots(nil).every; got != want {
			t.Errorf("SNAPSHOT_EVERY=%q: every %v, want %v", text, got, want)
		}
	}
}

func TestReplicasThatStartTogetherDoNotSaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const every = 10 * time.Second
		first := map[time.Duration]bool{}
		began := time.Now()
		var mu sync.Mutex
		var running sync.WaitGroup
		for range 3 {
			store := newFakeStore()
			var once sync.Once
			store.before = func(string) {
				once.Do(func() {
					mu.Lock()
					defer mu.Unlock()
					first[time.Since(began)] = true
				})
			}
			f := newFollower(modelOf(t, someLog()), nil, &snapshots{store: store, every: every})
			running.Go(func() { f.saveSnapshots(ctx) })
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
	for _, log := range [][]event.Event{nil, someLog(), numbered(0, commented(101, 1))} {
		_, posts := modelOf(f, log).copyAll()
		encodeRecords(posts, func(chunk []byte) { f.Add(chunk) })
	}
	f.Add([]byte("P"))
	f.Add(bytes.Repeat([]byte{0xff}, 60))
	f.Add(append([]byte("C"), make([]byte, 19)...))
	f.Fuzz(func(t *testing.T, chunk []byte) {
		m := newModel()
		if err := decodeRecords(chunk, m); err != nil {
			return
		}
		_ = everything(m)
		// What was taken is a model: it can be encoded, and comes back the same.
		again := newModel()
		_, posts := m.copyAll()
		encodeRecords(posts, func(chunk []byte) {
			if err := decodeRecords(slices.Clone(chunk), again); err != nil {
				t.Fatal(err)
			}
		})
		if everything(again) != everything(m) {
			t.Fatal("the records of a model that was decoded give another one")
		}
	})
}
