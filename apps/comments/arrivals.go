package main

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

// arrivals lets requests wait for entities that may be on their way. The handler of
// the events that bring them wakes up those who wait. It is safe for concurrent use.
type arrivals struct {
	mu      sync.Mutex
	waiting int
	byID    map[string]*arrival
}

// arrival is an entity that requests wait for.
type arrival struct {
	waiting int
	came    chan struct{} // closed when it has come
}

func newArrivals() *arrivals { return &arrivals{byID: map[string]*arrival{}} }

// await looks for the entity of that id until look finds it or returns an error, at
// most arrivalLooks times. Otherwise the error is errNotArrived, errTooManyWait after
// the first look, or that of ctx.
func (a *arrivals) await(ctx context.Context, id string, look func() (found bool, err error)) error {
	// Before the first look: what comes after it wakes up this request.
	awaited := a.join(id)
	var came <-chan struct{}
	if awaited != nil {
		came = awaited.came
		defer a.leave(id, awaited)
	}
	pause := time.NewTicker(arrivalPause)
	defer pause.Stop()
	for looks := 1; ; looks++ {
		found, err := look()
		switch {
		case err != nil || found:
			return err
		case awaited == nil:
			return errTooManyWait
		case looks == arrivalLooks:
			return errNotArrived
		}
		select {
		case <-came:
			came = nil // it stays closed
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// join takes a place for one request that waits for id, or returns nil if there is
// none; leave gives it back.
func (a *arrivals) join(id string) *arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == maxWaiting {
		return nil
	}
	awaited := a.byID[id]
	if awaited == nil {
		awaited = &arrival{came: make(chan struct{})}
		a.byID[id] = awaited
	}
	a.waiting++
	awaited.waiting++
	return awaited
}

func (a *arrivals) leave(id string, awaited *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
	awaited.waiting--
	if awaited.waiting == 0 && a.byID[id] == awaited {
		delete(a.byID, id)
	}
}

// wake wakes up the requests that wait for id, which can be found now.
func (a *arrivals) wake(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if awaited := a.byID[id]; awaited != nil {
		close(awaited.came)
		delete(a.byID, id)
	}
}
