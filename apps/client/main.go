// Client serves the React client in web/, and forwards the API to the services by
// Dapr service invocation, so that one address serves all of Postbus.
package main

import (
	"embed"
	"io/fs"
	"log/slog"
	"os"

	"github.com/postbus/postbus/apps/client/host"
	"github.com/postbus/postbus/apps/client/signin"
	"github.com/postbus/postbus/apps/internal/service"
)

// built contains web/dist, if `npm run build` has made it. web/dist.txt always exists,
// because the directive below needs at least one file.
//
//go:embed all:web/dist*
var built embed.FS

func main() {
	s := service.New("client", "serves the React client, and the services' API at the same address", 3000)
	people, err := signIn(s)
	if err == nil {
		err = routes(s, people)
	}
	if err != nil {
		slog.Error("can't serve", "error", err)
		os.Exit(1)
	}
	s.Run(people.Run)
}

func signIn(s *service.Service) (*signin.SignIn, error) {
	config, err := signin.Read(os.Getenv)
	if err != nil {
		return nil, err
	}
	config.Store = s.Store("client-store")
	if config.Issuer != nil {
		slog.Info("people sign in", "issuer", config.Issuer.URL, "client", config.ClientID, "at", config.Public)
	}
	return signin.New(config, s.Limits())
}

func routes(s *service.Service, people *signin.SignIn) error {
	dist, err := fs.Sub(built, "web/dist")
	if err != nil {
		return err
	}
	h := host.Host{
		Files: dist, Sidecar: s.Sidecar, Token: os.Getenv("DAPR_API_TOKEN"), Transport: host.NewTransport(),
		Posts:    service.Env("POSTS_APP_ID", "posts"),
		Comments: service.Env("COMMENTS_APP_ID", "comments"),
		Query:    service.Env("QUERY_APP_ID", "query"), Moderation: service.Env("MODERATION_APP_ID", "moderation"),
		SignIn: people, Streams: s.Streams, Stopping: s.Stopping,
	}
	return h.Routes(s.Public)
}
