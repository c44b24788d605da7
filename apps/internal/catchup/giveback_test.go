package catchup

import (
	"context"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/journal"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// publisher is a process with a journal, whose bus is the log. It runs until stop.
type publisher struct {
	*replica
	stop func()
}

func (w *world) publisher() *publisher {
	r := w.replica()
	r.Journal = w.journalOf(r, func(event.Event) bool { return false })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { r.Journal.Run(ctx); done <- struct{}{} }()
	go func() { r.Run(ctx); done <- struct{}{} }()
	return &publisher{r, func() {
		cancel()
		<-done
		<-done
	}}
}

// commit commits a new post, and waits until the journal is empty.
func (p *publisher) commit() event.Event {
	p.w.Helper()
	e := p.w.post()
	if _, err := p.Journal.Commit(context.Background(), e, journal.Claim{}); err != nil {
		p.w.Fatal(err)
	}
	time.Sleep(5 * time.Second) // of the bubble's clock
	return e
}

// loses has the log lose its end.
func (w *world) loses(left ...event.Event) { w.log.Replace(w.log.Position(0).Log, left...) }

func (w *world) wantInLog(want bool, e event.Event) {
	w.Helper()
	known, err := w.log.Log.Known(context.Background(), []string{e.ID})
	if err != nil || known[e.ID] != want {
		w.Errorf("the log has the event: %v, error %v", known[e.ID], err)
	}
}

// A log that has lost its end gets the events of its publishers back.
func TestTheJournalGivesBackWhatTheLogHasLost(t *testing.T) {
	for name, lose := range map[string]func(w *world, p *publisher, e event.Event){
		"all of it": func(w *world, _ *publisher, _ event.Event) { w.loses() },
		"and it has grown since": func(w *world, _ *publisher, _ event.Event) {
			w.loses(w.post(), w.post(), w.post())
		},
		"with the store, which is in the same server": func(w *world, p *publisher, _ event.Event) {
			setBack := w.store.Save()
			p.commit() // moves the cursor
			setBack()
			w.loses()
		},
		"in a failover of some minutes": func(w *world, p *publisher, _ event.Event) {
			w.log.fail(errDown)
			time.Sleep(10 * time.Minute) // of the bubble's clock
			w.loses()
			if _, err := p.Journal.Commit(context.Background(), w.post(), journal.Claim{}); err != nil {
				w.Fatal(err)
			}
			w.log.fail(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.appends = true
				p := w.publisher()
				e := p.commit()
				lose(w, p, e)
				time.Sleep(time.Minute) // of the bubble's clock
				w.wantInLog(true, e)
				if p.Repairs.All()[repairs.GivenBack] == 0 {
					w.Error("nothing was given back")
				}
				p.stop()
			})
		})
	}
}

// Another log has a past of its own, also when it loses its end.
func TestTheJournalGivesNothingBackToAnotherLog(t *testing.T) {
	bubble(t, func(w *world) {
		w.appends = true
		p := w.publisher()
		e := p.commit()
		w.log.Replace(event.NewID(), w.post(), w.post())
		time.Sleep(time.Minute) // of the bubble's clock
		w.wantInLog(false, e)
		later := p.commit()
		w.loses()
		time.Sleep(time.Minute) // of the bubble's clock
		w.wantInLog(false, e)
		w.wantInLog(true, later)
		p.stop()
	})
}

// What it has given back, and has no page, is lost if it does not get there before the end.
func TestAProcessThatStopsGivesBackBefore(t *testing.T) {
	bubble(t, func(w *world) {
		w.appends = true
		p := w.publisher()
		e := p.commit()
		w.loses()
		time.Sleep(3 * time.Second) // of the bubble's clock: it has noticed
		p.stop()
		w.wantInLog(true, e)
	})
}
