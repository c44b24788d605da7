// Client serves the React client in web/, and forwards the API to the services by
// Dapr service invocation, so that one address serves all of Postbus.
package main

import (
	"embed"
	"log/slog"
	"os"

	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/internal/web"
)

// build has web/dist, if `npm run build` has made it. web/dist.txt is always there,
// so that there is something to embed.
//
//go:embed all:web/dist*
var build embed.FS

func main() {
	s := service.New("client", "serves the React client, and the services' API at the same address", 3000)
	site, err := newSite(build, "web/dist")
	if err != nil {
		slog.Error("the built client is of no use", "error", err)
		os.Exit(1)
	}
	visitors := newEdge(s.Public)
	site.routes(visitors)
	newProxy(s.Stopping, s.Sidecar, s.Streams).routes(visitors.Group("/", web.WellFormedQuery))
	s.Run()
}
