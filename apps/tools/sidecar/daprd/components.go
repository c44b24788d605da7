package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/routerchecker"
	contribnames "github.com/dapr/components-contrib/nameresolution"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	"github.com/dapr/components-contrib/pubsub/rabbitmq"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	postgresql "github.com/dapr/components-contrib/state/postgresql/v2"
	stateredis "github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/dapr/pkg/components"
	httpmiddleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/kit/logger"
)

// contrib is the components' logger. It must exist before main applies the options to all
// loggers.
var contrib = logger.NewLogger("dapr.contrib")

// register registers the components that components/ uses, under their names. The runtime
// cannot load any other component.
func register() {
	state.DefaultRegistry.Logger = contrib
	state.DefaultRegistry.RegisterComponent(stateredis.NewRedisStateStore, "redis")
	state.DefaultRegistry.RegisterComponentWithVersions("postgresql", components.Versioning{
		Preferred: components.VersionConstructor{Version: "v2", Constructor: postgresql.NewPostgreSQLStateStore},
		Default:   "v2",
	})

	pubsub.DefaultRegistry.Logger = contrib
	pubsub.DefaultRegistry.RegisterComponent(pubsubredis.NewRedisStreams, "redis")
	pubsub.DefaultRegistry.RegisterComponent(rabbitmq.NewRabbitMQ, "rabbitmq")
	pubsub.DefaultRegistry.RegisterComponent(jetstream.NewJetStream, "jetstream")

	httpmiddleware.DefaultRegistry.Logger = contrib
	httpmiddleware.DefaultRegistry.RegisterComponent(func(log logger.Logger) httpmiddleware.FactoryMethod {
		return func(metadata contribmiddleware.Metadata) (middleware.HTTP, error) {
			check, err := routerchecker.NewMiddleware(log).GetHandler(context.Background(), metadata)
			return func(next http.Handler) http.Handler { return check(byAddress(next)) }, err
		}
	}, "routerchecker")

	nameresolution.DefaultRegistry.Logger = contrib
	nameresolution.DefaultRegistry.RegisterComponent(func(log logger.Logger) contribnames.Resolver {
		return names{sqlite.NewResolver(log)}
	}, "sqlite")
	// The default of a configuration without name resolution.
	nameresolution.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
}

// byAddress makes the checked address decide which app is called. Before it looks at the
// address, Dapr takes an app's id, or any URL, from these headers
// (dapr/pkg/api/http/directmessaging.go, findTargetIDAndMethod, in 1.18.2).
// dapr/dapr#8495 met the same by accident; its fix only stops passing the header on. It
// can go when the headers no longer override the address.
func byAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Dapr-App-Id")
		if strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") {
			r.Header.Del("Authorization")
		}
		next.ServeHTTP(w, r)
	})
}

// names is the resolver of apps' addresses. It mends two faults of the one that it has.
type names struct{ contribnames.Resolver }

const (
	// lockedFor is how long the database may be locked at the start of a sidecar.
	lockedFor = 30 * time.Second
	// lockedPause is the pause between two tries.
	lockedPause = 200 * time.Millisecond
)

// Init tries again while others have the database locked, as on a busy machine (it waits 2 s
// by itself). A runtime whose resolver fails to start logs that and goes on: nobody finds its
// app, for good (initRuntime in dapr/pkg/runtime/runtime.go, 1.18.2; no issue found). It can
// go when the runtime ends, or tries again.
func (n names) Init(ctx context.Context, metadata contribnames.Metadata) error {
	for started := time.Now(); ; {
		err := n.Resolver.Init(ctx, metadata)
		if err == nil || !strings.Contains(err.Error(), "SQLITE_BUSY") || time.Since(started) > lockedFor {
			return err
		}
		select {
		case <-time.After(lockedPause):
		case <-ctx.Done():
			return err
		}
	}
}

// ResolveID looks up an app's address. It lets a lookup finish when its caller gives up. That
// takes at most the component's timeout. Otherwise the driver (modernc.org/sqlite) interrupts
// the connection, which then fails for others or stays broken: a sidecar's every lookup and
// renewal failed from then on. superseriousbusiness/gotosocial#2731 found the same; no
// issue found in Dapr. It can go when the driver interrupts the caller's query alone.
func (n names) ResolveID(ctx context.Context, req contribnames.ResolveRequest) (string, error) {
	return n.Resolver.ResolveID(context.WithoutCancel(ctx), req)
}
