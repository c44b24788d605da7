package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// ofClient is an address at the client's host.
func (s *stack) ofClient(path string) string { return s.url("client", path) }

func TestOneAddressServesTheAPI(t *testing.T) {
	at := shared.ofClient
	r := want(t, 201, "POST", at("/posts/create"), `{"title":"At one address"}`, "Idempotency-Key: one-address")
	p := decode[post](t, r.body)
	if got := r.header.Get("Location"); got != "/posts/"+p.ID {
		t.Errorf("Location: %q", got)
	}
	again := want(t, 201, "POST", at("/posts/create"), `{"title":"At one address"}`, "Idempotency-Key: one-address")
	if !bytes.Equal(again.body, r.body) {
		t.Errorf("with the same key: %s, then %s", r, again)
	}
	want(t, 422, "POST", at("/posts/create"), `{"title":"Another"}`, "Idempotency-Key: one-address")

	statuses := map[string]string{}
	for i := range 3 {
		content, status := fmt.Sprint("comment ", i), "approved"
		if i == 1 {
			content, status = "an orange comment", "rejected"
		}
		r := want(t, 201, "POST", at("/posts/"+p.ID+"/comments"), jsonOf(t, map[string]string{"content": content}))
		c := decode[comment](t, r.body)
		statuses[c.ID] = status
		eventually(t, func() error {
			if one := decode[comment](t, want(t, 200, "GET", at(r.header.Get("Location")), "").body); one.Status != status {
				return fmt.Errorf("comment %d is %s", i, one.Status)
			}
			return nil
		})
	}
	eventually(t, func() error { return settled(shared.App("client"), p.ID, statuses) })

	// All pages, by their links.
	seen := 0
	for path := "/posts/" + p.ID + "/comments?limit=2"; path != ""; {
		r := want(t, 200, "GET", at(path), "")
		seen += len(decode[[]comment](t, r.body))
		path = next(t, r)
	}
	if seen != 3 {
		t.Errorf("the pages of comments have %d", seen)
	}

	r = want(t, 200, "GET", at("/posts/"+p.ID), "")
	etag := r.header.Get("Etag")
	if same := want(t, 304, "GET", at("/posts/"+p.ID), "", "If-None-Match: "+etag); len(same.body) > 0 || same.header.Get("Etag") != etag {
		t.Errorf("If-None-Match: %s, %v", same, same.header)
	}
	want(t, 200, "HEAD", at("/posts/"+p.ID), "")
	want(t, 200, "GET", at(fmt.Sprintf("/posts?min_sequence=%d", sequence(t, r))), "")
	want(t, 200, "GET", at("/posts?min_sequence="+r.header.Get(eventlog.PositionHeader)), "")
	ahead := want(t, 409, "GET", at(fmt.Sprintf("/posts?min_sequence=%d", sequence(t, r)+1_000_000)), "")
	if ahead.took > 4*time.Second {
		t.Errorf("a number that is far ahead is refused after %s", ahead.took)
	}
	if page := decode[map[string]post](t, want(t, 200, "GET", at("/posts"), "").body); page[p.ID].Title != "At one address" {
		t.Errorf("GET /posts has %+v", page[p.ID])
	}
	// The host passes a service's own errors on unchanged.
	want(t, 404, "GET", at("/posts/x"), "")
	want(t, 422, "POST", at("/posts/create"), `{}`)
	want(t, 415, "POST", at("/posts/create"), "x", "Content-Type: text/plain")
}

func TestTheStreamFlowsThroughTheClient(t *testing.T) {
	base := shared.App("client").URL()
	r := read(t, base, 0)
	p := shared.createPost(t, "live, through the client")
	c := shared.createComment(t, p.ID, "an orange comment")
	got := r.until(t, func(ch change) bool { return ch.event == "CommentUpdated" && strings.Contains(ch.data, c.ID) })
	first := slices.IndexFunc(got, func(c change) bool { return strings.Contains(c.data, p.ID) })
	r.cancel()
	// A reader that reconnects gets the same changes after the id that it names.
	again := read(t, base, got[first].id).until(t, func(ch change) bool { return ch.id >= got[len(got)-1].id })
	if !slices.Equal(again, got[first+1:]) {
		t.Errorf("after %d come %v, and before came %v", got[first].id, again, got[first+1:])
	}
	// A refusal by query has its reason.
	refused := want(t, 400, "GET", base+"/posts", "", "Accept: text/event-stream", "Last-Event-ID: x")
	if !strings.Contains(string(refused.body), "Last-Event-ID") {
		t.Errorf("refused: %s", refused)
	}
}

