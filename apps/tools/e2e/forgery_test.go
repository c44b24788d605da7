package e2e

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

//go:embed testdata/attacker.html
var attacker []byte

// request is a POST that a page may send to any address. Its body is Head=Tail, as a form
// with one field sends it as text/plain.
type request struct {
	URL  string `json:"url"`
	Head string `json:"head"`
	Tail string `json:"tail"`
}

func (r request) body() string { return r.Head + "=" + r.Tail }

// forgery is a set of requests, and the marks by which their content can be found.
type forgery struct {
	requests []request
	marks    []string
}

// object adds requests whose body is that JSON object. The form's = is in an additional
// member, which nobody reads.
func (f *forgery) object(object string, urls ...string) {
	for _, url := range urls {
		f.requests = append(f.requests, request{url, strings.TrimSuffix(object, "}") + `,"form":"`, `"}`})
	}
}

// forge lists what a page would try at the ports of these apps.
func forge(t *testing.T, s *stack, apps []system.App) *forgery {
	t.Helper()
	mark := uuid.NewString()
	f := &forgery{marks: []string{mark}}
	messages := map[string]string{"dead-letters": jsonOf(t, map[string]any{"id": mark, "topic": "PostCreated", "payload": []byte(mark)})}
	for topic := range publisherOf {
		event, subject := forgedEvent(t, topic)
		messages[topic], f.marks = event, append(f.marks, subject)
	}
	for _, a := range apps {
		for _, port := range []int{a.Port, a.AppPort, a.HTTPPort, a.GRPCPort, a.InternalPort, a.MetricsPort} {
			if port != 0 { // the issuer has no app channel
				f.at(t, s, a, messages, fmt.Sprintf("http://127.0.0.1:%d", port), mark)
			}
		}
		f.through(t, s, a, messages, mark)
	}
	return f
}

// at adds what is tried at every port of an app.
func (f *forgery) at(t *testing.T, s *stack, a system.App, messages map[string]string, at, mark string) {
	t.Helper()
	for _, topic := range routes[a.Name] {
		f.object(envelopeOf(t, messages[topic]), at+"/deliver/"+topic)
	}
	for topic, publisher := range publisherOf {
		if publisher == a.Name {
			f.object(messages[topic], at+"/v1.0/publish/bus/"+topic+"?metadata.rawPayload=true")
		}
	}
	f.object(envelopeOf(t, messages["PostCreated"]), at+"/v1.0/invoke/"+s.App("eventlog").ID+"/method/deliver/PostCreated")
	f.object(`{}`, at+"/v1.0/shutdown")
	f.requests = append(f.requests,
		request{at + "/v1.0/state/" + a.Name + "-store", `[{"key":"` + mark + `","value":"`, `"}]`},
		request{at + "/posts/create", `{"title":"` + mark, `"}`})
}

// through adds what is tried at an app's sidecar only: other ways to publish, and calls
// of the app by its id or, which a sidecar also forwards, by its address.
func (f *forgery) through(t *testing.T, s *stack, a system.App, messages map[string]string, mark string) {
	t.Helper()
	at := a.Sidecar()
	f.object(messages["dead-letters"], at+"/v1.0/publish/bus/dead-letters?metadata.rawPayload=true")
	for _, topic := range routes[a.Name] {
		method := "/method/deliver/" + topic
		f.object(envelopeOf(t, messages[topic]), at+"/v1.0/invoke/"+a.ID+method,
			fmt.Sprintf("%s/v1.0/invoke/http%%3A%%2F%%2F127.0.0.1%%3A%d%s", at, a.AppPort, method))
	}
	f.requests = append(f.requests,
		request{at + "/v1.0-alpha1/publish/bulk/bus/PostCreated", `[{"entryId":"1","contentType":"text/plain","event":"` + mark, `"}]`},
		request{at + "/v1.0/invoke/" + s.App("posts").ID + "/method/posts/create", `{"title":"` + mark, `"}`})
}

// takenBy returns where content of the forgery is found: in the log, the dead letters,
// the stores or the bus.
func (f *forgery) takenBy(t *testing.T, s *stack) (places []string) {
	t.Helper()
	look := func(place string, text []byte) {
		for _, mark := range f.marks {
			if bytes.Contains(text, []byte(mark)) {
				places = append(places, place)
				return
			}
		}
	}
	for _, e := range events(t, s.App("eventlog")) {
		look("the log, event "+e.Sequence, slices.Concat([]byte(e.Subject), e.Data))
	}
	for _, d := range readDeadLetters(t, s) {
		look("the dead letters", d.Data.Payload)
	}
	for place, text := range s.stored(t) {
		look(place, []byte(text))
	}
	return places
}

