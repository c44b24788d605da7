package service

import (
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// serveProfiles serves the runtime's profiles (https://pkg.go.dev/net/http/pprof)
// on loopback, for as long as the process lives. A service asks for it with
// PPROF_PORT; a port that is taken costs the profiles and nothing else.
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