func TestTheClientForwardsTheAPIAlone(t *testing.T) {
	for _, path := range []string{
		"/events", "/events?after=0", "/dead-letters", "/v1.0/healthz", "/v1.0/metadata", "/v1.0/state/posts-store/x", "/dapr/config",
		"/v1.0/invoke/" + shared.App("eventlog").ID + "/method/events",
		"/posts/..%2fevents", "/posts/%2e%2e%2fevents", "/posts/x%2f..%2f..%2fevents", "/posts/%2e%2e/comments/events",
	} {
		// The request also names the service in every way that the sidecar knows.
		r := want(t, 404, "GET", shared.ofClient(path), "", "dapr-app-id: "+shared.App("eventlog").ID)
		if strings.Contains(string(r.body), "specversion") {
			t.Errorf("%s: %s", path, r)
		}
	}
	for _, topics := range routes {
		for _, topic := range topics {
			body, subject := forged(t, topic)
			want(t, 404, "POST", shared.ofClient("/deliver/"+topic), body)
			if inLog(t, shared, subject) {
				t.Errorf("a forged %s is in the log", topic)
			}
		}
	}
}

func TestAVisitorOfTheClientForgesNothing(t *testing.T) {
	// If the host forwarded one of these headers, the request would go elsewhere or be
	// refused.
	for _, header := range []string{
		"dapr-app-id: " + shared.App("eventlog").ID, "Dapr-Caller-App-Id: moderation", "dapr-api-token: x",
		"Authorization: Basic ZGFwci1hcHAtaWQ6ZXZlbnRsb2c=", "Connection: close, dapr-app-id", "destination-app-id: x",
	} {
		r := want(t, 201, "POST", shared.ofClient("/posts/create"), `{"title":"forged?"}`, header)
		id := decode[post](t, r.body).ID
		eventually(t, func() error {
			for _, e := range events(t, shared.App("eventlog")) {
				if e.Subject == id {
					if e.Type != "PostCreated" || e.Source != "/posts" && e.Source != "/"+shared.App("posts").ID {
						t.Errorf("with %q it is %s of %s", header, e.Type, e.Source)
					}
					return nil
				}
			}
			return fmt.Errorf("the post is not in the log")
		})
		if page := decode[map[string]post](t, want(t, 200, "GET", shared.ofClient("/posts?limit=1"), "", header).body); len(page) != 1 {
			t.Errorf("with %q GET /posts is answered %v", header, page)
		}
	}
}

func TestABodyIsBoundedAtTheEdge(t *testing.T) {
	const most = 64 << 10
	padded := func(n int) string {
		body := `{"title":"as large as can be"}`
		return body + strings.Repeat(" ", n-len(body))
	}
	want(t, 201, "POST", shared.ofClient("/posts/create"), padded(most))
	r := want(t, 413, "POST", shared.ofClient("/posts/create"), padded(most+1))
	if r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("413: %s", r)
	}
}

func TestTheClientsPages(t *testing.T) {
	page := want(t, 200, "GET", shared.ofClient("/"), "")
	if !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || page.header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("GET /: %s, %v", page, page.header)
	}
	want(t, 304, "GET", shared.ofClient("/"), "", "If-None-Match: "+page.header.Get("Etag"))
	if other := want(t, 200, "GET", shared.ofClient("/p/x"), ""); !bytes.Equal(other.body, page.body) {
		t.Errorf("GET /p/x: %s", other)
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
	assets := regexp.MustCompile(`"(/assets/[^"]+)"`).FindAllSubmatch(page.body, -1)
	if len(assets) < 2 {
		t.Fatalf("the page loads %d assets: %s", len(assets), page.body)
	}
	compressed := 0
	for _, m := range assets {
		path := string(m[1])
		plain := want(t, 200, "GET", shared.ofClient(path), "", "Accept-Encoding: identity")
		if got := plain.header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: Cache-Control %s", path, got)
		}
		if len(plain.body) < 1000 {
			continue // it may be no smaller compressed
		}
		compressed++
		for _, encoding := range []string{"br", "gzip"} {
			r := want(t, 200, "GET", shared.ofClient(path), "", "Accept-Encoding: "+encoding)
			if r.header.Get("Content-Encoding") != encoding || len(r.body) >= len(plain.body) || r.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s as %s: %d of %d bytes, %v", path, encoding, len(r.body), len(plain.body), r.header)
			}
		}
	}
	if compressed == 0 {
		t.Error("no asset is worth compressing")
	}
	for _, missing := range []string{"/assets/index-gone.js", "/favicon.txt", "/index.html", "/p", "/nothing"} {
		want(t, 404, "GET", shared.ofClient(missing), "")
		if r := want(t, 404, "GET", shared.ofClient(missing), "", "Accept: text/html"); !bytes.Equal(r.body, page.body) {
			t.Errorf("a browser that was sent to %s gets %s", missing, r)
		}
	}
}