// valueOf is the whole value of a key.
func valueOf(t *testing.T, store *redis.Client, key string) []byte {
	t.Helper()
	var value any
	var err error
	switch kind := store.Type(t.Context(), key).Val(); kind {
	case "hash":
		value, err = store.HGetAll(t.Context(), key).Result()
	case "stream":
		value, err = store.XRange(t.Context(), key, "-", "+").Result()
	case "string":
		value, err = store.Get(t.Context(), key).Result()
	case "none": // it has gone meanwhile
	default:
		t.Fatalf("%s is a %s", key, kind)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "%v", value)
}

// sentBy counts, for each way of sending, the requests of a page and those that were
// answered or failed.
type sentBy struct{ Sent, Answered map[string]int }

// visit opens a page of another origin in a Chromium. The page sends the requests.
func visit(t *testing.T, requests []request) sentBy {
	t.Helper()
	chromium, err := system.Chromium(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan sentBy, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(attacker) })
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(requests) })
	mux.HandleFunc("POST /done", func(_ http.ResponseWriter, r *http.Request) {
		var result sentBy
		if err := json.NewDecoder(r.Body).Decode(&result); err != nil {
			t.Error(err)
		}
		done <- result
	})
	page := httptest.NewServer(mux)
	t.Cleanup(page.Close)

	profile, err := os.MkdirTemp(filepath.Dir(shared.dir), "chromium-") // removed with all else, when it has surely ended
	if err != nil {
		t.Fatal(err)
	}
	// The name makes the page another site, not only another origin. The other flags are
	// for root, for windows that no click has opened, and for timers in a background
	// window.
	cmd := exec.Command(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--user-data-dir="+profile, //nolint:gosec // the one that was found
		"--host-resolver-rules=MAP page.example 127.0.0.1", "--no-proxy-server", "--disable-popup-blocking",
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		strings.Replace(page.URL, "127.0.0.1", "page.example", 1))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stopsBy(cmd, end)
	defer func() { end(); _ = cmd.Wait(); stopsBy(cmd, nil) }()
	select {
	case result := <-done:
		return result
	case <-time.After(5 * time.Minute):
		t.Fatalf("the page is not through; the browser says:\n%s", &said)
	}
	return sentBy{}
}

// ways are how the page sends each request.
var ways = []string{"a form, text/plain", "a form, urlencoded", "a form, multipart", "fetch without CORS", "a beacon"}

// elsewhere is a server that accepts everything, to see that the requests are sent.
type elsewhere struct {
	*httptest.Server
	mu   sync.Mutex
	came map[string]string // bodies by media type, and who sends them
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{came: map[string]string{}}
	e.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		e.came[media+" "+r.Header.Get("Sec-Fetch-Mode")] = string(body)
	}))
	t.Cleanup(e.Close)
	return e
}

func TestAWebPageForgesNothing(t *testing.T) {
	s, f := shared, forge(t, shared, shared.Apps)
	type pair struct{ app, sidecar int }
	before := map[string]pair{}
	for _, a := range s.Apps {
		before[a.Name] = pair{s.process(t, a.Port).PID, s.process(t, a.HTTPPort).PID}
	}
	other := newElsewhere(t)
	seen := request{other.URL + "/deliver/PostCreated", `{"a":"`, `"}`}

	result := visit(t, append(f.requests, seen))
	for _, way := range ways {
		if n := result.Sent[way]; n != len(f.requests)+1 {
			t.Errorf("by %s %d requests were sent, not %d", way, n, len(f.requests)+1)
		}
		if result.Answered[way] == 0 {
			t.Errorf("by %s nothing was answered", way)
		}
	}
	t.Logf("sent %v, answered %v", result.Sent, result.Answered)
	other.mu.Lock()
	for kind, body := range map[string]string{
		"text/plain navigate": seen.body() + "\r\n", "application/x-www-form-urlencoded navigate": "%7B%22a%22%3A%22=%22%7D", "text/plain no-cors": seen.body(),
	} {
		if other.came[kind] != body {
			t.Errorf("elsewhere %s came as %q, not %q", kind, other.came[kind], body)
		}
	}
	if !strings.Contains(other.came["multipart/form-data navigate"], "form-data") {
		t.Errorf("elsewhere came %q", other.came)
	}
	other.mu.Unlock()

	// A published forgery would have arrived before what is written now.
	later := s.write(t, 1, 2)
	eventually(t, func() error { return later.shownAt(t, s, s.App("query").Port) })
	for _, place := range f.takenBy(t, s) {
		t.Errorf("what the page forged is in %s", place)
	}
	for _, a := range s.Apps {
		if now := (pair{s.process(t, a.Port).PID, s.process(t, a.HTTPPort).PID}); now != before[a.Name] {
			t.Errorf("the processes of %s were %v and are %v", a.Name, before[a.Name], now)
		}
	}
	// Without the guard of the channel: the same request, sent as the sidecar sends it,
	// is accepted and found.
	for _, r := range f.requests {
		if r.URL == fmt.Sprintf("http://127.0.0.1:%d/deliver/PostCreated", s.App("eventlog").AppPort) {
			want(t, http.StatusOK, "POST", r.URL, r.body())
		}
	}
	if len(f.takenBy(t, s)) == 0 {
		t.Error("the forgery succeeds not even without the page, or is not found")
	}
}

