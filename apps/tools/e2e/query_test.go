package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/internal/state"
)

// content is posts with comments, and their expected statuses.
type content struct {
	posts    []post
	statuses map[string]map[string]string // of comments, by post
}

func (s *stack) write(t *testing.T, posts, comments int) content {
	t.Helper()
	c := content{statuses: map[string]map[string]string{}}
	for i := range posts {
		p := s.createPost(t, fmt.Sprint("written ", i))
		c.posts = append(c.posts, p)
		c.statuses[p.ID] = map[string]string{}
		for j := range comments {
			text, status := "fine", "approved"
			if j%2 == 1 {
				text, status = "orange", "rejected"
			}
			c.statuses[p.ID][s.createComment(t, p.ID, text).ID] = status
		}
	}
	return c
}

// shownAt returns nil when a query replica shows all of it.
func (c content) shownAt(t *testing.T, s *stack, port int) error {
	t.Helper()
	a := s.App("query")
	a.Port = port
	for _, p := range c.posts {
		if err := settled(a, p.ID, c.statuses[p.ID]); err != nil {
			return err
		}
	}
	return nil
}

// restartQuery kills query, calls meanwhile, starts query again, and returns when it is
// ready. Until then query must not answer a read.
func (s *stack) restartQuery(t *testing.T, meanwhile func()) (snapshot, replayed int) {
	t.Helper()
	query := s.App("query")
	p := s.process(t, query.Port)
	kill(t, p)
	meanwhile()
	offset := s.logSize(t)
	s.launch(t, p)
	eventually(t, func() error {
		r, err := do("GET", query.URL()+"/posts", "")
		ready := query.Ready() // asked after the read, because readiness is never lost
		if err == nil && r.status == 200 && ready != nil {
			t.Fatalf("it answers reads although it is not ready: %v", ready)
		}
		return ready
	})
	lines := s.logged(t, offset, "caught up")
	if len(lines) != 1 {
		t.Fatalf("query says %d times that it has caught up", len(lines))
	}
	found := regexp.MustCompile(`snapshot=(\d+) replayed=(\d+)`).FindStringSubmatch(lines[0])
	if found == nil {
		t.Fatalf("what is %q?", lines[0])
	}
	if snapshot, err := strconv.Atoi(found[1]); err == nil {
		if replayed, err := strconv.Atoi(found[2]); err == nil {
			return snapshot, replayed
		}
	}
	t.Fatalf("what numbers are in %q?", lines[0])
	return 0, 0
}

