// Package service runs a service as a process: two listeners, the connection to the
// sidecar, logs and traces, from start to graceful stop. What the service does is in its
// own packages, which get all of that as arguments.
package service

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// tracesTimeout bounds how long a stop waits for the traces to be sent.
	tracesTimeout = 5 * time.Second
	// readyTimeout bounds how long the sidecar's health check may take.
	readyTimeout = time.Second
)

// Service is a running service. Routes are added before Run.
type Service struct {
	// Name is the Dapr app id.
	Name string
	// Dapr is the client of the sidecar. It connects at the first call, and again
	// whenever the connection breaks. Without a connection a call fails at once.
	Dapr dapr.Client
	// Sidecar is the base URL of the sidecar's HTTP API.
	Sidecar string
	// Public serves the API and the probes, to everybody.
	Public *gin.Engine
	// Channel is the Dapr app channel, on loopback. The sidecar delivers events to it,
	// and calls the API for other apps (service invocation).
	Channel *gin.Engine
	// Stopping is done when the service must stop. Streams and long polls end then. Every
	// other request is still answered.
	Stopping context.Context
	// Streams bounds the streams of both listeners together. It leaves a quarter of a
	// listener's connections for probes, deliveries and short requests.
	Streams web.Streams
	// Ready, if set, returns why the service is not ready, or nil.
	Ready func() error

	purpose     string
	settings    settings
	stores      []*state.Sidecar
	closeTraces func(context.Context) error
}

// New reads the command line, and the environment that `dapr run` and the Dapr injector
// set. It exits the process if they are invalid. Port is the default of the public port.
func New(name, purpose string, port int) *Service {
	s := &Service{
		Name: Env("APP_ID", name), purpose: purpose, closeTraces: startTraces(name),
		Sidecar: fmt.Sprintf("http://127.0.0.1:%d", intEnv("DAPR_HTTP_PORT", 3500)),
		Public:  web.NewEngine(), Channel: web.NewEngine(),
	}
	slog.SetDefault(newLog(name))
	s.settings = readSettings(name, purpose, port)
	s.Stopping, _ = signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	if s.settings.pprofPort > 0 {
		go serveProfiles(s.settings.pprofPort)
	}
	client, err := connect(intEnv("DAPR_GRPC_PORT", 50001))
	if err != nil {
		exit(err)
	}
	s.Dapr = client
	s.Streams = make(web.Streams, s.settings.connections-s.settings.connections/4)
	s.guard(os.Getenv("ALLOWED_HOSTS"), os.Getenv("APP_API_TOKEN"))
	s.Public.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	s.Public.GET("/readyz", s.readyz)
	return s
}

// guard has both engines refuse requests that are not for them. A public port that only
// this machine reaches answers under this machine's names, its own host and the allowed
// names, which are separated by commas. Any other public port answers under every name,
// or only under the allowed names if there are any.
func (s *Service) guard(allowed, token string) {
	if err := s.Public.SetTrustedProxies(listed(os.Getenv("TRUSTED_PROXIES"))); err != nil {
		exit(fmt.Errorf("TRUSTED_PROXIES: %w", err))
	}
	s.Public.Use(web.WellFormedHead)
	var names []string
	for _, name := range listed(allowed) {
		names = append(names, web.HostName(name))
	}
	if onLoopback(s.settings.host) || len(names) > 0 {
		s.Public.Use(web.OnlyHosts(append(names, web.HostName(s.settings.host))...))
	}
	s.Channel.Use(web.RefuseBrowsers, web.OnlyHosts(), web.FromHost)
	if token != "" {
		s.Channel.Use(requireToken(token))
	}
}

// listed are the parts of a variable, with commas between them.
func listed(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// requireToken accepts requests of the sidecar only
// (https://docs.dapr.io/operations/security/app-api-token/).
func requireToken(token string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if subtle.ConstantTimeCompare([]byte(c.GetHeader(APIToken)), []byte(token)) != 1 {
			web.Fail(c, web.NewProblem(http.StatusUnauthorized, "The app channel is for the sidecar alone."))
		}
	}
}

// API adds routes to both listeners, and to the public one a list of them at /.
func (s *Service) API(routes func(gin.IRoutes)) {
	routes(s.Public.Group("/", web.WellFormedQuery))
	routes(s.Channel.Group("/", web.WellFormedQuery))
	s.Public.GET("/", s.about)
}

// about answers what the service is and which routes it has.
func (s *Service) about(c *gin.Context) {
	var routes []string
	for _, r := range s.Public.Routes() {
		routes = append(routes, r.Method+" "+r.Path)
	}
	slices.Sort(routes)
	c.IndentedJSON(http.StatusOK, gin.H{"service": s.Name, "purpose": s.purpose, "routes": routes})
	_, _ = c.Writer.WriteString("\n")
}

