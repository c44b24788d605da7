package service

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"
)

// serveProfiles serves the runtime's profiles (https://pkg.go.dev/net/http/pprof)
// on loopback, for as long as the process lives. A service asks for it with
// PPROF_PORT; a port that is taken costs the profiles and nothing else.
func serveProfiles(port int) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Addr: fmt.Sprintf("127.0.0.1:%d", port), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	slog.Warn("no profiles", "error", server.ListenAndServe())
}
