package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
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
	// lookPause is between two questions where the log ends.
	lookPause = 50 * time.Millisecond
	// lookedBefore bounds for how long the event log has not looked at the store when it
	// answers a read that does not wait, and brings something (apps/eventlog/http.go:
	// refreshEvery). One that brings nothing has it look.
	lookedBefore = time.Second
)

// errMisfit is why reading can't go on: the position is not one of the log.
var errMisfit = errors.New("the position is not in the log")

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

// read returns the events after a position, in order, and where the log ends. If there
// are none yet it waits for them for at most wait; answered, if not nil, is called when
// the wait is over. It is an errMisfit if the position is not in the log.
func (l *logClient) read(ctx context.Context, from event.Position, wait time.Duration, answered func()) ([]event.Event, event.Position, error) {
	batch, end, err := l.fetch(ctx, from, readLimit, wait, answered)
	if err != nil {
		return nil, end, err
	}
	events, err := event.ParseBatch(batch)
	return events, end, err
}

// compare returns an errMisfit if the position is not in the log.
func (l *logClient) compare(ctx context.Context, p event.Position) error {
	_, _, err := l.fetch(ctx, p, 0, 0, nil)
	return err
}

// eventAt returns the event with the number, from 1. It is an errMisfit if the log does
// not go so far.
func (l *logClient) eventAt(ctx context.Context, number uint64) (event.Event, error) {
	batch, _, err := l.fetch(ctx, event.Position{Sequence: number - 1}, 1, 0, nil)
	if err != nil {
		return event.Event{}, err
	}
	events, err := event.ParseBatch(batch)
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("%w: it ends before event %d", errMisfit, number)
	}
	if err != nil {
		return event.Event{}, err
	}
	return events[0], nil
}

// fetch is read of at most limit events, without decoding the batch.
func (l *logClient) fetch(ctx context.Context, from event.Position, limit int, wait time.Duration, answered func()) ([]byte, event.Position, error) {
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	asked := url.Values{"after": {strconv.FormatUint(from.Sequence, 10)}, "limit": {strconv.Itoa(limit)}, "wait": {strconv.Itoa(int(wait.Seconds()))}}
	if from.Log != "" {
		asked.Set("log", from.Log)
	}
	if from.Event != "" {
		asked.Set("event", from.Event)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"?"+asked.Encode(), nil)
	if err != nil {
		return nil, event.Position{}, err
	}
	req.Header.Set("Accept-Encoding", "zstd")
	if l.token != "" {
		req.Header.Set("dapr-api-token", l.token)
	}
	res, err := l.http.Do(req)
	if err != nil {
		return nil, event.Position{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if answered != nil {
		answered()
	}
	body, err := l.readAll(res.Body)
	if err != nil {
		return nil, event.Position{}, err
	}
	end, err := endOf(res.Header)
	if res.StatusCode == http.StatusConflict && err == nil {
		return nil, end, fmt.Errorf("%w: %.300s", errMisfit, body)
	}
	if res.StatusCode != http.StatusOK {
		return nil, event.Position{}, fmt.Errorf("%s: %.200s", res.Status, body)
	}
	if err == nil && res.Header.Get("Content-Encoding") == "zstd" {
		body, err = l.decompress(body)
	}
	return body, end, err
}

// endOf is where the log ends by the headers of an answer: by the version before
// (3b4f435), which may run beside, its number alone.
func endOf(h http.Header) (event.Position, error) {
	text := h.Get(positionHeader)
	if text == "" {
		text = h.Get(sequenceHeader)
	}
	end, err := event.ParsePosition(text)
	if err != nil {
		return event.Position{}, fmt.Errorf("the answer does not say where the log stands: %w", err)
	}
	return end, nil
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
	looking bool               // the same, until it is known where the log ends

	looks chan struct{}
}

func newFollower(m *model, l *logClient, s *snapshots) *follower {
	return &follower{model: m, log: l, snapshots: s, bell: make(chan event.Event, 1), looks: make(chan struct{}, 1)}
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
			f.askAtOnce(&f.rung)
		}
	}
}

// askAtOnce ends the read that waits, and sets why the next one does not wait.
func (f *follower) askAtOnce(why *bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*why = true
	if f.waiting != nil {
		f.waiting()
	}
}

// look has the log asked where it ends, without waiting for it. The model says so.
func (f *follower) look() {
	select {
	case f.looks <- struct{}{}:
	default:
	}
}

