package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/system"
)

// showsExactly returns nil when query shows exactly these posts, and the log has nothing
// else.
func (s *stack) showsExactly(t *testing.T, posts []post) error {
	t.Helper()
	var page map[string]post
	if _, err := get(s.url("query", "/posts?limit=100"), &page); err != nil {
		return err
	}
	var want []string
	for _, p := range posts {
		want = append(want, p.ID)
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(page)); !slices.Equal(got, want) {
		return fmt.Errorf("query shows %v, want %v", got, want)
	}
	return nil
}

// flushed creates posts until they are shown and in a snapshot, empties all stores, and
// creates others, each with a 201.
func (s *stack) flushed(t *testing.T, before, after int) []post {
	t.Helper()
	old := s.write(t, before, 0)
	eventually(t, func() error { return s.showsExactly(t, old.posts) })
	snapshotAt(t, s, uint64(before)) //nolint:gosec // never negative
	if err := s.loseAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.write(t, after, 0).posts
}

// wantNewLog checks that the log begins with these posts and has nothing else.
func (s *stack) wantNewLog(t *testing.T, posts []post) {
	t.Helper()
	all := events(t, s.App("eventlog"))
	checkLog(t, all)
	subjects := map[string]bool{}
	for _, e := range all {
		subjects[e.Subject] = true
	}
	for _, p := range posts {
		if !subjects[p.ID] {
			t.Errorf("post %s is not in the log", p.ID)
		}
	}
	if len(all) != len(posts) {
		t.Errorf("the log has %d events, want %d", len(all), len(posts))
	}
}

// After a loss, eventlog and query are restarted. Before logs had ids, query then showed
// the posts of its snapshot, which it had saved again into the emptied store.
func TestAfterALossInTheStoresARestartShowsWhatTheLogHas(t *testing.T) {
	s := another(t, nil, built.binaries)
	posts := s.flushed(t, 3, 5)
	log, query := s.process(t, s.App("eventlog").Port), s.process(t, s.App("query").Port)
	kill(t, log)
	kill(t, query)
	s.restart(t, []*system.Process{log, query})
	awaitReady(t, s.App("eventlog"))
	awaitReady(t, s.App("query"))
	eventually(t, func() error { return s.showsExactly(t, posts) })
	s.wantNewLog(t, posts)
	snapshotAt(t, s, 5)
	s.restartQuery(t, func() {})
	if err := s.showsExactly(t, posts); err != nil {
		t.Error(err)
	}
}

// No restart is needed either: the services notice that the log is gone, whichever log is
// longer.
func TestAfterALossInTheStoresTheLogBeginsAnewByItself(t *testing.T) {
	s := another(t, nil, built.binaries)
	r := readOn(t, s.App("query").URL(), "")
	posts := s.flushed(t, 5, 3)
	eventually(t, func() error { return s.showsExactly(t, posts) })
	s.wantNewLog(t, posts)
	if lines := s.logged(t, 0, "the log is missing from the store"); len(lines) == 0 {
		t.Error("eventlog does not say that its log is missing")
	}
	// The old log's stream has ended. A reader that continues it begins anew.
	eventually(t, func() error {
		for {
			select {
			case _, open := <-r.changes:
				if !open {
					return nil
				}
			default:
				return errors.New("the stream goes on")
			}
		}
	})
	again := readOn(t, s.App("query").URL(), "5/"+strings.Repeat("0", 8)+"-0000-7000-8000-000000000000/x")
	s.wantReset(t, again)
	eventually(t, func() error { return s.showsExactly(t, posts) })
	more := s.createPost(t, "after the loss")
	if got := again.until(t, func(c change) bool { return strings.Contains(c.data, more.ID) }); len(got) != 1 {
		t.Errorf("after the reset came %v", got)
	}
}

