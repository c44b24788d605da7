package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/postbus/postbus/apps/internal/event"
)

// AppendPath is the path of eventlog's app channel below which a topic's events are put into
// the log without the bus: POST /append/CommentCreated. Each service may call that of the
// topics to which it publishes (k8s/base/access-control.yaml).
const AppendPath = "/append"

const (
	// MaxAppend is how many events one request may have.
	MaxAppend = 100
	// MaxAppendBytes bounds its body: MaxAppend of the largest events, which is less than the
	// 16 MiB that a sidecar passes on.
	MaxAppendBytes = MaxAppend * (event.MaxBytes + 1)
)

// Appender puts events into the log without the bus, for a service that sees that the bus did
// not bring them there: a broker may lose a message, and the component of a broker may stop
// delivering a topic for good.
type Appender interface {
	// Append puts at most MaxAppend events, all of type t, into the log. Without an error each
	// of them is there or, if eventlog can't take it, among its dead letters. After an error
	// that is not known.
	Append(ctx context.Context, t event.Type, events []event.Event) error
}

// Append implements Appender, for a Client of AppendPath.
func (c *Client) Append(ctx context.Context, t event.Type, events []event.Event) error {
	body := []byte{'['}
	for i, e := range events {
		raw, err := event.Marshal(e)
		if err != nil {
			return fmt.Errorf("encoding event %s: %w", e.ID, err)
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, raw...)
	}
	res, err := c.post(ctx, c.url+"/"+string(t), append(body, ']'))
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 300))
	return errors.Join(fmt.Errorf("appending %d events: %s: %s", len(events), res.Status, answer), err)
}
