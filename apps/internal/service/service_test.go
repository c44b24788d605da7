package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/postbus/postbus/apps/internal/web"
)

// get requests a path of h, under the name localhost or the given host.
func get(h http.Handler, path string, header http.Header, host ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	if len(host) > 0 {
		req.Host = host[0]
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	return res
}

// asProcess makes New see this environment and command line.
func asProcess(t *testing.T, env map[string]string, args ...string) {
	t.Helper()
	for _, name := range []string{"APP_ID", "HOST", "ALLOWED_HOSTS", "MAX_CONNECTIONS", "PORT", "APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT", "DAPR_API_TOKEN", "APP_API_TOKEN", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		t.Setenv(name, env[name])
	}
	argv, log := os.Args, slog.Default()
	os.Args = append([]string{"test"}, args...)
	t.Cleanup(func() {
		os.Args = argv
		slog.SetDefault(log)
		otel.SetTracerProvider(noop.NewTracerProvider())
	})
}

func TestTheAppChannelLetsOnlyTheSidecarIn(t *testing.T) {
	asProcess(t, map[string]string{"APP_API_TOKEN": "secret"})
	s := New("test", "tests", 0)
	calls := 0
	s.API(func(r gin.IRoutes) {
		r.GET("/thing", func(c *gin.Context) { calls++; c.Status(http.StatusNoContent) })
	})
	for name, test := range map[string]struct {
		header http.Header
		path   string
		status int
	}{
		"the token":                     {http.Header{"Dapr-Api-Token": {"secret"}}, "/thing", 204},
		"no token":                      {nil, "/thing", 401},
		"an empty token":                {http.Header{"Dapr-Api-Token": {""}}, "/thing", 401},
		"another token":                 {http.Header{"Dapr-Api-Token": {"Secret"}}, "/thing", 401},
		"the beginning of the token":    {http.Header{"Dapr-Api-Token": {"secre"}}, "/thing", 401},
		"more than the token":           {http.Header{"Dapr-Api-Token": {"secrets"}}, "/thing", 401},
		"the token as a bearer's":       {http.Header{"Authorization": {"Bearer secret"}}, "/thing", 401},
		"no token for a path not there": {nil, "/nothing", 401},
	} {
		t.Run(name, func(t *testing.T) {
			before := calls
			res := get(s.Channel, test.path, test.header)
			if res.Code != test.status {
				t.Errorf("answered %d: %s", res.Code, res.Body)
			}
			if reached := calls > before; reached != (test.status == 204) {
				t.Errorf("reached the handler: %v", reached)
			}
			if test.status == 401 && res.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("answered %s, which is no problem document", res.Body)
			}
		})
	}
	if res := get(s.Public, "/thing", nil); res.Code != http.StatusNoContent {
		t.Errorf("the public listener asks for the token as well: %d", res.Code)
	}
}

func TestWithoutATokenTheAppChannelAsksForNone(t *testing.T) {
	asProcess(t, nil)
	s := New("test", "tests", 0)
	s.API(func(r gin.IRoutes) {
		r.GET("/thing", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	})
	if res := get(s.Channel, "/thing", nil); res.Code != http.StatusNoContent {
		t.Errorf("answered %d", res.Code)
	}
}

func TestTheAppChannelRefusesWebPages(t *testing.T) {
	asProcess(t, nil)
	s := New("test", "tests", 0)
	s.API(func(r gin.IRoutes) {
		r.GET("/thing", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	})
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		header := http.Header{name: {"cross-site"}}
		if res := get(s.Channel, "/thing", header); res.Code != http.StatusForbidden {
			t.Errorf("%s: answered %d", name, res.Code)
		}
		if res := get(s.Public, "/thing", header); res.Code != http.StatusNoContent {
			t.Errorf("%s: the public port answers %d", name, res.Code)
		}
	}
	if res := get(s.Channel, "/thing", nil, "evil.example"); res.Code != http.StatusMisdirectedRequest {
		t.Errorf("another name: answered %d", res.Code)
	}
}

func TestTheProfilesAreForThisMachine(t *testing.T) {
	if res := get(profiles(), "/debug/pprof/goroutine?debug=1", nil); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "goroutine") {
		t.Errorf("answered %d: %.100s", res.Code, res.Body)
	}
	if res := get(profiles(), "/debug/pprof/", nil, "evil.example"); res.Code != http.StatusMisdirectedRequest {
		t.Errorf("another name: answered %d", res.Code)
	}
}