// wantReset checks that a stream begins anew at query's position.
func (s *stack) wantReset(t *testing.T, r *reader) {
	t.Helper()
	first := <-r.changes
	if first.event != "reset" || !strings.Contains(first.data, first.position) || first.id > 1_000_000 {
		t.Fatalf("the stream begins with %+v", first)
	}
	r.at, r.position = first.id, first.position
}

func TestAPositionAheadOfTheLogIsNotBelieved(t *testing.T) {
	for _, base := range []string{shared.App("query").URL(), shared.App("client").URL()} {
		r := readOn(t, base, "999999999")
		shared.wantReset(t, r)
		p := shared.createPost(t, "after a reset")
		r.until(t, func(c change) bool { return strings.Contains(c.data, p.ID) })
		for _, ahead := range []string{"999999999", r.position[:strings.Index(r.position, "/")+37] + "/another"} {
			want(t, 409, "GET", base+"/posts?min_sequence="+ahead, "")
		}
		want(t, 200, "GET", base+"/posts?min_sequence="+r.position, "")
		stream := want(t, 409, "GET", base+"/posts?min_sequence=999999999", "", "Accept: text/event-stream")
		if !strings.Contains(string(stream.body), "999999999") {
			t.Errorf("refused: %s", stream)
		}
	}
	// The log and the dead letters refuse it, too.
	for _, path := range []string{"/events?after=999999999&wait=10", "/events?after=0&log=" + shared.App("query").ID, "/dead-letters?after=999999999"} {
		if r := want(t, 409, "GET", shared.url("eventlog", path), ""); r.header.Get(eventlog.PositionHeader) == "" {
			t.Errorf("%s does not say where the log stands: %v", path, r.header)
		}
	}
}

// TestTheREADMEsLineShowsTheLogInRedis runs the README's command on a log of one open
// segment, of one full segment, and of more.
func TestTheREADMEsLineShowsTheLogInRedis(t *testing.T) {
	needs(t, redisKind, "the line is redis-cli's")
	for _, command := range []string{"redis-cli", "zstd"} {
		if _, err := system.Install(t.Context(), "reading the log in Redis", command, map[string]string{"redis-cli": "redis-tools", "zstd": "zstd"}[command]); err != nil {
			t.Fatal(err)
		}
	}
	line := documented(t, `redis-cli --raw hget "`)
	s := another(t, nil, plain(t))
	host, port, _ := strings.Cut(s.redis.Address(), ":")
	command := strings.ReplaceAll(line, "redis-cli ", "redis-cli -h "+host+" -p "+port+" ")
	command = strings.ReplaceAll(command, "eventlog||", s.App("eventlog").ID+"||")
	written := 0
	for _, n := range []int{3, eventlog.SegmentSize, 300} {
		var last post
		err := many(t.Context(), n-written-1, func(int) error {
			_, err := do("POST", s.url("posts", "/posts/create"), `{"title":"one of many"}`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return s.logEndsAt(n - 1) })
		last, written = s.createPost(t, "the last"), n
		eventually(t, func() error { return s.logEndsAt(n) })
		out, err := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command).Output() //nolint:gosec // the README's
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		lines := strings.Split(strings.TrimSpace(strings.Trim(strings.TrimSpace(string(out)), "[]")), ",\n")
		if want := (n-1)%eventlog.SegmentSize + 1; len(lines) != want || !strings.Contains(lines[want-1], last.ID) || !strings.Contains(lines[want-1], fmt.Sprintf(`"sequence":"%020d"`, n)) {
			t.Errorf("of %d events it prints %d lines, want %d; the last is %q", n, len(lines), want, lines[len(lines)-1])
		}
	}
}

// logEndsAt returns nil when the log ends with the event of that number.
func (s *stack) logEndsAt(n int) error {
	r, err := do("GET", s.url("eventlog", "/events?limit=0"), "")
	if got := r.header.Get(eventlog.SequenceHeader); err == nil && got != fmt.Sprint(n) {
		err = fmt.Errorf("the log ends at %s, not at %d", got, n)
	}
	return err
}
