package follow

import (
	"context"
	"errors"
	"sync"
	"time"
)

// wakePause is the least time between two wake-ups: any client of query may cause one.
const wakePause = 10 * time.Millisecond

// errWoken is the cause with which a wake-up cancels a read that waits.
var errWoken = errors.New("woken up")

// Wakeup makes a reader that waits for events read at once. It is safe for concurrent use,
// and its zero value is ready.
//
// Invariant: after each call of Wake the reader begins a read that does not wait. If that
// read fails, which the reader says with Retry, the next one does not wait either. No
// wake-up cancels such a read, so the reader makes progress however often it is woken up.
type Wakeup struct {
	mu sync.Mutex
	// woken says that the next read must not wait: since the last read began there was a
	// wake-up, or that read was not to wait and failed.
	woken bool
	// cancel cancels the read that waits. It is nil if no read waits.
	cancel context.CancelCauseFunc
	// paused says that the last wake-up was less than wakePause ago.
	paused bool
	// again says that Wake was called during the pause: another wake-up follows it.
	again bool
}

// Wake cancels the read that waits, if there is one, and makes the next read not wait. In
// the pause after another wake-up it does so at the end of the pause, once for all calls.
func (w *Wakeup) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused {
		w.again = true
		return
	}
	w.woken = true
	if w.cancel != nil {
		w.cancel(errWoken)
	}
	w.paused = true
	time.AfterFunc(wakePause, w.endPause)
}

func (w *Wakeup) endPause() {
	w.mu.Lock()
	again := w.again
	w.paused, w.again = false, false
	w.mu.Unlock()
	if again {
		w.Wake()
	}
}

// Retry makes the next read not wait. The reader calls it when a read that was not to wait
// has failed.
func (w *Wakeup) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
}

// Begin returns the context of a read that begins now. The reader calls end after it. If
// mayWait is true, the read may wait for new events, and a wake-up cancels its context with
// the cause errWoken.
func (w *Wakeup) Begin(ctx context.Context) (read context.Context, mayWait bool, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if mayWait = !w.woken; mayWait {
		w.cancel = cancel
	}
	w.woken = false
	return ctx, mayWait, func() {
		w.mu.Lock()
		w.cancel = nil
		w.mu.Unlock()
		cancel(nil)
	}
}
