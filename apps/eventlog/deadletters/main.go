// Deadletters shows the messages that services refused for good, and gives back
// those that have become valid, for example with a newer version of a service.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

const usage = `Deadletters shows and gives back the messages that services refused for good.

Usage:
  deadletters [flags] list      number, topic, who refused it, why, id, first bytes
  deadletters [flags] redrive   publish the valid ones again; the others are named

It talks to Dapr alone: it reads by invocation of eventlog, and publishes by the
sidecar of each event's own publisher, the only one that may.

Flags:
`

// publishers are the apps that may publish the events.
var publishers = map[event.Type]string{
	event.PostCreated: "posts", event.CommentCreated: "comments", event.CommentModerated: "moderation", event.CommentUpdated: "comments",
}

func main() {
	sidecars := map[string]*string{
		"posts":      flag.String("posts", "http://127.0.0.1:3504", "`address` of the sidecar of posts"),
		"comments":   flag.String("comments", "http://127.0.0.1:3501", "`address` of the sidecar of comments"),
		"moderation": flag.String("moderation", "http://127.0.0.1:3503", "`address` of the sidecar of moderation"),
	}
	log := flag.String("eventlog", "http://127.0.0.1:3505", "`address` of the sidecar of eventlog")
	appID := flag.String("app-id", "eventlog", "app `id` of eventlog")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	var err error
	switch flag.Arg(0) {
	case "list":
		err = list(*log, *appID, os.Stdout)
	case "redrive":
		err = redrive(*log, *appID, sidecars, os.Stdout)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deadletters:", err)
		os.Exit(1)
	}
}

// letter is a dead letter with its number.
type letter struct {
	Sequence event.Sequence `json:"sequence"`
	Data     bus.DeadLetter `json:"data"`
}

// each calls do with every dead letter, in order.
func each(sidecar, appID string, do func(letter) error) error {
	for after := uint64(0); ; {
		url := fmt.Sprintf("%s/v1.0/invoke/%s/method/dead-letters?after=%d&limit=1000", sidecar, appID, after)
		raw, err := call(http.MethodGet, url, "", nil)
		if err != nil {
			return fmt.Errorf("%w (is Postbus running?)", err)
		}
		var page []letter
		if err := json.Unmarshal(raw, &page); err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, l := range page {
			if err := do(l); err != nil {
				return err
			}
			after = uint64(l.Sequence)
		}
	}
}

func list(sidecar, appID string, out io.Writer) error {
	const shown = 60 // bytes of a message
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NUMBER\tTOPIC\tREFUSED BY\tREASON\tID\tMESSAGE")
	err := each(sidecar, appID, func(l letter) error {
		reason, message := strings.TrimPrefix(l.Data.Reason, "malformed event: "), l.Data.Payload
		_, err := fmt.Fprintf(table, "%d\t%s\t%s\t%.80q\t%s\t%q\n", l.Sequence, l.Data.Topic, l.Data.Service, reason, l.Data.ID, message[:min(shown, len(message))])
		return err
	})
	if err != nil {
		return err
	}
	return table.Flush()
}

func redrive(sidecar, appID string, sidecars map[string]*string, out io.Writer) error {
	published, kept := map[string]bool{}, 0
	err := each(sidecar, appID, func(l letter) error {
		topic := event.Type(l.Data.Topic)
		if _, err := event.Parse(topic, l.Data.Payload); err != nil {
			kept++
			_, err = fmt.Fprintf(out, "%d stays: %v\n", l.Sequence, err)
			return err
		}
		message := l.Data.Topic + " " + string(l.Data.Payload)
		if published[message] {
			return nil // every service that heard it refused it: once is enough
		}
		published[message] = true
		_, err := call(http.MethodPost, *sidecars[publishers[topic]]+"/v1.0/publish/"+bus.Component+"/"+l.Data.Topic, "application/cloudevents+json", l.Data.Payload)
		return err
	})
	_, _ = fmt.Fprintf(out, "%d published again, %d not valid\n", len(published), kept)
	return err
}

func call(method, url, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if token := os.Getenv("DAPR_API_TOKEN"); token != "" {
		req.Header.Set("dapr-api-token", token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, url, res.Status, raw)
	}
	return raw, err
}
