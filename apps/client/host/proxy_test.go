package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postbus/postbus/apps/client/signin"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// running is a host that is served, with a sidecar of the test behind it.
type running struct {
	*httptest.Server
	stop context.CancelFunc
}

// hostOf serves a host. The functions change the host first.
func hostOf(t *testing.T, sidecar http.HandlerFunc, with ...func(*Host)) running {
	t.Helper()
	behind := httptest.NewServer(sidecar)
	t.Cleanup(behind.Close)
	stopping, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	h := &Host{
		Files: fstest.MapFS{}, Sidecar: behind.URL, Transport: NewTransport(), Posts: "posts", Comments: "comments", Query: "query", Moderation: "moderation",
		SignIn: signInOf(t), Streams: make(web.Streams, 10), Stopping: stopping,
	}
	for _, change := range with {
		change(h)
	}
	e := web.NewEngine()
	if err := h.Routes(e); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return running{server, stop}
}

// signInOf is a sign-in without an issuer.
func signInOf(t *testing.T) *signin.SignIn {
	t.Helper()
	config, err := signin.Read(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	config.Store = statetest.New()
	people, err := signin.New(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return people
}

type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request exactly as it is written. No client cleans its path.
func (h running) send(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if method == http.MethodPost || method == http.MethodPut {
		headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	headers = append([]string{method + " " + target + " HTTP/1.1", "Host: postbus", "Connection: close"}, headers...)
	if _, err := io.WriteString(conn, strings.Join(headers, "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

// wantProblem checks that the answer is a problem document of that status, and returns
// its detail.
func (a answer) wantProblem(t *testing.T, status int) (detail string) {
	t.Helper()
	var p web.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != status || p.Status != status || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s (%s), want a problem of status %d", a.status, a.body, a.header.Get("Content-Type"), status)
	}
	return p.Detail
}

// called is the app and the address that the sidecar is asked to call.
func called(r *http.Request) string {
	if id := r.Header.Get("Dapr-App-Id"); id != "" {
		return id + " by its header"
	}
	app, address, _ := strings.Cut(strings.TrimPrefix(r.RequestURI, "/v1.0/invoke/"), "/method/")
	return app + " /" + address
}

func TestTheAPIsRoutesReachTheirServicesAndNothingElseDoes(t *testing.T) {
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Called", r.Method+" "+called(r))
	}, func(h *Host) { h.Query = "query-2" })
	const id = "01a20cc5-3c8e-7ebf-ab8b-ac3e01cfff63"
	for request, want := range map[string]string{
		"POST /posts/create":                     "posts /posts/create",
		"POST /posts/" + id + "/comments":        "comments /posts/" + id + "/comments",
		"GET /posts/" + id + "/comments":         "comments /posts/" + id + "/comments",
		"HEAD /posts/" + id + "/comments":        "comments /posts/" + id + "/comments",
		"GET /posts/" + id + "/comments/" + id:   "comments /posts/" + id + "/comments/" + id,
		"GET /posts/" + id + "/comments?limit=1": "comments /posts/" + id + "/comments?limit=1",
		"GET /posts":                             "query-2 /posts",
		"GET /posts?limit=2&cursor=%41+b":        "query-2 /posts?limit=2&cursor=%41+b",
		"HEAD /posts":                            "query-2 /posts",
		"GET /posts/" + id:                       "query-2 /posts/" + id,
		"HEAD /posts/" + id:                      "query-2 /posts/" + id,
		"GET /posts/create":                      "query-2 /posts/create",
		"GET /moderation/queue?status=held":      "moderation /moderation/queue?status=held",
		"GET /moderation/policy":                 "moderation /moderation/policy",
		"PUT /moderation/policy":                 "moderation /moderation/policy",
		"POST /moderation/policy/apply":          "moderation /moderation/policy/apply",
		"POST /moderation/policy/try":            "moderation /moderation/policy/try",
		"GET /moderation/comments/" + id:         "moderation /moderation/comments/" + id,
		"POST /moderation/comments/" + id:        "moderation /moderation/comments/" + id,
		"POST /moderation/comments/x/undo":       "moderation /moderation/comments/x/undo",
		"POST /moderation/posts/" + id:           "moderation /moderation/posts/" + id,
		"GET /moderation/people":                 "moderation /moderation/people",
		"POST /moderation/people/a1":             "moderation /moderation/people/a1",
		"GET /%70osts/x":                         "query-2 /posts/x",
		"GET http://elsewhere/posts/x":           "query-2 /posts/x",
	} {
		method, target, _ := strings.Cut(request, " ")
		if got := h.send(t, method, target, "").header.Get("Called"); got != method+" "+want {
			t.Errorf("%s reaches %q, want %q", request, got, want)
		}
	}
	for _, request := range []string{
		"GET /events", "GET /events?after=0", "GET /dead-letters", "POST /deliver/PostCreated", "GET /deliver/PostCreated",
		"GET /v1.0/healthz", "POST /v1.0/publish/bus/PostCreated", "GET /v1.0/state/posts-store/x", "POST /v1.0/shutdown",
		"GET /v1.0/invoke/eventlog/method/events", "GET /dapr/config", "GET /metrics",
		"POST /posts", "PUT /posts/create", "DELETE /posts/x", "PATCH /posts/x", "OPTIONS /posts", "CONNECT /posts", "TRACE /posts",
		"POST /posts/x", "POST /posts/x/comments/y", "GET /posts/", "GET /posts/x/", "GET /posts/x/y", "GET /posts/x/comments/y/z", "GET //posts", "GET /posts//comments",
		"GET /Posts", "GET /moderation", "POST /moderation/queue", "DELETE /moderation/policy", "GET /moderation/policy/try", "POST /moderation/people", "GET /moderation/people/a1", "GET /moderation/comments/..", "POST /moderation/posts/%2e%2e",
		// Paths that try to leave the route, encoded or not.
		"GET /posts/..", "GET /posts/../events", "GET /posts/%2e%2e", "GET /posts/%2e%2e/comments", "GET /posts/%2e%2e/comments/%2e%2e",
		"GET /posts/..%2fevents", "GET /posts/%2e%2e%2fevents", "GET /posts/..%252fevents", "GET /posts/.%2e/comments/events",
		"GET /posts/x%2f..%2f..%2fevents", "GET /posts/..%5cevents", "GET /posts/x%3fy", "GET /posts/x%23y", "GET /posts/x%00y", "GET /posts/x%0d%0ay",
		"GET /posts/x;y", "GET /posts/x:y", "GET /posts/.", "GET /posts/%20", "GET /posts/é", "GET /posts/:id", "GET /posts/" + strings.Repeat("x", 65),
		"POST /posts/%2e%2e/comments", "POST /posts/x%2f..%2fcreate/comments", "POST /posts%2fcreate/x",
	} {
		method, target, _ := strings.Cut(request, " ")
		got := h.send(t, method, target, "")
		if called := got.header.Get("Called"); called != "" {
			t.Errorf("%s reaches %q", request, called)
		}
		if !slices.Contains([]int{400, 404, 405}, got.status) {
			t.Errorf("%s is answered %d %s", request, got.status, got.body)
		}
	}
}

// The host decodes an encoded slash before it chooses the route.
func TestAnEncodedSlashOpensNoOtherRoute(t *testing.T) {
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Called", called(r))
	})
	if got := h.send(t, "GET", "/posts/x%2fcomments", "").header.Get("Called"); got != "comments /posts/x/comments" {
		t.Errorf("it reaches %q", got)
	}
}

func TestAVisitorForgesNothing(t *testing.T) {
	var seen http.Header
	h := hostOf(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }, func(h *Host) { h.Token = "the real one" })
	h.send(t, "GET", "/posts", "",
		"Dapr-App-Id: eventlog", "dapr-app-id: eventlog", "Dapr-Caller-App-Id: moderation", "Dapr-Caller-Namespace: x", "Dapr-Api-Token: made-up",
		"Authorization: Basic ZGFwci1hcHAtaWQ6ZXZlbnRsb2c=", "Cookie: a=b", "X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4",
		"Upgrade: h2c", "Te: trailers", "Keep-Alive: 5", "Proxy-Authorization: x", "X-Other: x", "Postbus-Client: 1.2.3.4", "Destination-App-Id: eventlog", "Grpc-Trace-Bin: x", "Tracestate: x=y",
		"Idempotency-Key: k", "If-None-Match: \"e\"", "Accept-Language: de")
	for name, want := range map[string]string{
		"Dapr-Api-Token": "the real one", "Idempotency-Key": "k", "If-None-Match": `"e"`, "Accept-Language": "de", "Postbus-Client": "127.0.0.1",
	} {
		if got := seen[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name := range seen {
		if !slices.Contains(append(slices.Clone(forwarded), "Dapr-Api-Token", "Traceparent", web.ClientHeader), name) {
			t.Errorf("%s is forwarded: %q", name, seen[name])
		}
	}
}

// The services verify it. Other credentials, which may name an app to the sidecar, stay here.
func TestABearerTokenGoesOn(t *testing.T) {
	var seen http.Header
	h := hostOf(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header })
	for _, test := range []struct {
		headers []string
		want    []string
	}{
		{[]string{"Authorization: Bearer a.b.c"}, []string{"Bearer a.b.c"}},
		{[]string{"Authorization: Basic ZGFwci1hcHAtaWQ6ZXZlbnRsb2c="}, nil},
		{[]string{"Authorization: bearer a"}, []string{"bearer a"}},
		{[]string{"Authorization: Bearer"}, []string{"Bearer"}}, // which the services refuse
		{[]string{"Authorization: Bearer a", "Authorization: Basic ZGFwci1hcHAtaWQ6ZXZlbnRsb2c="}, nil},
		{[]string{"Authorization: Bearer a", "Authorization: Bearer b"}, nil},
	} {
		seen = nil
		got := h.send(t, "GET", "/posts", "", test.headers...)
		if len(test.headers) > 1 {
			got.wantProblem(t, http.StatusUnauthorized)
		}
		if got := seen["Authorization"]; !slices.Equal(got, test.want) {
			t.Errorf("of %q is forwarded %q", test.headers, got)
		}
	}
}

func TestARequestGoesOnWithItsTraceAndItsID(t *testing.T) {
	var seen http.Header
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		w.Header().Set("X-Request-Id", "the service's")
		w.Header().Set("Traceparent", "the sidecar's")
	})
	const trace = "0af7651916cd43dd8448eb211c80319c"
	got := h.send(t, "GET", "/posts", "", "X-Request-Id: abc", "Traceparent: 00-"+trace+"-b7ad6b7169203331-01")
	if seen.Get("X-Request-Id") != "abc" || !strings.Contains(seen.Get("Traceparent"), trace) {
		t.Errorf("the service sees %v", seen)
	}
	if !slices.Equal(got.header["X-Request-Id"], []string{"abc"}) || got.header.Get("Traceparent") != "" {
		t.Errorf("the visitor sees %v", got.header)
	}
}

