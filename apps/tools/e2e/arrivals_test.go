package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// monitored are the commands that a Redis receives.
type monitored struct {
	t     *testing.T
	s     *stack
	lines *bufio.Scanner
}

// monitor begins to record the commands that the system's Redis receives.
func (s *stack) monitor(t *testing.T) *monitored {
	t.Helper()
	conn, err := net.Dial("tcp", s.redisAt.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	m := &monitored{t, s, bufio.NewScanner(conn)}
	m.lines.Buffer(nil, 4<<20) // a segment of the log, escaped
	if !m.lines.Scan() || m.lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %s %v", m.lines.Text(), m.lines.Err())
	}
	return m
}

// reads counts the commands since the last call that read a key containing part.
func (m *monitored) reads(part string) int {
	m.t.Helper()
	marker, n := uuid.NewString(), 0
	if err := m.s.store(m.t).Echo(m.t.Context(), marker).Err(); err != nil {
		m.t.Fatal(err)
	}
	for m.lines.Scan() {
		switch line := m.lines.Text(); {
		case strings.Contains(line, marker):
			return n
		case strings.Contains(line, part) && strings.Contains(line, `"HGETALL"`):
			n++
		}
	}
	m.t.Fatal("MONITOR ended:", m.lines.Err())
	return 0
}

// TestAMadeUpIDCostsThreeReadsAndOneRequest covers that the service does not poll, and
// that the client's host gets the service's own answer at its first try.
func TestAMadeUpIDCostsThreeReadsAndOneRequest(t *testing.T) {
	needs(t, redisKind, "it counts reads by Redis's MONITOR")
	p := shared.createPost(t, "beside those that are made up")
	redis := shared.monitor(t)
	for name, c := range map[string]struct {
		method, path, body, key string
		status                  int
	}{
		"list":    {"GET", "/posts/%s/comments", "", "||post-", 503},
		"create":  {"POST", "/posts/%s/comments", `{"content":"x"}`, "||post-", 503},
		"comment": {"GET", "/posts/" + p.ID + "/comments/%s", "", "||comment-", 404},
	} {
		t.Run(name, func(t *testing.T) {
			var reads int
			for range 5 { // on a busy machine the answer may take longer than the first try
				id := uuid.Must(uuid.NewV7()).String()
				r := want(t, c.status, c.method, shared.ofClient(fmt.Sprintf(c.path, id)), c.body, "Idempotency-Key: "+id)
				if got := r.header.Get("Content-Type"); got != "application/problem+json" {
					t.Errorf("Content-Type %q", got)
				}
				if c.status == 503 && (r.header.Get("Retry-After") == "" || !strings.Contains(string(r.body), "on its way")) {
					t.Errorf("it is not the service's own answer: %s with Retry-After %q", r, r.header.Get("Retry-After"))
				}
				if reads = redis.reads(c.key + id); reads == 3 {
					return
				}
				t.Logf("%d reads in %s", reads, r.took)
			}
			t.Errorf("it cost %d reads of Redis, want 3", reads)
		})
	}
}

// TestManyMadeUpIDsLeaveWritersAlone prints how much 100 connections that ask for missing
// posts slow down a writer. It asserts what they cost, and that all get their answers.
func TestManyMadeUpIDsLeaveWritersAlone(t *testing.T) {
	needs(t, redisKind, "it counts reads by Redis's MONITOR")
	const connections, period = 100, 3 * time.Second
	write := func() (took []time.Duration) {
		for end := time.Now().Add(period); time.Now().Before(end); {
			took = append(took, want(t, 201, "POST", shared.ofClient("/posts/create"), `{"title":"x"}`).took)
		}
		slices.Sort(took)
		return took
	}
	alone := write()

	redis := shared.monitor(t)
	many := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	var all sync.WaitGroup
	var stop atomic.Bool
	var asked, unavailable, failed atomic.Int64
	for range connections {
		all.Go(func() {
			for !stop.Load() {
				asked.Add(1)
				res, err := many.Get(shared.ofClient("/posts/" + uuid.Must(uuid.NewV7()).String() + "/comments"))
				if err != nil {
					failed.Add(1)
					continue
				}
				_ = res.Body.Close()
				if res.StatusCode == 503 && res.Header.Get("Retry-After") != "" {
					unavailable.Add(1)
				}
			}
		})
	}
	beside := write()
	stop.Store(true)
	all.Wait()
	reads := redis.reads("||post-")

	t.Logf("a writer alone: %d posts, median %s; beside %d connections: %d posts, median %s",
		len(alone), alone[len(alone)/2], connections, len(beside), beside[len(beside)/2])
	t.Logf("%d requests for made-up posts cost %d reads", asked.Load(), reads)
	if asked.Load() < connections || unavailable.Load() != asked.Load() || failed.Load() > 0 {
		t.Errorf("of %d requests %d were answered with a 503, and %d failed", asked.Load(), unavailable.Load(), failed.Load())
	}
	// Three reads each. On a busy machine the first try times out, and the host has time
	// for one more.
	if most := 2 * 3 * int(asked.Load()); reads > most {
		t.Errorf("%d requests cost %d reads, more than %d", asked.Load(), reads, most)
	}
}

// A key belongs to what was asked for, whatever the spacing and order of the JSON.
func TestAKeyHoldsHoweverTheJSONIsWritten(t *testing.T) {
	p := shared.createPost(t, "written in several ways")
	for name, c := range map[string]struct {
		path, first string
		same        []string
		other       string
	}{
		"post": {"/posts/create", `{"title":"One <title>","body":"b"}`, []string{
			"{\n  \"title\": \"One <title>\",\n  \"body\": \"b\"\n}\n", `{"body":"b","title":"One <title>"}`, `{"title":"One \u003ctitle\u003e","\u0062ody":"\u0062"}`,
		}, `{"title":"One <title>","body":"B"}`},
		"comment": {"/posts/" + p.ID + "/comments", `{"content":"One <comment>","author":"Ann"}`, []string{
			" {\t\"content\" : \"One <comment>\" , \"author\":\"Ann\" } ", `{"author":"Ann","content":"One <comment>"}`, `{"content":"One \u003Ccomment>","author":"\u0041nn"}`,
		}, `{"content":"One <comment>"}`},
	} {
		for at, address := range map[string]string{"its service": shared.url(name+"s", ""), "the client": shared.ofClient("")} {
			t.Run(name+" at "+at, func(t *testing.T) {
				url, key := address+c.path, "Idempotency-Key: "+uuid.NewString()
				first := want(t, 201, "POST", url, c.first, key)
				for _, body := range c.same {
					again := want(t, 201, "POST", url, body, key)
					if string(again.body) != string(first.body) || again.header.Get("Location") != first.header.Get("Location") {
						t.Errorf("%s: %s, and at first %s", body, again, first)
					}
				}
				want(t, 422, "POST", url, c.other, key)
			})
		}
	}
}
