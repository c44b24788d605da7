package service

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/postbus/postbus/apps/internal/web"
)

// settings are the options of a service.
type settings struct {
	host          string
	port, appPort int
	connections   int
	pprofPort     int
}

// readSettings reads the command line and the environment. It exits the process if they
// are invalid.
func readSettings(name, purpose string, port int) settings {
	s := settings{pprofPort: intEnv("PPROF_PORT", 0)}
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(flags.Output(), "%s: %s\n\nUsage: %s [flags]\n", name, purpose, name)
		flags.PrintDefaults()
		_, _ = fmt.Fprint(flags.Output(), "\nAlso read: DAPR_GRPC_PORT, DAPR_HTTP_PORT, DAPR_API_TOKEN, APP_API_TOKEN, LOG_LEVEL, ALLOWED_HOSTS, TRUSTED_PROXIES, PPROF_PORT, OTEL_EXPORTER_OTLP_ENDPOINT.\n"+
			"Posts, comments, moderation and the client also read ISSUER, AUDIENCE, ROLES_CLAIM, ROLES, GUESTS, SUBJECT_KEY, LIMITS, and query LIMITS. Moderation reads DEFAULT_POLICY, SCORER_URL, SCORER_SECRET. The client reads PUBLIC_URL, CLIENT_ID, CLIENT_SECRET, SESSION_KEY, SESSION_LIFETIME, SESSION_IDLE, DEV_ISSUER.\n")
	}
	flags.StringVar(&s.host, "host", Env("HOST", "127.0.0.1"), "`address` of the public port; * is every interface (env HOST)")
	flags.IntVar(&s.connections, "max-connections", intEnv("MAX_CONNECTIONS", maxConnections), "`number` of connections at once, of each port (env MAX_CONNECTIONS)")
	flags.IntVar(&s.port, "port", intEnv("PORT", port), "public `port`: API and probes (env PORT)")
	flags.IntVar(&s.appPort, "app-port", intEnv("APP_PORT", port+100), "Dapr app channel `port`, on loopback (env APP_PORT)")
	_ = flags.Parse(os.Args[1:]) // exits on an error
	return s
}

func intEnv(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func newLog(name string) *slog.Logger {
	level := slog.LevelInfo
	_ = level.UnmarshalText([]byte(os.Getenv("LOG_LEVEL"))) // what names no level changes none
	h := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	return slog.New(web.TraceLog(h)).With("service", name)
}
