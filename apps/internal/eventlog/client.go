package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/service"
)

// What GET /events promises, and GET /dead-letters likewise.
const (
	// EventsPath and DeadLettersPath are where the log and the dead letters are read.
	EventsPath      = "/events"
	DeadLettersPath = "/dead-letters"
	// ContentType is that of an answer (CloudEvents JSON format 1.0, section 4).
	ContentType = "application/cloudevents-batch+json"
	// DefaultLimit and MaxLimit are how many events an answer has at most.
	DefaultLimit = 1_000
	MaxLimit     = 10_000
	// MaxWait bounds how long an answer waits for an event, in seconds.
	MaxWait = 30
	// MaxAge bounds the age of what an answer says about the log's end, when the request
	// arrives: an answer without events has looked at the store since.
	MaxAge = 500 * time.Millisecond
)

// How the services read the log.
const (
	// ReadLimit is how many events one read asks for: 20 MB of the longest comments. From
	// the log's start those are whole segments, which come as they are stored.
	ReadLimit = 16 * SegmentSize
	// ReadWait is how long a read waits for an event, at most. It is short because a call
	// that went to a dead replica is noticed only after it.
	ReadWait = time.Second
	// QuietStart is for how long after its start a service does not warn that it can't read
	// the log: services, sidecars and the store start at the same time.
	QuietStart = 30 * time.Second
	// headerTimeout bounds a read until its answer begins, readTimeout as a whole.
	headerTimeout = ReadWait + time.Second
	readTimeout   = 30 * time.Second
	// maxAnswer bounds an answer, in bytes: ReadLimit of the largest events.
	maxAnswer = ReadLimit * 2 * event.MaxBytes
)

// ErrMisfit is why reading can't go on: the position is not one of the log.
var ErrMisfit = errors.New("the position is not in the log")

// Reader reads a log: Client by Dapr, eventlogtest.Log in memory.
type Reader interface {
	// Read returns at most limit of the events after a position, in order, and where the
	// log ends. Where there are none yet it waits for one for at most wait, which is whole
	// seconds up to ReadWait. The error is an ErrMisfit if the position is not in the log.
	Read(ctx context.Context, from Position, limit int, wait time.Duration) ([]event.Event, Position, error)
}

// Compare returns an ErrMisfit if the position is not in the log.
func Compare(ctx context.Context, log Reader, p Position) error {
	_, _, err := log.Read(ctx, p, 0, 0)
	return err
}

// EventAt returns the event with the number, from 1. The error is an ErrMisfit if the log
// does not go so far.
func EventAt(ctx context.Context, log Reader, number uint64) (event.Event, error) {
	events, _, err := log.Read(ctx, Position{Sequence: number - 1}, 1, 0)
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("%w: it ends before event %d", ErrMisfit, number)
	}
	if err != nil {
		return event.Event{}, err
	}
	return events[0], nil
}

// Client reads a log over HTTP, or appends to it. It is safe for concurrent use.
type Client struct {
	// HTTP makes the calls.
	HTTP *http.Client

	url, token string
	unpacker   *zstd.Decoder
	// plain is the size of the last compressed answer without compression, in bytes.
	plain atomic.Int64
}

// InvokeURL is where a sidecar invokes a method, such as EventsPath, of an app.
func InvokeURL(sidecar, appID, method string) string {
	return sidecar + "/v1.0/invoke/" + appID + "/method" + method
}

// NewClient returns a client for EventsPath, DeadLettersPath, AppendPath or ImportPath at a
// URL, such as InvokeURL. The token is that of
// the sidecar's API, or empty.
func NewClient(url, token string) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	transport.ResponseHeaderTimeout = headerTimeout
	transport.Proxy = nil // the sidecar is on this machine
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxAnswer))
	if err != nil {
		panic(err) // these options are valid
	}
	return &Client{HTTP: &http.Client{Transport: transport}, url: url, token: token, unpacker: decoder}
}

// Read implements Reader.
func (c *Client) Read(ctx context.Context, from Position, limit int, wait time.Duration) ([]event.Event, Position, error) {
	batch, end, err := c.ReadBatch(ctx, from, limit, wait)
	if err != nil {
		return nil, end, err
	}
	events, err := event.ParseBatch(batch)
	return events, end, err
}

// ReadBatch is Read of events that need not be valid: it returns the batch as JSON.
func (c *Client) ReadBatch(ctx context.Context, from Position, limit int, wait time.Duration) ([]byte, Position, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	res, err := c.get(ctx, c.url+"?"+queryOf(from, limit, wait))
	if err != nil {
		return nil, Position{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, Position{}, err
	}
	end, err := FromHeaders(res.Header)
	if res.StatusCode == http.StatusConflict && err == nil {
		return nil, end, fmt.Errorf("%w: %.300s", ErrMisfit, body)
	}
	if res.StatusCode != http.StatusOK {
		return nil, Position{}, fmt.Errorf("%s: %.300s", res.Status, body)
	}
	if err == nil && res.Header.Get("Content-Encoding") == "zstd" {
		body, err = c.decompress(body)
	}
	return body, end, err
}

func (c *Client) get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "zstd")
	if c.token != "" {
		req.Header.Set(service.APIToken, c.token)
	}
	return c.HTTP.Do(req)
}

func queryOf(from Position, limit int, wait time.Duration) string {
	q := url.Values{
		"after": {strconv.FormatUint(from.Sequence, 10)}, "limit": {strconv.Itoa(limit)}, "wait": {strconv.Itoa(int(wait.Seconds()))},
	}
	if from.Log != "" {
		q.Set("log", from.Log)
	}
	if from.Event != "" {
		q.Set("event", from.Event)
	}
	return q.Encode()
}

// decompress decodes all frames of the body, into a buffer that is somewhat larger than
// the last one: otherwise each frame would move those before it.
func (c *Client) decompress(body []byte) ([]byte, error) {
	plain, err := c.unpacker.DecodeAll(body, make([]byte, 0, min(maxAnswer, c.plain.Load()*5/4)))
	c.plain.Store(int64(len(plain)))
	return plain, err
}