// A service negotiates with every Accept header of a request.
func TestAllAcceptHeadersGoOn(t *testing.T) {
	var seen *http.Request
	h := hostOf(t, func(_ http.ResponseWriter, r *http.Request) { seen = r })
	h.send(t, "GET", "/posts", "", "Accept: text/event-stream;q=0.1", "Accept: application/json")
	if got := web.Accepts(seen, "text/event-stream", "application/json"); got != "application/json" {
		t.Errorf("the service sees %q and answers %s", seen.Header["Accept"], got)
	}
}

func TestAnAnswerPassesThrough(t *testing.T) {
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Etag": `"e"`, "Link": `</posts?cursor=x>; rel="next"`, "Location": "/posts/x", "Postbus-Sequence": "7", "Retry-After": "2",
			"Cache-Control": "no-cache", "Vary": "Accept", "Content-Type": "application/problem+json", "Allow": "GET",
		} {
			w.Header().Set(name, value)
		}
		status := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, `{"of":"the service"}`)
	})
	for _, status := range []int{200, 201, 304, 400, 404, 409, 413, 422, 500, 503} {
		for _, method := range []string{"GET", "POST"} {
			target := "/posts"
			if method == "POST" {
				target = "/posts/create"
			}
			got := h.send(t, method, fmt.Sprintf("%s?status=%d", target, status), "{}")
			if got.status != status || status != 304 && got.body != `{"of":"the service"}` {
				t.Errorf("%s %d becomes %d %s", method, status, got.status, got.body)
			}
			for _, name := range []string{"Etag", "Link", "Location", "Postbus-Sequence", "Retry-After", "Cache-Control", "Vary", "Allow"} {
				if len(got.header[name]) != 1 {
					t.Errorf("%s %d: %s is %q", method, status, name, got.header[name])
				}
			}
		}
	}
}

