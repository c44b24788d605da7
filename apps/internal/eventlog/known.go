package eventlog

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// KnownPath is, after EventsPath or DeadLettersPath, where a log is asked which events it
// has: ?ids= has their ids, with commas between them.
const KnownPath = "/known"

// MaxKnown is how many ids one request may name.
const MaxKnown = 100

// KnownAnswer is the JSON of the answer.
type KnownAnswer struct {
	// Known has those of the ids whose event is in the log. An id that the log does not
	// recognise any more is not among them: see the window of ids in apps/eventlog.
	Known []string `json:"known"`
}

// Known returns which of the ids, at most MaxKnown and without commas, the log recognises.
func (c *Client) Known(ctx context.Context, ids []string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	res, err := c.get(ctx, c.url+KnownPath+"?"+url.Values{"ids": {strings.Join(ids, ",")}}.Encode())
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var answer KnownAnswer
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for %d events: %s", len(ids), res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("asking for %d events: %w", len(ids), err)
	}
	known := make(map[string]bool, len(answer.Known))
	for _, id := range answer.Known {
		known[id] = true
	}
	return known, nil
}
