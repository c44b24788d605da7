package main

import (
	"context"

	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/components-contrib/middleware/http/routerchecker"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	stateredis "github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/kit/logger"
)

// contrib is the components' logger. It exists before main applies the options to all
// loggers.
var contrib = logger.NewLogger("dapr.contrib")

// register makes the components known to the runtime, by the names that components/
// uses. A component that is not registered here can't be loaded.
func register() {
	state.DefaultRegistry.Logger = contrib
	state.DefaultRegistry.RegisterComponent(stateredis.NewRedisStateStore, "redis")

	pubsub.DefaultRegistry.Logger = contrib
	pubsub.DefaultRegistry.RegisterComponent(pubsubredis.NewRedisStreams, "redis")

	http.DefaultRegistry.Logger = contrib
	http.DefaultRegistry.RegisterComponent(func(log logger.Logger) http.FactoryMethod {
		return func(metadata contribmiddleware.Metadata) (middleware.HTTP, error) {
			return routerchecker.NewMiddleware(log).GetHandler(context.Background(), metadata)
		}
	}, "routerchecker")

	nameresolution.DefaultRegistry.Logger = contrib
	nameresolution.DefaultRegistry.RegisterComponent(sqlite.NewResolver, "sqlite")
	// The runtime's default, for a configuration that names no other.
	nameresolution.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
}
