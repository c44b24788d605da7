// Deadletters shows the messages that services refused for good, and gives back
// those that have become valid, for example with a newer version of a service.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	dapr "github.com/dapr/go-sdk/client"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Deadletters shows and gives back the messages that services refused for good.

Usage:
  deadletters [flags] list      number, topic, who refused it, why, id, first bytes
  deadletters [flags] redrive   publish the valid ones again; the others are named

It talks to Dapr alone: it reads by invocation of eventlog, over HTTP, and publishes
over gRPC by the sidecar of each event's own publisher, the only one that may.

Flags:
`

// publishers are the apps that may publish the events.
var publishers = map[event.Type]string{
	event.PostCreated: "posts", event.CommentCreated: "comments", event.CommentModerated: "moderation", event.CommentUpdated: "comments",
	event.PolicyChanged: "moderation", event.PostCommentingChanged: "moderation", event.PersonBlocked: "moderation",
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; it returns the exit status.
func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("deadletters", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() { _, _ = fmt.Fprint(errs, usage); flags.PrintDefaults() }
	p := publisher{clients: map[string]dapr.Client{}, sidecars: map[string]*string{
		"posts":      flags.String("posts", "127.0.0.1:3600", "gRPC `address` of the sidecar of posts"),
		"comments":   flags.String("comments", "127.0.0.1:3601", "gRPC `address` of the sidecar of comments"),
		"moderation": flags.String("moderation", "127.0.0.1:3603", "gRPC `address` of the sidecar of moderation"),
	}}
	sidecar := flags.String("eventlog", "http://127.0.0.1:3505", "HTTP `address` of the sidecar of eventlog")
	appID := flags.String("app-id", "eventlog", "app `id` of eventlog")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	letters := eventlog.NewClient(eventlog.InvokeURL(*sidecar, *appID, eventlog.DeadLettersPath), os.Getenv("DAPR_API_TOKEN"))
	var err error
	switch flags.Arg(0) {
	case "list":
		err = list(letters, out)
	case "redrive":
		err = redrive(letters, p.publish, out)
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		_, _ = fmt.Fprintln(errs, "deadletters:", terminal.Lines(err.Error()))
		return 1
	}
	return 0
}

// letter is a dead letter with its place in the log.
type letter struct {
	ID       string         `json:"id"`
	Sequence event.Sequence `json:"sequence"`
	Data     bus.DeadLetter `json:"data"`
}

// each calls do with every dead letter of one log, in order.
func each(log *eventlog.Client, do func(letter) error) error {
	for from := (eventlog.Position{}); ; {
		batch, end, err := log.ReadBatch(context.Background(), from, eventlog.DefaultLimit, 0)
		if errors.Is(err, eventlog.ErrMisfit) {
			return fmt.Errorf("the log of dead letters is another one since this began, or has lost its end; begin again: %w", err)
		}
		if err != nil {
			return fmt.Errorf("%w (is Postbus running?)", err)
		}
		var page []letter
		if err := json.Unmarshal(batch, &page); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, l := range page {
			if err := do(l); err != nil {
				return err
			}
			from = eventlog.Position{Sequence: uint64(l.Sequence), Log: end.Log, Event: l.ID}
		}
	}
}

func list(letters *eventlog.Client, out io.Writer) error {
	const shown = 60 // bytes of a message
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NUMBER\tTOPIC\tREFUSED BY\tREASON\tID\tMESSAGE")
	err := each(letters, func(l letter) error {
		reason, message := strings.TrimPrefix(l.Data.Reason, "malformed event: "), l.Data.Payload
		_, err := fmt.Fprintf(table, "%d\t%s\t%s\t%.80q\t%s\t%q\n", l.Sequence, terminal.Line(l.Data.Topic), terminal.Line(l.Data.Service),
			reason, terminal.Line(l.Data.ID), message[:min(shown, len(message))])
		return err
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

// redrive publishes every letter that is a valid event, in order.
func redrive(letters *eventlog.Client, publish func(event.Type, []byte) error, out io.Writer) error {
	published, kept := map[string]bool{}, 0
	err := each(letters, func(l letter) error {
		topic := event.Type(l.Data.Topic)
		if _, err := event.Parse(topic, l.Data.Payload); err != nil {
			kept++
			_, err = fmt.Fprintf(out, "%d stays: %s\n", l.Sequence, terminal.Line(err.Error()))
			return err
		}
		message := l.Data.Topic + " " + string(l.Data.Payload)
		if published[message] {
			return nil // more than one service may have refused it: once is enough
		}
		published[message] = true
		return publish(topic, l.Data.Payload)
	})
	_, _ = fmt.Fprintf(out, "%d published again, %d not valid\n", len(published), kept)
	return err
}

// publisher publishes by the sidecar of each event's own publisher.
type publisher struct {
	// sidecars are the gRPC addresses by app, clients those that are connected.
	sidecars map[string]*string
	clients  map[string]dapr.Client
}

// publish puts a message on its topic as it is.
func (p publisher) publish(topic event.Type, message []byte) error {
	ctx, app := context.Background(), publishers[topic]
	client, ok := p.clients[app]
	if !ok {
		var err error
		// It sends DAPR_API_TOKEN if that is set.
		if client, err = dapr.NewClientWithAddressContext(ctx, *p.sidecars[app]); err != nil {
			return fmt.Errorf("the sidecar of %s: %w", app, err)
		}
		p.clients[app] = client
	}
	return client.PublishEvent(ctx, bus.Component, string(topic), message,
		dapr.PublishEventWithContentType("application/cloudevents+json"), dapr.PublishEventWithRawPayload())
}
