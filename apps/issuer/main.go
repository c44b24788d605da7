// Issuer is the development issuer: it signs anybody in as the person that they pick, without
// a password. It is for one's own machine, and for nothing else.
package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/internal/service"
	"github.com/postbus/postbus/apps/issuer/issuer"
)

const (
	headTimeout = 5 * time.Second
	stopTimeout = 5 * time.Second
)

func main() {
	host, port := service.Env("HOST", "127.0.0.1"), service.Env("PORT", "4006")
	url := service.Env("ISSUER", "http://localhost:"+port)
	dev := os.Getenv("DEV_ISSUER")
	if err := issuer.CheckPrivate(host, url, dev); err != nil {
		exit(err)
	}
	handler, err := issuer.New(url, dev)
	if err != nil {
		exit(err)
	}
	if host == "*" {
		host = ""
	}
	server := &http.Server{Addr: net.JoinHostPort(host, port), Handler: handler, ReadHeaderTimeout: headTimeout}
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-stopping.Done()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	slog.Info("anybody can sign in here as anybody: this is the development issuer", "issuer", url, "address", server.Addr)
	if err := server.ListenAndServe(); err != http.ErrServerClosed { //nolint:errorlint // net/http returns it so
		exit(err)
	}
}

func exit(err error) {
	slog.Error("can't serve", "error", err)
	os.Exit(1)
}
