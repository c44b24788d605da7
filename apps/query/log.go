package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

const (
	// readLimit is how many events one read of the log asks for: 20 MB of the longest
	// comments, of which a replay has some in memory at once. From the log's start
	// those are whole segments, which it passes on as they are stored.
	readLimit = 16 * 128
	// readWait is how long a read waits at the event log for something new. It is
	// short because a call that went to a dead replica is noticed only after it.
	readWait = time.Second
	// maxBatch bounds what one read brings, in bytes: readLimit of the largest events.
	maxBatch = readLimit * 2 * event.MaxBytes
	// headerTimeout bounds a read until its answer begins.
	headerTimeout = readWait + time.Second
	// bodyTimeout bounds a read as a whole.
	bodyTimeout = 30 * time.Second
	// retryDelay is between reads that fail.
	retryDelay = 100 * time.Millisecond
	// quietStart is for how long a follower that has not yet read the log does not warn
	// of it: all services start at once, and eventlog or a sidecar may not be there yet.
	quietStart = 30 * time.Second
	// bellGrace is how long the waiting read gets to bring the event that the bus
	// announced, before the log is asked anew.
	bellGrace = 10 * time.Millisecond
)

// logClient reads the event log by Dapr service invocation.
type logClient struct {
	url   string
	token string
	http  *http.Client
	size  atomic.Int64 // of the last answer, in bytes
	plain atomic.Int64 // of the last that was compressed, without that
	zstd  *zstd.Decoder
}

func newLogClient(sidecar, appID string) *logClient {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck,forcetypeassert // it is one
	transport.ResponseHeaderTimeout = headerTimeout
	transport.Proxy = nil
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBatch))
	if err != nil {
		panic(err) // only for an option that there is not
	}
	return &logClient{
		zstd: decoder,
		url:  sidecar + "/v1.0/invoke/" + appID + "/method/events", token: os.Getenv("DAPR_API_TOKEN"),
		http: &http.Client{Transport: transport},
	}
}

// read returns the events after a number, in order, and the number of the log's
// last event. If there are none yet it waits for them for at most wait; answered,
// if not nil, is called when the wait is over.
func (l *logClient) read(ctx context.Context, after uint64, wait time.Duration, answered func()) ([]event.Event, uint64, error) {
	batch, last, err := l.fetch(ctx, after, wait, answered)
	if err != nil {
		return nil, 0, err
	}
	events, err := event.ParseBatch(batch)
	return events, last, err
}

// fetch is read without decoding the batch.
func (l *logClient) fetch(ctx context.Context, after uint64, wait time.Duration, answered func()) ([]byte, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	url := fmt.Sprintf("%s?after=%d&limit=%d&wait=%d", l.url, after, readLimit, int(wait.Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "zstd")
	if l.token != "" {
		req.Header.Set("dapr-api-token", l.token)
	}
	res, err := l.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if answered != nil {
		answered()
	}
	body, err := l.readAll(res.Body)
	if err != nil {
		return nil, 0, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s: %.200s", res.Status, body)
	}
	last, err := strconv.ParseUint(res.Header.Get(sequenceHeader), 10, 64)
	if err != nil {
		return nil, 0, errors.New("the answer does not say where the log stands")
	}
	if res.Header.Get("Content-Encoding") == "zstd" {
		body, err = l.decompress(body)
	}
	return body, last, err
}

// readAll reads the body into a buffer that starts as large as the last one was.
func (l *logClient) readAll(body io.Reader) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, l.size.Load()+bytes.MinRead))
	_, err := b.ReadFrom(body)
	l.size.Store(int64(b.Len()))
	return b.Bytes(), err
}

// decompress decodes all frames of the body, into a buffer that is somewhat larger
// than the last one: otherwise each frame would move those before it.
func (l *logClient) decompress(body []byte) ([]byte, error) {
	plain, err := l.zstd.DecodeAll(body, make([]byte, 0, min(maxBatch, l.plain.Load()*5/4)))
	l.plain.Store(int64(len(plain)))
	return plain, err
}

// follower keeps the model up with the log.
type follower struct {
	model     *model
	log       *logClient
	snapshots *snapshots

	bell chan event.Event

	mu      sync.Mutex
	waiting context.CancelFunc // ends the read that waits, or nil
	rung    bool               // that the bell has rung: the next read asks at once
}

func newFollower(m *model, l *logClient, s *snapshots) *follower {
	return &follower{model: m, log: l, snapshots: s, bell: make(chan event.Event, 1)}
}

// hear takes events off the bus, as a doorbell alone: what they say is read from
// the log, so that every replica shows a prefix of it. One that contradicts the
// log is an ErrPoison.
func (f *follower) hear(_ context.Context, events []event.Event) []error {
	for _, e := range slices.Backward(events) {
		if !f.model.has(e) {
			f.ring(e) // of a batch that is redelivered in part, the last may be known
			break
		}
	}
	errs := make([]error, len(events))
	for i, e := range events {
		if f.model.contradicts(e) {
			errs[i] = fmt.Errorf("%w: %s is in the log with other content", bus.ErrPoison, e.Subject)
		}
	}
	return errs
}

