package service

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/net/netutil"

	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// headTimeout bounds the time that a client may take to send a request's header
	// fields, requestTimeout that for the whole request. Both hold for every handler.
	// They end where the body ends, and do not bound the answer.
	headTimeout    = 5 * time.Second
	requestTimeout = 15 * time.Second
	// idleTimeout bounds how long a connection waits for its next request.
	idleTimeout = time.Minute
	// maxHeadBytes is the bound at which net/http itself refuses header fields, with a
	// 431 in plain text. web.WellFormedHead's bound is lower.
	maxHeadBytes = 2 * web.MaxHead
	// maxConnections bounds the connections of a listener. Further ones wait. A
	// connection takes at most some 40 KB while it sends its header fields.
	maxConnections = 2_048
	// stopTimeout bounds how long a stopping server waits for the requests under way.
	stopTimeout = web.AnswerWithin + 1500*time.Millisecond
)

// server is one listener and its HTTP server.
type server struct {
	http.Server
	listener net.Listener
}

// listen opens a port on a host. "*" means every interface of the machine.
func listen(host string, port, connections int, handler http.Handler) (*server, error) {
	if host == "*" {
		host = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return newServer(netutil.LimitListener(l, connections), handler), nil
}

// onLoopback reports whether only this machine can reach a listener on the host.
func onLoopback(host string) bool {
	address, err := net.ResolveIPAddr("ip", host)
	return host != "*" && host != "" && err == nil && address.IP.IsLoopback()
}

func newServer(l net.Listener, handler http.Handler) *server {
	return &server{listener: l, Server: http.Server{
		Handler: handler, ReadHeaderTimeout: headTimeout, ReadTimeout: requestTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeadBytes, ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}}
}

func (s *server) serve() error { return s.Serve(s.listener) }

// stop answers the requests under way. It cuts off those that take longer than
// stopTimeout.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		_ = s.Close()
		return fmt.Errorf("after %s: %w", stopTimeout, err)
	}
	return nil
}

// serveProfiles serves the runtime's profiles (https://pkg.go.dev/net/http/pprof) on
// loopback, as long as the process lives. If the port is taken, there are no profiles.
func serveProfiles(port int) {
	server, err := listen("127.0.0.1", port, maxConnections, profiles())
	if err == nil {
		err = server.serve()
	}
	slog.Warn("no profiles", "error", err)
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	engine := web.NewEngine()
	engine.Use(web.WellFormedHead, web.OnlyHosts())
	engine.GET("/debug/pprof/*profile", gin.WrapH(mux))
	return engine
}
