package follow

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// begin begins a read and returns whether a wake-up has ended it.
func begin(t *testing.T, w *Wakeup) (mayWait bool, isWoken func() bool, end func()) {
	t.Helper()
	ctx, mayWait, end := w.Begin(t.Context())
	return mayWait, func() bool { synctest.Wait(); return errors.Is(context.Cause(ctx), errWoken) }, end
}

func TestAWakeupEndsTheReadThatWaitsAndTheNextOneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Wakeup
		mayWait, isWoken, end := begin(t, &w)
		if !mayWait || isWoken() {
			t.Errorf("at first: may wait %v, woken %v", mayWait, isWoken())
		}
		w.Wake()
		if !isWoken() {
			t.Error("the read that waits goes on")
		}
		end()
		if mayWait, _, end = begin(t, &w); mayWait {
			t.Error("the next read waits")
		}
		end()
		if mayWait, _, end = begin(t, &w); !mayWait {
			t.Error("the one after that does not wait")
		}
		end()
	})
}

func TestAWakeupIsNotLostWhateverTheReaderDoes(t *testing.T) {
	for name, wake := range map[string]func(t *testing.T, w *Wakeup){
		"before the first read": func(_ *testing.T, w *Wakeup) { w.Wake() },
		"between two reads": func(t *testing.T, w *Wakeup) {
			_, _, end := begin(t, w)
			end()
			w.Wake()
		},
		"during a read that does not wait": func(t *testing.T, w *Wakeup) {
			w.Wake()
			time.Sleep(wakePause) // of the bubble's clock
			_, isWoken, end := begin(t, w)
			w.Wake()
			if isWoken() {
				t.Error("a read that does not wait is ended")
			}
			end()
		},
		"before a read that fails": func(t *testing.T, w *Wakeup) {
			w.Wake()
			_, _, end := begin(t, w)
			w.Retry()
			end()
		},
		"in the pause after another": func(t *testing.T, w *Wakeup) {
			w.Wake()
			_, _, end := begin(t, w)
			end()
			w.Wake()
			time.Sleep(wakePause)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w Wakeup
				wake(t, &w)
				synctest.Wait()
				mayWait, _, end := begin(t, &w)
				end()
				if mayWait {
					t.Error("the read after it waits")
				}
			})
		})
	}
}

// Any client may cause a wake-up, and each costs the event log a read of its store.
func TestWakeupsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Wakeup
		woken := 0
		for began := time.Now(); time.Since(began) < 10*wakePause; {
			w.Wake()
			synctest.Wait()
			mayWait, _, end := begin(t, &w)
			end()
			if !mayWait {
				woken++
			}
			time.Sleep(wakePause / 10) // of the bubble's clock
		}
		if woken < 9 || woken > 11 {
			t.Errorf("%d wake-ups in %v", woken, 10*wakePause)
		}
	})
}

func TestAReadEndsWithItsContext(t *testing.T) {
	var w Wakeup
	ctx, cancel := context.WithCancel(t.Context())
	read, _, end := w.Begin(ctx)
	cancel()
	if err := context.Cause(read); !errors.Is(err, context.Canceled) || errors.Is(err, errWoken) {
		t.Errorf("the cause is %v", err)
	}
	end()
}