func (f *follower) ring(e event.Event) {
	for {
		select {
		case f.bell <- e:
			return
		default:
		}
		select {
		case <-f.bell: // the younger event stands for the older, too
		default:
		}
	}
}

// answerBell has the log read at once when the bus knows more than the model.
func (f *follower) answerBell(ctx context.Context) {
	for {
		var e event.Event
		select {
		case e = <-f.bell:
		case <-ctx.Done():
			return
		}
		if f.model.has(e) {
			continue
		}
		select {
		case <-time.After(bellGrace):
		case <-ctx.Done():
			return
		}
		if !f.model.has(e) {
			f.mu.Lock()
			f.rung = true
			if f.waiting != nil {
				f.waiting()
			}
			f.mu.Unlock()
		}
	}
}

// run starts from the snapshot and reads the log on from there, for as long as
// ctx lives. The model is ready once it stands where the log stood at first.
func (f *follower) run(ctx context.Context) {
	start := time.Now()
	from := f.snapshots.load(ctx, f.model)
	go f.answerBell(ctx)

	goal, known := uint64(0), false
	for failing := false; ctx.Err() == nil; {
		read := f.readOn
		if !f.model.isReady() {
			read = f.catchUp
		}
		last, err := read(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			continue // the bell rang
		case err != nil:
			if !failing && (known || time.Since(start) >= quietStart) {
				slog.WarnContext(ctx, "can't read the event log, trying on", "at", f.model.at(), "error", err)
				failing = true
			}
			select {
			case <-time.After(retryDelay):
			case <-ctx.Done():
			}
			continue
		case failing:
			slog.InfoContext(ctx, "reading the event log again", "at", f.model.at())
			failing = false
		}
		if !known {
			goal, known = last, true
			if last < from {
				slog.WarnContext(ctx, "the snapshot is of another log, reading this one from its start", "snapshot", from, "last", last)
				f.model.reset()
				from = 0
				continue
			}
		}
		if at := f.model.at(); at >= goal && !f.model.isReady() {
			// Said first, so that who sees it ready finds it said.
			slog.InfoContext(ctx, "caught up", "at", at, "snapshot", from, "replayed", at-from, "took", time.Since(start).Round(time.Millisecond))
			f.model.setReady()
			debug.FreeOSMemory() // what the replay needed and the model doesn't
		}
	}
}

// batchesAhead is how many batches may be read, or wait to be folded, behind the one
// whose turn it is.
const batchesAhead = 4

// errShort ends a replay's reads after a batch that isn't full: the replica of the
// event log that gave it knew no more, so what others gave does not follow.
var errShort = errors.New("the batch is not full")

// catchUp reads and applies what the log has after the model's number: while one
// batch is folded those after it are read and decoded. It returns the number of the
// log's last event when the reading began.
func (f *follower) catchUp(ctx context.Context) (last uint64, err error) {
	at := f.model.at()
	first, last, err := f.log.read(ctx, at, 0, nil)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	reads := make(chan chan []event.Event, batchesAhead)
	group.Go(func() error {
		defer close(reads)
		for after := at; after == at || after < last; after += readLimit {
			batch := make(chan []event.Event, 1)
			select {
			case reads <- batch: // in their order, whichever is answered first
			case <-ctx.Done():
				return ctx.Err()
			}
			if after == at {
				batch <- first
				continue
			}
			group.Go(func() error {
				events, _, err := f.log.read(ctx, after, 0, nil)
				if err == nil {
					batch <- events
				}
				return err
			})
		}
		return nil
	})
	group.Go(func() error {
		for batch := range reads {
			var events []event.Event
			select {
			case events = <-batch:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.model.apply(events); err != nil {
				return err
			}
			if len(events) < readLimit {
				return errShort
			}
		}
		return nil
	})
	if err = group.Wait(); errors.Is(err, errShort) {
		err = nil
	}
	return last, err
}

// readOn waits for what comes after the model's number, and applies it.
func (f *follower) readOn(ctx context.Context) (last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := f.beginRead(cancel)
	defer f.endWait()
	events, last, err := f.log.read(ctx, f.model.at(), wait, f.endWait)
	if err != nil {
		return 0, err
	}
	return last, f.model.apply(events)
}

// beginRead returns for how long the read that begins may wait. Until endWait the
// bell cancels one that waits. One that the bell asked for brings what there is, and
// isn't ended: otherwise a bell that rings faster than the log answers would end every
// read.
func (f *follower) beginRead(cancel context.CancelFunc) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rung {
		f.rung = false
		return 0
	}
	f.waiting = cancel
	return readWait
}

func (f *follower) endWait() {
	f.mu.Lock()
	f.waiting = nil
	f.mu.Unlock()
}
