package follow

import (
	"context"
	"errors"
	"sync"
	"time"
)

// wakePause is the least time between two wake-ups: any visitor of query may cause one.
const wakePause = 10 * time.Millisecond

// errWoken is the cause of the end of a read that waited when there was a wake-up.
var errWoken = errors.New("woken up")

// Wakeup has a reader ask at once instead of waiting. It is safe for concurrent use, and
// its zero value is ready.
//
// Invariant: after each call of Wake the reader begins a read that does not wait. After one
// that failed, which its reader says with Retry, the next one does not wait either: reads
// wait again only once one that did not wait has succeeded. Such a read is never ended by a
// wake-up; a reader that is woken all the time still reads.
type Wakeup struct {
	mu sync.Mutex
	// woken says that no read that does not wait has begun since the last wake-up, or since
	// the last such read failed.
	woken bool
	// cancel ends the read that waits; it is nil if none does.
	cancel context.CancelCauseFunc
	// paused says that the last wake-up was less than wakePause ago, and again that there
	// is to be another one then.
	paused, again bool
}

// Wake ends the read that waits, if there is one, and has the next one not wait: now, or
// when wakePause is over. Calls until then count as one.
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

// Retry has the next read not wait, because this one, which did not wait, failed.
func (w *Wakeup) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
}

// Begin begins a read, which ends with a call of end. MayWait says whether it may wait for
// something new. A wake-up cancels the context of one that may, with the cause errWoken.
func (w *Wakeup) Begin(ctx context.Context) (_ context.Context, mayWait bool, end func()) {
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