// answerLooks has the log asked at once, and no more often than each lookPause: any
// visitor may have it asked.
func (f *follower) answerLooks(ctx context.Context) {
	for {
		select {
		case <-f.looks:
			f.askAtOnce(&f.looking)
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
	}
}

// approach is the model's way to the end of the log.
type approach struct {
	began time.Time
	// from is the number of the snapshot that it began with, or 0.
	from uint64
	// goal is where the log stood at first, once that is known.
	goal  uint64
	known bool
}

// run starts from the snapshot and reads the log on from there, for as long as
// ctx lives. The model is ready once it stands where the log stood at first. When its
// position is not in the log it begins anew, and is not ready until then.
func (f *follower) run(ctx context.Context) {
	way := approach{began: time.Now(), from: f.loadSnapshot(ctx)}
	go f.answerBell(ctx)
	go f.answerLooks(ctx)
	for failing := false; ctx.Err() == nil; {
		read := f.readOn
		if !f.model.isReady() {
			read = f.catchUp
		}
		last, err := read(ctx)
		switch {
		case errors.Is(err, context.Canceled):
			continue // the bell rang
		case errors.Is(err, errMisfit):
			f.beginAnew(ctx, err)
			way = approach{began: time.Now()}
			continue
		case err != nil:
			if !failing && (way.known || time.Since(way.began) >= quietStart) {
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
		if !way.known {
			way.goal, way.known = last, true
			if last < way.from { // only the version before (3b4f435) does not say that it is a misfit
				f.beginAnew(ctx, fmt.Errorf("%w: it ends at %d", errMisfit, last))
				way = approach{began: time.Now()}
				continue
			}
		}
		f.arrive(ctx, way)
	}
}

// arrive makes the model ready once it stands at its goal.
func (f *follower) arrive(ctx context.Context, way approach) {
	at := f.model.at()
	if at < way.goal || f.model.isReady() {
		return
	}
	// Said first, so that who sees it ready finds it said.
	slog.InfoContext(ctx, "caught up", "at", at, "snapshot", way.from, "replayed", at-way.from, "took", time.Since(way.began).Round(time.Millisecond))
	f.model.setReady()
	debug.FreeOSMemory() // what the replay needed and the model doesn't
}

// beginAnew drops what was read of a log that is not there any more, and the snapshot of
// it.
func (f *follower) beginAnew(ctx context.Context, why error) {
	slog.WarnContext(ctx, "the event log is another one, or has lost its end: reading it from its start", "position", f.model.standing().at.String(), "error", why)
	f.model.reset()
	f.snapshots.distrust()
}

// loadSnapshot loads the snapshot and returns its number, or 0 if there is none of use.
// One that does not say which log it is of (3b4f435) is compared by what is in it.
func (f *follower) loadSnapshot(ctx context.Context) uint64 {
	from := f.snapshots.load(ctx, f.model)
	if from == 0 || f.model.standing().at.Event != "" {
		return from // the first read compares it
	}
	for ctx.Err() == nil {
		err := f.compareNewest(ctx)
		if err == nil {
			return from
		}
		if errors.Is(err, errMisfit) {
			f.beginAnew(ctx, err)
			return 0
		}
		slog.WarnContext(ctx, "can't compare the snapshot with the event log, trying on", "error", err)
		select {
		case <-time.After(retryDelay):
		case <-ctx.Done():
		}
	}
	return 0
}

// compareNewest returns an errMisfit if the log's event of what was changed last in the
// model is another one.
func (f *follower) compareNewest(ctx context.Context) error {
	number, id := f.model.newest()
	if number == 0 {
		return fmt.Errorf("%w: there is nothing in the snapshot to compare", errMisfit)
	}
	if err := f.log.compare(ctx, event.Position{Sequence: f.model.at()}); err != nil {
		return err
	}
	e, err := f.log.eventAt(ctx, number)
	if err == nil && e.Subject != id.String() {
		err = fmt.Errorf("%w: event %d is of %s, and of %s in the snapshot", errMisfit, number, e.Subject, id)
	}
	return err
}

// batchesAhead is how many batches may be read, or wait to be folded, behind the one
// whose turn it is.
const batchesAhead = 4

// errShort ends a replay's reads after a batch that isn't full: the replica of the
// event log that gave it knew no more, so what others gave does not follow.
var errShort = errors.New("the batch is not full")

// catchUp reads and applies what the log has after the model's position: while one
// batch is folded those after it are read and decoded. It returns the number of the
// log's last event when the reading began.
func (f *follower) catchUp(ctx context.Context) (last uint64, err error) {
	from := f.model.standing().at
	at := from.Sequence
	first, end, err := f.log.read(ctx, from, 0, nil)
	if err != nil {
		return 0, err
	}
	f.model.setLog(end.Log)
	last = end.Sequence
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
				events, _, err := f.log.read(ctx, event.Position{Sequence: after, Log: end.Log}, 0, nil)
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

// readOn waits for what comes after the model's position, and applies it.
func (f *follower) readOn(ctx context.Context) (last uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := f.beginRead(cancel)
	defer f.endWait()
	began := time.Now()
	events, end, err := f.log.read(ctx, f.model.standing().at, wait, f.endWait)
	if err != nil {
		return 0, err
	}
	f.model.setLog(end.Log)
	if err := f.model.apply(events); err != nil {
		return 0, err
	}
	if wait == 0 {
		f.sawEnd(end, len(events), began)
	}
	return end.Sequence, nil
}

// sawEnd notes where the log ends, by the answer to a read that did not wait.
func (f *follower) sawEnd(end event.Position, brought int, began time.Time) {
	if brought > 0 {
		began = began.Add(-lookedBefore)
	} else {
		f.mu.Lock()
		f.looking = false
		f.mu.Unlock()
	}
	f.model.sawEnd(end.Sequence, began)
}

// beginRead returns for how long the read that begins may wait. Until endWait the
// bell cancels one that waits. One that the bell asked for brings what there is, and
// isn't ended: otherwise a bell that rings faster than the log answers would end every
// read.
func (f *follower) beginRead(cancel context.CancelFunc) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rung || f.looking {
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