// The public listener has no delivery routes, and the channel no probes.
func TestTheListenersShareNothingButTheAPI(t *testing.T) {
	asProcess(t, nil)
	s := New("test", "tests", 0)
	s.Channel.GET("/deliver", func(c *gin.Context) { c.Status(http.StatusOK) })
	if res := get(s.Public, "/deliver", nil); res.Code != http.StatusNotFound {
		t.Errorf("the channel's route is public: %d", res.Code)
	}
	if res := get(s.Public, "/healthz", nil); res.Code != http.StatusOK {
		t.Errorf("not alive: %d", res.Code)
	}
}

func TestPortsComeFromFlagsThenTheEnvironmentThenTheService(t *testing.T) {
	for name, test := range map[string]struct {
		env           map[string]string
		args          []string
		port, appPort int
		sidecar       string
	}{
		"nothing said":       {nil, nil, 4000, 4100, "http://127.0.0.1:3500"},
		"the environment":    {map[string]string{"PORT": "1", "APP_PORT": "2", "DAPR_HTTP_PORT": "3"}, nil, 1, 2, "http://127.0.0.1:3"},
		"flags":              {map[string]string{"PORT": "1", "APP_PORT": "2"}, []string{"-port", "5", "-app-port=6"}, 5, 6, "http://127.0.0.1:3500"},
		"no numbers in them": {map[string]string{"PORT": "x", "APP_PORT": "", "DAPR_HTTP_PORT": "http"}, nil, 4000, 4100, "http://127.0.0.1:3500"},
	} {
		t.Run(name, func(t *testing.T) {
			asProcess(t, test.env, test.args...)
			s := New("test", "tests", 4000)
			if s.settings.port != test.port || s.settings.appPort != test.appPort || s.Sidecar != test.sidecar {
				t.Errorf("port %d, app port %d, sidecar %s; want %+v", s.settings.port, s.settings.appPort, s.Sidecar, test)
			}
		})
	}
}

func TestTheAppIDIsTheServicesNameUnlessDaprSaysOtherwise(t *testing.T) {
	asProcess(t, nil)
	if s := New("test", "tests", 0); s.Name != "test" {
		t.Errorf("got %s", s.Name)
	}
	asProcess(t, map[string]string{"APP_ID": "other"})
	if s := New("test", "tests", 0); s.Name != "other" {
		t.Errorf("got %s", s.Name)
	}
}

func TestReadyWhenTheSidecarAndTheServiceAre(t *testing.T) {
	for name, test := range map[string]struct {
		sidecar int
		ready   func() error
		status  int
		says    string
	}{
		"both are":             {http.StatusNoContent, func() error { return nil }, 200, "ready"},
		"nothing to wait for":  {http.StatusNoContent, nil, 200, "ready"},
		"the sidecar isn't":    {http.StatusInternalServerError, nil, 503, "500"},
		"the service isn't":    {http.StatusNoContent, func() error { return errors.New("catching up") }, 503, "catching up"},
		"the sidecar is gone":  {0, nil, 503, "sidecar"},
		"neither is, so which": {http.StatusBadGateway, func() error { return errors.New("catching up") }, 503, "502"},
	} {
		t.Run(name, func(t *testing.T) {
			asProcess(t, nil)
			s := New("test", "tests", 0)
			var asked string
			sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.Path
				w.WriteHeader(test.sidecar)
			}))
			s.Sidecar = sidecar.URL
			if test.sidecar == 0 {
				sidecar.Close()
			} else {
				defer sidecar.Close()
			}
			s.Ready = test.ready
			res := get(s.Public, "/readyz", nil)
			if res.Code != test.status || !strings.Contains(res.Body.String(), test.says) {
				t.Errorf("answered %d %s, want %d and %q", res.Code, res.Body, test.status, test.says)
			}
			if (res.Header().Get("Retry-After") != "") != (test.status == 503) {
				t.Errorf("Retry-After is %q", res.Header().Get("Retry-After"))
			}
			// The full health check waits for this app, which waits for the sidecar.
			if test.sidecar != 0 && asked != "/v1.0/healthz/outbound" {
				t.Errorf("asked for %s", asked)
			}
		})
	}
}

