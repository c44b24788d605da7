package comments

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// arrivalReads is how often the store is read for one request that waits: at once, and
	// after each arrivalPause. The later reads find what another replica has stored.
	arrivalReads = 3
	// arrivalPause is the pause between two reads. The wait ends well within web.FirstTry,
	// so that the client's host gets this service's answer and does not repeat the request.
	arrivalPause = 300 * time.Millisecond
	// arrivalWait is how long a request waits in all.
	arrivalWait = (arrivalReads - 1) * arrivalPause
	// maxWaiting bounds how many requests wait at the same time, for posts and for comments
	// each. Any client can make up ids that are waited for. 128 such requests with 3 reads
	// in 0.6 s each read the store 640 times a second.
	maxWaiting = 128
)

var (
	// errNotArrived is returned for an entity that did not arrive within arrivalWait.
	errNotArrived = errors.New("it did not come in time")
	// errTooManyWaiting is returned for an entity that is not in the store, instead of
	// waiting for it, if maxWaiting requests wait already.
	errTooManyWaiting = errors.New("too many requests wait")
)

// arrivals lets requests wait for entities whose events may be on their way. The handler
// that stores an entity wakes up the requests that wait for it. It is safe for concurrent
// use.
type arrivals struct {
	mu sync.Mutex
	// waiting has the id that each request waits for, by the channel that wakes it up. The
	// channel has room for one wake-up.
	waiting map[chan struct{}]string
}

func newArrivals() *arrivals { return &arrivals{waiting: map[chan struct{}]string{}} }

// await calls read until it finds the entity with the id or fails: at once, after each
// wake-up and after each arrivalPause, at most arrivalReads times. If no read found the
// entity the error is errNotArrived, or errTooManyWaiting after the first read, or that of
// ctx.
func (a *arrivals) await(ctx context.Context, id string, read func() (found bool, err error)) error {
	woken, mayWait := a.join(id) // before the first read, so that no arrival after it is missed
	defer a.leave(woken)
	pause := time.NewTicker(arrivalPause)
	defer pause.Stop()
	for reads := 1; ; reads++ {
		found, err := read()
		switch {
		case err != nil || found:
			return err
		case !mayWait:
			return errTooManyWaiting
		case reads == arrivalReads:
			return errNotArrived
		}
		select {
		case <-woken:
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// join registers a request that waits for id, until leave. It returns the channel that
// wakes the request up. If maxWaiting requests are registered already, mayWait is false.
func (a *arrivals) join(id string) (woken chan struct{}, mayWait bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == maxWaiting {
		return nil, false
	}
	woken = make(chan struct{}, 1)
	a.waiting[woken] = id
	return woken, true
}

func (a *arrivals) leave(woken chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, woken)
}

// wake wakes up the requests that wait for id. The caller has stored the entity.
func (a *arrivals) wake(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for woken, awaited := range a.waiting {
		if awaited != id {
			continue
		}
		select {
		case woken <- struct{}{}:
		default: // it has a wake-up that it has not received yet
		}
	}
}