func TestABodyHasAtMost64KiB(t *testing.T) {
	received := 0
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received = len(body)
		if r.ContentLength != int64(len(body)) {
			t.Errorf("declared as %d of %d bytes", r.ContentLength, len(body))
		}
		w.WriteHeader(201)
	})
	if got := h.send(t, "POST", "/posts/create", strings.Repeat("x", 64<<10)); got.status != 201 || received != 64<<10 {
		t.Errorf("64 KiB: %d %s, %d bytes arrive", got.status, got.body, received)
	}
	received = -1
	h.send(t, "POST", "/posts/create", strings.Repeat("x", 64<<10+1)).wantProblem(t, 413)
	// Without a length, too.
	res, err := http.Post(h.URL+"/posts/create", "application/json", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 64<<10+1))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != 413 || received != -1 {
		t.Errorf("chunked: %s, %d bytes arrive", res.Status, received)
	}
}

// The host never forwards the body of a GET.
func TestTheBodyOfAGETStaysHere(t *testing.T) {
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Received", string(body))
	})
	if got := h.send(t, "GET", "/posts", "smuggled", "Content-Length: 8").header.Get("Received"); got != "" {
		t.Errorf("the service receives %q", got)
	}
}

func TestWhenTheSidecarRefusesTheServiceIsUnavailable(t *testing.T) {
	calls := 0
	h := hostOf(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(500)
		_, _ = fmt.Fprint(w, `{"errorCode":"ERR_DIRECT_INVOKE","message":"secret addresses"}`)
	})
	for _, test := range []struct {
		method, target, key string
		calls               int
		detail              string
	}{
		{"GET", "/posts", "", 5, "The query service does not answer. Try again."},
		{"HEAD", "/posts", "", 5, ""},
		{"GET", "/posts/x/comments", "", 5, "The comments service does not answer. Try again."},
		{"POST", "/posts/create", "", 1, "The posts service does not answer, so it is not known whether this happened."},
		{"POST", "/posts/create", "k", 5, "Repeat the request with the same Idempotency-Key."},
	} {
		calls = 0
		got := h.send(t, test.method, test.target, "{}", "Idempotency-Key: "+test.key)
		if test.method == "HEAD" {
			if got.status != 503 {
				t.Errorf("HEAD: %d", got.status)
			}
			continue
		}
		if detail := got.wantProblem(t, 503); !strings.Contains(detail, test.detail) {
			t.Errorf("%s %s: %s", test.method, test.target, detail)
		}
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("%s %s: Retry-After %q", test.method, test.target, got.header.Get("Retry-After"))
		}
		if calls != test.calls {
			t.Errorf("%s %s: called %d times, want %d", test.method, test.target, calls, test.calls)
		}
	}
}

