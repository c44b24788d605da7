package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/postbus/postbus/apps/internal/service"
)

// ImportPath is the path of eventlog's app channel to which an operator sends the events of
// another log: POST /import?after=N. See Client.Import.
const ImportPath = "/import"

// ErrNotImported is why a batch can't follow in a log: the log does not end there, or the
// batch is not one of numbered events that do. Nothing is repaired by a repeat.
var ErrNotImported = errors.New("the events do not follow in the log")

// Import appends a JSON array of at most MaxAppend events, which have the numbers from
// after+1 on, to a log that ends at number after. It is for a Client of ImportPath. The error
// is an ErrNotImported if they can't follow there. After any other error it is not known
// whether the log has them.
func (c *Client) Import(ctx context.Context, after uint64, batch []byte) error {
	res, err := c.post(ctx, c.url+"?after="+strconv.FormatUint(after, 10), batch)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1000))
	err = errors.Join(fmt.Errorf("%s: %s", res.Status, answer), err)
	if res.StatusCode < http.StatusInternalServerError {
		err = fmt.Errorf("%w: %w", ErrNotImported, err)
	}
	return err
}

// post sends a batch of events.
func (c *Client) post(ctx context.Context, url string, batch []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(batch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", ContentType)
	if c.token != "" {
		req.Header.Set(service.APIToken, c.token)
	}
	return c.HTTP.Do(req)
}