// viaSidecar lets a sidecar call a server that is none of the apps, with its URL in place
// of an app id.
func viaSidecar(t *testing.T, a system.App, other *elsewhere) []response {
	t.Helper()
	var answers []response
	for _, ask := range []struct{ path, header string }{
		{"/v1.0/invoke/" + url.QueryEscape(other.URL) + "/method/x", ""},
		{"/v1.0/invoke/" + other.URL + "/method/x", ""},
		{"/x", "dapr-app-id: " + other.URL},
		{"/v1.0/invoke/" + a.ID + "/method/x", "dapr-app-id: " + other.URL},
	} {
		headers := []string{"Content-Type: text/plain"}
		if ask.header != "" {
			headers = append(headers, ask.header)
		}
		r, err := do("POST", a.Sidecar()+ask.path, "x", headers...)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, r)
	}
	return answers
}

// A web page could send the form of such a call, and the call would carry the app's
// token.
func TestASidecarCallsAppsAlone(t *testing.T) {
	other := newElsewhere(t)
	for _, a := range shared.Apps {
		for _, r := range viaSidecar(t, a, other) {
			if r.status < http.StatusBadRequest {
				t.Errorf("%s: %s", a.Name, r)
			}
		}
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	if len(other.came) > 0 {
		t.Errorf("it was called: %v", other.came)
	}
}

// TestTheClosedAPIIsWhatGuards opens the sidecars' HTTP APIs, and shows that the page's
// requests then succeed.
func TestTheClosedAPIIsWhatGuards(t *testing.T) {
	s := another(t, func(resource system.Document) {
		if spec, ok := resource["spec"].(system.Document); ok && resource["kind"] == "Configuration" {
			delete(spec, "api")
			delete(spec, "httpPipeline")
		}
	}, built.binaries)
	posts, other := s.App("posts"), newElsewhere(t)
	viaSidecar(t, posts, other)
	other.mu.Lock()
	if len(other.came) == 0 {
		t.Error("a sidecar calls no other server than the apps, whatever it is asked")
	}
	other.mu.Unlock()
	f, of := forge(t, s, []system.App{posts}), func(path string) func(request) bool {
		return func(r request) bool { return r.URL != posts.Sidecar()+path }
	}
	keep := func(path string) []request { return slices.DeleteFunc(slices.Clone(f.requests), of(path)) }
	visit(t, keep("/v1.0/state/posts-store"))
	isOfPosts := func(place string) bool {
		return strings.Contains(place, posts.ID) || place == "the store of "+posts.Name
	} // a key of Redis, or a table
	if places := f.takenBy(t, s); !slices.ContainsFunc(places, isOfPosts) {
		t.Errorf("the page wrote to no store: %v", places)
	}
	visit(t, keep("/v1.0/publish/bus/PostCreated?metadata.rawPayload=true"))
	eventually(t, func() error {
		if places := f.takenBy(t, s); !slices.ContainsFunc(places, func(place string) bool { return strings.HasPrefix(place, "the log") }) {
			return fmt.Errorf("the page published nothing: %v", places)
		}
		return nil
	})
	sidecar := s.process(t, posts.HTTPPort)
	visit(t, keep("/v1.0/shutdown"))
	eventually(t, func() error {
		if err := syscall.Kill(sidecar.PID, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("the sidecar of posts still runs: %w", err)
		}
		return nil
	})
}