func TestQueryCatchesUpOnWhatItMissed(t *testing.T) {
	s := shared
	for name, damage := range map[string]func(){
		"from its snapshot":    func() {},
		"with its state wiped": func() { s.empty(t, "query") },
	} {
		t.Run(name, func(t *testing.T) {
			before := s.write(t, 3, 4)
			eventually(t, func() error { return before.shownAt(t, s, s.App("query").Port) })
			snapshotAt(t, s, s.quiet(t))
			var missed content
			s.restartQuery(t, func() { damage(); missed = s.write(t, 3, 4) })
			eventually(t, func() error { return missed.shownAt(t, s, s.App("query").Port) })
			if err := before.shownAt(t, s, s.App("query").Port); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestQueryIsNotReadyUntilItHasCaughtUp(t *testing.T) {
	query, eventlog := shared.App("query"), shared.App("eventlog")
	written := shared.write(t, 1, 2)
	p := shared.process(t, query.Port)
	kill(t, p)
	log := shared.process(t, eventlog.Port)
	kill(t, log)
	shared.launch(t, p)
	eventually(t, func() error {
		r, err := do("GET", query.URL()+"/readyz", "")
		if err == nil && r.status != 503 {
			t.Fatalf("ready without a log: %s", r)
		}
		return err
	})
	if r := want(t, 503, "GET", query.URL()+"/posts", ""); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	want(t, 503, "GET", query.URL()+"/posts/"+written.posts[0].ID, "")
	shared.launch(t, log)
	awaitReady(t, query)
	eventually(t, func() error { return written.shownAt(t, shared, query.Port) })
}

// manifestKey is the key of what describes query's snapshot.
const manifestKey = "snapshot-manifest"

// snapshotAt waits until query's snapshot is of at least that number.
func snapshotAt(t *testing.T, s *stack, least uint64) {
	t.Helper()
	store := storeOf(t, s.App("query"), "query-store")
	eventually(t, func() error {
		items, err := store.Get(t.Context(), manifestKey)
		if err != nil {
			return err
		}
		var manifest struct{ Sequence uint64 }
		if err := json.Unmarshal(items[0].Value, &manifest); err != nil {
			return fmt.Errorf("no snapshot: %w", err)
		}
		if manifest.Sequence < least {
			return fmt.Errorf("the snapshot stands at %d, not at %d", manifest.Sequence, least)
		}
		return nil
	})
}

func TestQueryRestartsFromItsSnapshotPlusTheTail(t *testing.T) {
	s := shared
	written := s.write(t, 3, 4)
	eventually(t, func() error { return written.shownAt(t, s, s.App("query").Port) })
	at := s.quiet(t)
	snapshotAt(t, s, at)
	all := func() string { return string(want(t, 200, "GET", s.url("query", "/posts?limit=100"), "").body) }
	before := all()

	t.Run("nothing to replay", func(t *testing.T) {
		if snapshot, replayed := s.restartQuery(t, func() {}); snapshot < int(at) || replayed != 0 { //nolint:gosec // small
			t.Errorf("from snapshot %d, replayed %d; want at least %d and 0", snapshot, replayed, at)
		}
		if all() != before {
			t.Error("the read model is another one")
		}
	})
	t.Run("the tail alone", func(t *testing.T) {
		snapshotAt(t, s, s.quiet(t))
		snapshot, replayed := s.restartQuery(t, func() {
			p := s.createPost(t, "the tail")
			eventually(t, func() error {
				if all := events(t, s.App("eventlog")); all[len(all)-1].Subject != p.ID {
					return fmt.Errorf("not in the log yet")
				}
				return nil
			})
		})
		if last := len(events(t, s.App("eventlog"))); snapshot == 0 || replayed != 1 || snapshot+replayed != last {
			t.Errorf("from snapshot %d, replayed %d of %d", snapshot, replayed, last)
		}
	})
	// Each of these damages the snapshot, so that query replays the whole log.
	store := storeOf(t, s.App("query"), "query-store")
	get := func(t *testing.T, key string) state.Item {
		t.Helper()
		items, err := store.Get(t.Context(), key)
		if err != nil || !items[0].Exists() {
			t.Fatalf("%s is not there, error %v", key, err)
		}
		return items[0]
	}
	aChunk := func(t *testing.T) string {
		t.Helper()
		manifest := decode[struct{ Generation string }](t, get(t, manifestKey).Value)
		return "snapshot-" + manifest.Generation + "-000000"
	}
	change := func(t *testing.T, key string, edit func(string) string) {
		t.Helper()
		item := get(t, key)
		edited := edit(string(item.Value))
		if edited == string(item.Value) {
			t.Fatal("nothing was damaged")
		}
		item.Value = []byte(edited)
		if err := store.Swap(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(t *testing.T){
		"a byte of a chunk is another": func(t *testing.T) {
			change(t, aChunk(t), func(d string) string { return d[:len(d)/2] + string(d[len(d)/2]^1) + d[len(d)/2+1:] })
		},
		"a chunk is truncated": func(t *testing.T) { change(t, aChunk(t), func(d string) string { return d[:len(d)-1] }) },
		"a chunk is missing": func(t *testing.T) {
			if err := store.Delete(t.Context(), get(t, aChunk(t))); err != nil {
				t.Fatal(err)
			}
		},
		"the manifest is truncated": func(t *testing.T) { change(t, manifestKey, func(d string) string { return d[:len(d)/2] }) },
		"another format": func(t *testing.T) {
			change(t, manifestKey, func(d string) string { return strings.Replace(d, `"format":`, `"format":9`, 1) })
		},
		"all of query's state is gone": func(t *testing.T) { s.empty(t, "query") },
	} {
		t.Run(name, func(t *testing.T) {
			snapshotAt(t, s, s.quiet(t))
			before := all()
			snapshot, replayed := s.restartQuery(t, func() { damage(t) })
			if last := len(events(t, s.App("eventlog"))); snapshot != 0 || replayed != last {
				t.Errorf("from snapshot %d, replayed %d; want all %d from the log", snapshot, replayed, last)
			}
			if all() != before {
				t.Error("the read model is another one")
			}
		})
	}
}

func TestQueryServesWhatItHasWhileTheEventLogIsDown(t *testing.T) {
	s := shared
	before := s.write(t, 2, 2)
	eventually(t, func() error { return before.shownAt(t, s, s.App("query").Port) })
	at := s.quiet(t)

	log := s.process(t, s.App("eventlog").Port)
	kill(t, log)
	during := s.write(t, 2, 2)
	if err := before.shownAt(t, s, s.App("query").Port); err != nil {
		t.Error(err)
	}
	if r := want(t, 200, "GET", s.url("query", "/posts"), ""); sequence(t, r) != at {
		t.Errorf("it stands at %d, and stood at %d when the log went down", sequence(t, r), at)
	}
	want(t, 404, "GET", s.url("query", "/posts/"+during.posts[0].ID), "")

	s.launch(t, log)
	awaitReady(t, s.App("eventlog"))
	eventually(t, func() error { return during.shownAt(t, s, s.App("query").Port) })
	checkLog(t, events(t, s.App("eventlog")))
}

func TestASecondQueryReplicaShowsTheSame(t *testing.T) {
	s := shared
	written := s.write(t, 5, 4)
	second := s.replica(t, "query")
	more := s.write(t, 2, 2)
	for _, c := range []content{written, more} {
		for _, port := range []int{s.App("query").Port, second.Port} {
			eventually(t, func() error { return c.shownAt(t, s, port) })
		}
	}
	// Both show the same bytes at the same number, which they reach while nobody writes.
	for _, path := range []string{"/posts", "/posts?limit=100", "/posts/" + written.posts[0].ID, "/posts/" + more.posts[0].ID + "?limit=1"} {
		eventually(t, func() error {
			a, b := want(t, 200, "GET", s.url("query", path), ""), want(t, 200, "GET", second.URL()+path, "")
			if sequence(t, a) != sequence(t, b) {
				return fmt.Errorf("at %d and %d", sequence(t, a), sequence(t, b))
			}
			if string(a.body) != string(b.body) || a.header.Get("ETag") != b.header.Get("ETag") {
				t.Fatalf("%s differs at %d", path, sequence(t, a))
			}
			return nil
		})
	}
}

func TestASecondEventLogReplicaAppendsToo(t *testing.T) {
	// The test has its own system, because sidecars call the replica for up to 5 s after
	// its end.
	s := another(t, nil, built.binaries)
	second := s.replica(t, "eventlog")
	written := s.write(t, 10, 6)
	eventually(t, func() error { return written.shownAt(t, s, s.App("query").Port) })
	// Both serve the same log, whichever replica appended.
	var a, b []logEvent
	eventually(t, func() error {
		a, b = events(t, s.App("eventlog")), events(t, second)
		if len(a) != len(b) {
			return fmt.Errorf("%d and %d events", len(a), len(b))
		}
		return nil
	})
	checkLog(t, a)
	for i := range a {
		if a[i].ID != b[i].ID {
			t.Fatalf("event %d differs", i+1)
		}
	}
	// The second one did append: while the first one hangs, it continues alone.
	first := s.process(t, s.App("eventlog").Port)
	if err := first.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Signal(syscall.SIGCONT) }) // also when this fails
	alone := s.createPost(t, "taken by the second replica, if not by the first one's sidecar")
	others := []post{alone}
	appended := func() error {
		others = append(others, s.createPost(t, "another"))
		all := events(t, second)
		for _, e := range all[len(a):] {
			for _, p := range others {
				if e.Subject == p.ID {
					return nil
				}
			}
		}
		return fmt.Errorf("%d events were appended, none of them ours", len(all)-len(a))
	}
	within(t, 2*soon, appended)
	if err := first.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		subjects := map[string]bool{}
		for _, e := range events(t, s.App("eventlog")) {
			subjects[e.Subject] = true
		}
		for _, p := range others {
			if !subjects[p.ID] {
				return fmt.Errorf("post %s is not in the log", p.ID)
			}
		}
		return nil
	})
	checkLog(t, events(t, s.App("eventlog")))
}