// The sidecars pass on what query has compressed, as it is.
func TestReadsAreCompressedOnTheirWayToVisitors(t *testing.T) {
	var id string
	for range 3 { // so that the list is worth compressing, too
		made := want(t, 201, "POST", shared.ofClient("/posts/create"), fmt.Sprintf(`{"title":"long","body":%q}`, strings.Repeat("the same again and again ", 400)))
		id = decode[post](t, made.body).ID
		shared.awaitShown(t, id)
	}
	for _, at := range []string{shared.ofClient("/posts/" + id), shared.url("query", "/posts/"+id), shared.ofClient("/posts?comments=0&limit=100")} {
		plain := want(t, 200, "GET", at, "", "Accept-Encoding: identity")
		for _, coding := range []string{"zstd", "br", "gzip"} {
			r := want(t, 200, "GET", at, "", "Accept-Encoding: "+coding)
			if got := r.header.Values("Content-Encoding"); !slices.Equal(got, []string{coding}) || len(r.body) >= len(plain.body)/2 {
				t.Fatalf("%s as %s: %d of %d bytes, %v", at, coding, len(r.body), len(plain.body), r.header)
			}
			if strings.Contains(at, id) { // nobody else changes it
				want(t, 304, "GET", at, "", "Accept-Encoding: "+coding, "If-None-Match: "+r.header.Get("Etag"))
			}
			if coding != "gzip" {
				continue // Go's library has no other
			}
			from, err := gzip.NewReader(bytes.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(from); err != nil || r.header.Get("Etag") == plain.header.Get("Etag") || strings.Contains(at, id) && !bytes.Equal(got, plain.body) {
				t.Errorf("%s as gzip: %s, %v, %v", at, got, err, r.header)
			}
		}
	}
}

// downWithin bounds the time until a visitor learns that a service is down.
const downWithin = 3500 * time.Millisecond

func TestWithAServiceDownTheRestGoesOn(t *testing.T) {
	s := another(t, nil, built.binaries)
	at := s.ofClient
	p := s.createPost(t, "read on")
	s.createComment(t, p.ID, "read on")
	eventually(t, func() error {
		if r := want(t, 200, "GET", at("/posts/"+p.ID), ""); !strings.Contains(string(r.body), "approved") {
			return fmt.Errorf("not settled: %s", r)
		}
		return nil
	})
	read := map[string]func() (response, error){
		"posts": func() (response, error) { return do("POST", at("/posts/create"), `{"title":"while down"}`) },
		"comments": func() (response, error) {
			return do("POST", at("/posts/"+p.ID+"/comments"), `{"content":"while down"}`)
		},
		"query": func() (response, error) { return do("GET", at("/posts"), "") },
	}
	works := func(r response, err error) error {
		if err == nil && r.status != 200 && r.status != 201 {
			err = fmt.Errorf("%s", r)
		}
		return err
	}
	for down, ask := range read {
		for _, what := range []string{"app", "sidecar"} {
			t.Run(down+"'s "+what, func(t *testing.T) {
				port := s.App(down).Port
				if what == "sidecar" {
					port = s.App(down).HTTPPort
				}
				dead := s.process(t, port)
				kill(t, dead)
				r, err := ask()
				if err != nil || r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("Content-Type") != "application/problem+json" || r.took > downWithin {
					t.Errorf("%s, %v, %v, after %s", r, err, r.header, r.took)
				}
				if !strings.Contains(string(r.body), "The "+down+" service does not answer") {
					t.Errorf("it does not say what is down: %s", r)
				}
				for other, ask := range read {
					if other == down {
						continue
					}
					if err := works(ask()); err != nil {
						t.Errorf("with %s down, %s: %v", down, other, err)
					}
				}
				want(t, 200, "GET", at("/"), "")
				s.launch(t, dead)
				back := time.Now()
				eventually(t, func() error { return works(ask()) })
				fmt.Printf("%s's %s: down is said after %s, and it works %s after the start\n",
					down, what, r.took.Round(time.Millisecond), time.Since(back).Round(10*time.Millisecond))
				awaitReady(t, s.App(down))
			})
		}
	}
	t.Run("the client's own sidecar", func(t *testing.T) {
		dead := s.process(t, s.App("client").HTTPPort)
		kill(t, dead)
		for _, ask := range read {
			if r, err := ask(); err != nil || r.status != 503 || r.took > downWithin {
				t.Errorf("%s, %v after %s", r, err, r.took)
			}
		}
		want(t, 200, "GET", at("/"), "")
		want(t, 503, "GET", at("/readyz"), "")
		s.launch(t, dead)
		for _, ask := range read {
			eventually(t, func() error { return works(ask()) })
		}
	})
	t.Run("the stores", func(t *testing.T) {
		if err := s.signalStores(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		r, err := read["posts"]()
		if err := s.signalStores(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		// The answer is the service's own, within its own deadline.
		if err != nil || r.status != 503 || !strings.Contains(string(r.body), "service's store") || r.took > downWithin {
			t.Errorf("%s, %v after %s", r, err, r.took)
		}
	})
}

// TestADeadReplicasSidecarIsHardlyNoticed reads while the client's sidecar sends every
// second call to a dead replica.
func TestADeadReplicasSidecarIsHardlyNoticed(t *testing.T) {
	s := another(t, nil, built.binaries)
	s.createPost(t, "read")
	b := s.replica(t, "query")
	at := s.ofClient("/posts?limit=1")
	// The test needs a client's sidecar that knows both replicas.
	eventually(t, func() error {
		for range 20 {
			want(t, 200, "GET", at, "")
		}
		r := want(t, 200, "GET", fmt.Sprintf("http://127.0.0.1:%d/metrics", b.MetricsPort), "")
		if !bytes.Contains(r.body, []byte("dapr_runtime_service_invocation_req_recv_total")) {
			return fmt.Errorf("the second replica was not called yet")
		}
		return nil
	})
	kill(t, s.process(t, b.HTTPPort))
	const asked = 300
	read := func(url string) (isFailure bool, took time.Duration) {
		r, err := do("GET", url, "")
		if err != nil {
			t.Fatal(err)
		}
		return r.status != http.StatusOK, r.took
	}
	// In turn: the sidecars soon forget the name of a dead replica.
	direct := s.App("client").Sidecar() + "/v1.0/invoke/" + s.App("query").ID + "/method/posts?limit=1"
	failed, untried, slowest := 0, 0, time.Duration(0)
	for range asked {
		isFailure, took := read(at)
		if slowest = max(slowest, took); isFailure {
			failed++
		}
		if isFailure, _ := read(direct); isFailure {
			untried++
		}
	}
	fmt.Printf("one of two replicas of query without its sidecar: %d of %d reads failed, the slowest took %s; of its sidecar's answers to the host, %d of %d are failures\n",
		failed, asked, slowest.Round(time.Millisecond), untried, asked)
	if untried == 0 {
		t.Error("the sidecar never calls the dead replica: this shows nothing")
	}
	if failed > asked/10 || slowest > downWithin {
		t.Errorf("%d of %d reads failed, the slowest took %s", failed, asked, slowest)
	}
}

func TestStreamsEndWhenTheClientStops(t *testing.T) {
	s := another(t, nil, built.binaries)
	s.createPost(t, "before")
	r := read(t, s.App("client").URL(), 0)
	s.createPost(t, "seen")
	r.until(t, func(c change) bool { return strings.Contains(c.data, "seen") })
	p := s.process(t, s.App("client").Port)
	start := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range r.changes { //nolint:revive // until it is closed
	}
	if err := p.AwaitEnd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if cut := s.logged(t, 0, "cut off"); len(cut) > 0 {
		t.Errorf("the log says %s", cut)
	}
}
