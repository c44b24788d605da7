// Streams makes the streams of the bus in a NATS, and ends. On Kubernetes it runs in each pod before
// the sidecar, which cannot subscribe to a topic without a stream.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Streams makes the streams of the bus in a NATS. It takes no arguments.

Environment:
  NATS        the URLs of its nodes, with commas between them
  NATS_TOKEN  the token for which NATS asks
  TOPICS      the topics, with commas between them
`

// electsWithin is how long a NATS that starts may take to elect its leaders.
const electsWithin = time.Minute

func main() {
	if len(os.Args) > 1 || os.Getenv("TOPICS") == "" {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := system.Until(ctx, electsWithin, func() error {
		return system.MakeStreams(ctx, os.Getenv("NATS"), os.Getenv("NATS_TOKEN"), strings.Split(os.Getenv("TOPICS"), ","))
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "streams:", terminal.Lines(err.Error()))
		os.Exit(1)
	}
}
