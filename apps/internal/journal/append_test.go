package journal

import (
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// wantAppended checks what was put into the log without the bus, each event once.
func (w *world) wantAppended(want ...event.Event) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := map[string]int{}
	for _, e := range w.appended {
		ids[e.ID]++
	}
	for _, e := range want {
		if ids[e.ID] != 1 {
			w.Errorf("event %s was appended %d times", e.ID, ids[e.ID])
		}
	}
	if len(w.appended) != len(want) {
		w.Errorf("%d events were appended, want %d", len(w.appended), len(want))
	}
}

// The bus takes all, and brings nothing to eventlog any more.
func TestWhatTheLogLacksIsPutThereWithoutTheBus(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.follow()
		w.appends.Store(true)
		post, comment := titled(w, "a"), commented(w)
		p.commit(post)
		p.commit(comment)
		p.followFor(9 * time.Second)
		w.wantAppended()
		p.followFor(time.Second)
		w.wantAppended(post, comment)
		w.wantPublished(post, comment, post, comment) // so that the others have them soon
		p.followFor(time.Minute)
		w.wantAppended(post, comment)
		p.wantJournal(0, 0)
		p.wantRepairs(map[repairs.Kind]int{repairs.PublishedAgain: 2})
	})
}

func TestWhileTheBusIsDownEventsGoIntoTheLogWithoutIt(t *testing.T) {
	for name, breaks := range map[string]func(w *world, down bool){
		"it refuses": func(w *world, down bool) {
			fails := func(event.Event) error { return errDown }
			if !down {
				fails = nil
			}
			w.failBus(fails)
		},
		"it hangs": func(w *world, down bool) { w.busHangs.Store(down) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p := w.start()
				p.follow()
				w.appends.Store(true)
				breaks(w, true)
				events := titledAll(w, 2*publishAtOnce+50)
				for _, e := range events {
					p.commit(e)
				}
				p.followFor(5 * time.Second) // the commits took some, too
				w.wantAppended()
				p.followFor(9 * time.Second)
				w.wantAppended(events...)
				p.wantJournal(0, 0)
				breaks(w, false)
				p.followFor(time.Minute)
				w.wantPublished()
				w.wantAppended(events...)
			})
		})
	}
}

// What can't be put there is tried again, as long as it takes.
func TestAnAppendThatFailsIsTriedAgain(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		p.follow()
		w.failBus(func(event.Event) error { return errDown })
		e := titled(w, "a")
		p.commit(e)
		p.followFor(time.Minute)
		p.wantJournal(1, 1)
		w.appends.Store(true)
		p.followFor(absentAfter + 2*time.Second)
		w.wantAppended(e)
		p.wantJournal(0, 0)
	})
}
