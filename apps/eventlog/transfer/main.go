// Transfer writes the event log to a file, and reads such a file into an empty log: that is
// how a blog moves from one engine to another, or into another cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Transfer moves a blog: it writes all events to a file, and reads them into an empty log.

Usage:
  transfer [flags] export FILE   write the log to a new file, an event a line (CloudEvents, JSON)
  transfer [flags] import FILE   append the file's events to a log that has none, or only the
                                 first of them: an import that was cut off goes on

It talks to eventlog alone, by its sidecar. The services then read the log and fill their own
stores. What is only in those is not moved: Idempotency-Keys, and the dead letters.

Flags:
`

// logs are the ways to a log.
type logs struct {
	events, imports *eventlog.Client
	// progress is where the tool says how far it is.
	progress io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the program; it returns the exit status.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("transfer", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { _, _ = fmt.Fprint(errs, usage); flags.PrintDefaults() }
	sidecar := flags.String("eventlog", "http://127.0.0.1:3505", "HTTP `address` of the sidecar of eventlog")
	appID := flags.String("app-id", "eventlog", "app `id` of eventlog")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	token := os.Getenv("DAPR_API_TOKEN")
	l := logs{
		events:   eventlog.NewClient(eventlog.InvokeURL(*sidecar, *appID, eventlog.EventsPath), token),
		imports:  eventlog.NewClient(eventlog.InvokeURL(*sidecar, *appID, eventlog.ImportPath), token),
		progress: errs,
	}
	do := map[string]func(context.Context, string) (string, error){"export": l.exportTo, "import": l.importFrom}[flags.Arg(0)]
	if do == nil || flags.NArg() != 2 || flags.Arg(1) == "" {
		flags.Usage()
		return 2
	}
	done, err := do(ctx, flags.Arg(1))
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped before its end")
	}
	if err != nil {
		_, _ = fmt.Fprintln(errs, "transfer:", terminal.Lines(err.Error()))
		return 1
	}
	_, _ = fmt.Fprintln(out, done)
	return 0
}