func TestRunAnswersUntilItStopsAndLeavesNothingBehind(t *testing.T) {
	asProcess(t, nil, "-port=0", "-app-port=0")
	// Signal handlers and clients of other tests live as long as the process.
	before := goleak.IgnoreCurrent()
	stop, cancel := context.WithCancel(context.Background())
	client, err := connect(1)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{
		Name: "test", Dapr: client, Public: web.NewEngine(), Channel: web.NewEngine(), Stopping: stop,
		settings: settings{host: "127.0.0.1", connections: 10}, closeTraces: startTraces("test"),
	}
	var ended atomic.Int32
	started, cancelled, release := make(chan struct{}, 2), make(chan struct{}, 2), make(chan struct{})
	task := func(ctx context.Context) {
		started <- struct{}{}
		<-ctx.Done()
		cancelled <- struct{}{}
		<-release
		ended.Add(1)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(task, task)
	}()
	<-started
	<-started
	select {
	case <-done:
		t.Fatal("it stopped by itself")
	default:
	}
	cancel()
	<-cancelled
	<-cancelled
	select {
	case <-done:
		t.Error("it did not wait for its tasks")
	case <-time.After(20 * time.Millisecond): // as long as it waits, nothing happens
	}
	close(release)
	<-done
	if ended.Load() != 2 {
		t.Errorf("%d background tasks had ended, want 2", ended.Load())
	}
	goleak.VerifyNone(t, before)
}

func TestCallsOfTheSidecarCarryTheTokenAndTheTrace(t *testing.T) {
	asProcess(t, nil)
	stop := startTraces("test")
	t.Cleanup(func() { _ = stop(context.Background()) })
	inTrace, span := otel.Tracer("test").Start(context.Background(), "test")
	defer span.End()
	for name, test := range map[string]struct {
		token string
		ctx   context.Context
		want  map[string]string
	}{
		"neither":  {"", context.Background(), nil},
		"a token":  {"secret", context.Background(), map[string]string{"dapr-api-token": "secret"}},
		"a trace":  {"", inTrace, map[string]string{"traceparent": web.TraceParent(inTrace)}},
		"both too": {"secret", inTrace, map[string]string{"dapr-api-token": "secret", "traceparent": web.TraceParent(inTrace)}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent metadata.MD
			err := outgoing(test.token)(test.ctx, "/method", nil, nil, nil, func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				sent, _ = metadata.FromOutgoingContext(ctx)
				return errors.New("passed on")
			})
			if err == nil || err.Error() != "passed on" {
				t.Errorf("error %v", err)
			}
			got := map[string]string{}
			for key, values := range sent {
				got[key] = strings.Join(values, ",")
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("sent %v, want %v", got, test.want)
			}
		})
	}
}

// Trace ids exist without a collector, too. They connect the log lines of one request in
// all services.
func TestEveryRequestHasATraceID(t *testing.T) {
	asProcess(t, nil)
	stop := startTraces("test")
	t.Cleanup(func() { _ = stop(context.Background()) })
	engine := web.NewEngine()
	var seen []string
	engine.GET("/", func(c *gin.Context) { seen = append(seen, web.TraceParent(c.Request.Context())) })
	get(engine, "/", nil)
	get(engine, "/", nil)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	get(engine, "/", http.Header{"Traceparent": {parent}})
	if seen[0] == "" || seen[1] == "" || seen[0][:35] == seen[1][:35] {
		t.Errorf("two requests without trace are in %q and %q", seen[0], seen[1])
	}
	if seen[2][:35] != parent[:35] {
		t.Errorf("a request in %q is in %q", parent, seen[2])
	}
}

func TestTheLogLevelComesFromTheEnvironment(t *testing.T) {
	for text, want := range map[string]slog.Level{
		"": slog.LevelInfo, "debug": slog.LevelDebug, "WARN": slog.LevelWarn, "error": slog.LevelError, "nonsense": slog.LevelInfo,
	} {
		t.Setenv("LOG_LEVEL", text)
		log := newLog("test")
		if !log.Enabled(context.Background(), want) || log.Enabled(context.Background(), want-1) {
			t.Errorf("%q does not log from %v on", text, want)
		}
	}
}

func TestAnEmptyEnvironmentVariableIsNone(t *testing.T) {
	t.Setenv("POSTBUS_TEST", "")
	if got := Env("POSTBUS_TEST", "otherwise"); got != "otherwise" {
		t.Errorf("got %q", got)
	}
	t.Setenv("POSTBUS_TEST", "x")
	if got := Env("POSTBUS_TEST", "otherwise"); got != "x" {
		t.Errorf("got %q", got)
	}
}