// Store returns a state store component of the sidecar. Run exits the process if it does not
// keep the state contract.
func (s *Service) Store(component string) *state.Sidecar {
	store := state.New(s.Dapr, component)
	s.stores = append(s.stores, store)
	return store
}

// Identity returns the guard of the people whom the environment names, and the task of Run
// that keeps their issuer's keys in the store. It exits the process if the environment can't
// be used.
func (s *Service) Identity(store state.Store) (guard *identity.Guard, run func(context.Context)) {
	settings, err := identity.Read(os.Getenv)
	if err != nil {
		exit(err)
	}
	if settings.Issuer != nil {
		slog.Info("people sign in", "issuer", settings.Issuer.URL, "audience", settings.Issuer.Audience, "guests", settings.Guests)
	}
	return settings.Guard(store)
}

// Limits returns the limits that the environment names. It exits the process if that can't be
// used.
func (s *Service) Limits() *limit.Limits {
	rules, err := limit.Parse(os.Getenv("LIMITS"))
	if err != nil {
		exit(fmt.Errorf("LIMITS: %w", err))
	}
	return limit.New(rules, time.Now)
}

// readyz answers 200 if the service can do its work, otherwise 503 with the reason.
func (s *Service) readyz(c *gin.Context) {
	if err := s.sidecarReady(); err != nil {
		web.Fail(c, web.Unavailable("The sidecar is not ready: "+err.Error()))
		return
	}
	if s.Ready != nil {
		if err := s.Ready(); err != nil {
			web.Fail(c, web.Unavailable(err.Error()))
			return
		}
	}
	c.String(http.StatusOK, "ready\n")
}

// sidecarReady asks for the sidecar's outbound health. Its other health check waits for
// this app, which may wait for its own readiness.
func (s *Service) sidecarReady() error {
	res, err := (&http.Client{Timeout: readyTimeout}).Get(s.Sidecar + "/v1.0/healthz/outbound")
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode >= http.StatusMultipleChoices {
		return errors.New(res.Status)
	}
	return nil
}

// Run serves until SIGTERM or SIGINT, and returns when all requests under way are
// answered. The background tasks run meanwhile, and are cancelled after the last answer.
// It exits the process with 1 if it cannot serve.
func (s *Service) Run(background ...func(context.Context)) {
	servers, err := s.listen()
	if err != nil {
		exit(err)
	}
	tasks, cancelTasks := context.WithCancel(context.Background())
	defer cancelTasks()
	var running sync.WaitGroup
	for _, task := range background {
		running.Go(func() { task(tasks) })
	}
	failed := make(chan error, len(servers)+len(s.stores))
	for _, store := range s.stores {
		running.Go(func() {
			if err := store.Await(tasks); errors.Is(err, state.ErrUnfit) {
				failed <- err
			}
		})
	}
	for _, server := range servers {
		go func() { failed <- server.serve() }()
	}
	slog.Info("serving", "host", s.settings.host, "port", s.settings.port, "appPort", s.settings.appPort)

	select {
	case err := <-failed:
		exit(err)
	case <-s.Stopping.Done():
	}
	slog.Info("stopping")
	for _, server := range servers {
		if err := server.stop(); err != nil {
			slog.Warn("requests were cut off", "error", err)
		}
	}
	cancelTasks()
	running.Wait()
	s.close()
	slog.Info("stopped")
}

// listen opens both ports. The public server is first, so that it stops first: its last
// requests may need events that arrive on the channel.
func (s *Service) listen() ([]*server, error) {
	public, err := listen(s.settings.host, s.settings.port, s.settings.connections, s.Public)
	if err != nil {
		return nil, fmt.Errorf("public port: %w (stop what holds the port, or choose another with -port or PORT)", err)
	}
	channel, err := listen("127.0.0.1", s.settings.appPort, s.settings.connections, s.Channel)
	if err != nil {
		return nil, fmt.Errorf("app channel: %w (stop what holds the port, or choose another with -app-port or APP_PORT)", err)
	}
	return []*server{public, channel}, nil
}

// close flushes the traces and closes the connection to the sidecar.
func (s *Service) close() {
	ctx, cancel := context.WithTimeout(context.Background(), tracesTimeout)
	defer cancel()
	if err := s.closeTraces(ctx); err != nil {
		slog.Warn("traces were lost", "error", err)
	}
	s.Dapr.Close()
}

func exit(err error) {
	slog.Error("can't serve", "error", err)
	os.Exit(1)
}

// Env is the environment variable with that name, or otherwise if it is empty.
func Env(name, otherwise string) string { return cmp.Or(os.Getenv(name), otherwise) }