func TestWithoutASidecarTheServicesAreUnavailable(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	h := hostOf(t, nil, func(h *Host) { h.Sidecar = gone.URL })
	h.send(t, "GET", "/posts", "").wantProblem(t, 503)
	h.send(t, "POST", "/posts/create", "{}").wantProblem(t, 503)
}

// stream opens the live stream.
func (h running) stream(ctx context.Context, t *testing.T, accept string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+"/posts", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Last-Event-ID", "6")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// A stream beyond the bound is refused. Short requests are still answered.
func TestStreamsHaveABound(t *testing.T) {
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.Header.Get("Accept"), "text/event-stream") {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	for range 10 { // as many as hostOf lets there be
		if res := h.stream(ctx, t, "text/event-stream"); res.StatusCode != http.StatusOK {
			t.Fatalf("answered %d", res.StatusCode)
		}
	}
	if res := h.stream(t.Context(), t, "text/event-stream"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("one more is answered %d", res.StatusCode)
	}
	if res := h.stream(t.Context(), t, "application/json"); res.StatusCode != http.StatusOK {
		t.Errorf("a short request is answered %d", res.StatusCode)
	}
	leave()
	for end := time.Now().Add(10 * time.Second); ; { // until the host has noticed
		ctx, cancel := context.WithCancel(t.Context())
		status := h.stream(ctx, t, "text/event-stream").StatusCode
		cancel()
		if status == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after they have left: %d", status)
		}
	}
}

func TestTheStreamFlowsAsItComes(t *testing.T) {
	next, left := make(chan string), make(chan bool, 1)
	h := hostOf(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept"); len(r.Header["Accept"]) != 1 || got == "text/event-stream" || !strings.HasPrefix(got, "text/event-stream,") {
			t.Errorf("the sidecar is asked for %q, and would do it in its own way", got)
		}
		if got := r.Header.Get("Last-Event-ID"); got != "6" {
			t.Errorf("Last-Event-ID is %q", got)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case line := <-next:
				_, _ = fmt.Fprint(w, line)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				left <- true
				return
			}
		}
	})
	for _, name := range []string{"the visitor leaves", "the host stops"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { next <- "id: 7\n" }()
		res := h.stream(ctx, t, "text/event-stream")
		lines := bufio.NewScanner(res.Body)
		for i := range 3 { // each is read before the next is written
			if i > 0 {
				next <- fmt.Sprintf("id: %d\n", 7+i)
			}
			if !lines.Scan() || lines.Text() != fmt.Sprintf("id: %d", 7+i) {
				t.Fatalf("%s: line %d is %q, %v", name, i, lines.Text(), lines.Err())
			}
		}
		if name == "the host stops" {
			h.stop()
		} else {
			cancel()
		}
		if lines.Scan() {
			t.Errorf("%s: then comes %q", name, lines.Text())
		}
		if name == "the host stops" && lines.Err() != nil {
			t.Errorf("the stream is cut off, not ended: %v", lines.Err())
		}
		select {
		case <-left:
		case <-time.After(10 * time.Second):
			t.Errorf("%s, and the call of the service goes on", name)
		}
		cancel()
	}
}
