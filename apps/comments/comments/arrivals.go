package comments

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// arrivalLooks is how often the store is read for one request that waits: at once,
	// and after each arrivalPause, for what another replica was delivered.
	arrivalLooks = 3
	// arrivalPause is between two looks. All of them fit into the second that the
	// client's host gives a first try, so that it gets this service's own answer to it
	// and does not repeat the request.
	arrivalPause = 300 * time.Millisecond
	// arrivalWait is how long a request waits in all.
	arrivalWait = (arrivalLooks - 1) * arrivalPause
	// maxWaiting bounds how many requests wait at once, for posts and for comments
	// each. Anybody can make up an id: this many read the store 640 times a second.
	maxWaiting = 128
)

var (
	// errNotArrived is returned for what did not come within arrivalWait.
	errNotArrived = errors.New("it did not come in time")
	// errTooManyWait is returned for what is not there while maxWaiting requests wait.
	errTooManyWait = errors.New("too many requests wait")
)

// arrivals lets requests wait for entities that may be on their way. The handler of the
// events that bring them wakes up those who wait. It is safe for concurrent use.
type arrivals struct {
	mu sync.Mutex
	// waiting are the requests that wait, each with the id that it waits for. Its channel
	// has room for one wake-up.
	waiting map[chan struct{}]string
}

func newArrivals() *arrivals { return &arrivals{waiting: map[chan struct{}]string{}} }

// await looks for the entity of that id until look finds it or returns an error, at
// most arrivalLooks times. Otherwise the error is errNotArrived, errTooManyWait after
// the first look, or that of ctx.
func (a *arrivals) await(ctx context.Context, id string, look func() (found bool, err error)) error {
	woken, waits := a.join(id) // before the first look: what comes after it wakes up this request
	defer a.leave(woken)
	pause := time.NewTicker(arrivalPause)
	defer pause.Stop()
	for looks := 1; ; looks++ {
		found, err := look()
		switch {
		case err != nil || found:
			return err
		case !waits:
			return errTooManyWait
		case looks == arrivalLooks:
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

// join takes a place for a request that waits for id, if there is one; leave gives it back.
func (a *arrivals) join(id string) (woken chan struct{}, waits bool) {
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

// wake wakes up the requests that wait for id, which can be found now.
func (a *arrivals) wake(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for woken, awaited := range a.waiting {
		if awaited != id {
			continue
		}
		select {
		case woken <- struct{}{}:
		default: // it is to look already
		}
	}
}
