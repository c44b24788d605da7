package journal

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// settled commits events, and has the process find them in the log.
func (p *process) settled(events ...event.Event) {
	p.w.Helper()
	for _, e := range events {
		p.commit(e)
	}
	p.w.log.Append(events...)
	p.follow()
	p.wantJournal(0, 0)
}

// loses has the log lose its end, as the process's follower notices.
func (p *process) loses(left ...event.Event) {
	p.w.log.Replace(p.w.log.Position(0).Log, left...)
	p.at = eventlog.Position{}
	p.journal.GiveBack()
}

func TestALogThatLostItsEndGetsItBack(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.appends.Store(true)
		first, second, third := titled(w, "a"), titled(w, "b"), commented(w)
		p.settled(first, second, third)
		p.loses(first)
		p.wantJournal(3, 0)
		p.followFor(absentAfter - time.Second) // meanwhile eventlog gives back what it has
		w.wantAppended()
		p.followFor(2 * time.Second)
		w.wantAppended(second, third)
		p.followFor(time.Minute)
		w.wantAppended(second, third)
		p.wantJournal(0, 0)
		p.wantRepairs(map[repairs.Kind]int{repairs.GivenBack: 2})
		// It may lose them again.
		p.loses(first)
		p.followFor(absentAfter + time.Second)
		if known, err := w.log.Log.Known(context.Background(), idsOf([]event.Event{first, second, third})); err != nil || len(known) != 3 {
			w.Errorf("the log has %v, error %v", known, err)
		}
	})
}

// The follower has not read it, and does not notice.
func TestWhatTheLogLosesBeforeItIsReadIsPutThereAgain(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.appends.Store(true)
		first, second := titled(w, "a"), titled(w, "b")
		p.settled(first)
		w.failBus(func(event.Event) error { return errDown })
		p.commit(second)
		before := p.at
		w.log.Append(second)
		p.journal.Tick(context.Background(), before)
		time.Sleep(absentAfter) // of the bubble's clock
		p.journal.Tick(context.Background(), before)
		w.log.Replace(before.Log, first)
		w.wantAppended()
		p.followFor(2 * absentAfter)
		w.wantAppended(second)
		p.wantJournal(0, 0)
	})
}

// A log that has all is given nothing.
func TestALogThatHasAllIsGivenNothingBack(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.appends.Store(true)
		p.settled(titled(w, "a"), commented(w))
		p.journal.GiveBack()
		p.followFor(time.Minute)
		w.wantAppended()
		p.wantJournal(0, 0)
		p.wantRepairs(nil)
	})
}

// A repeat that is answered is in the store.
func TestARepeatOfWhatIsGivenBackGetsAPage(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.appends.Store(true)
		e := titled(w, "a")
		p.settled(e)
		p.loses()
		if _, err := p.journal.Commit(context.Background(), e, Claim{IsRepeat: true}); err != nil {
			t.Fatal(err)
		}
		p.wantJournal(1, 1)
		p.followFor(time.Minute)
		p.wantJournal(0, 0)
	})
}

// A store that has lost what was written last gets its claims back. Until then the process knows
// them.
func TestAClaimThatTheStoreHasLostStands(t *testing.T) {
	for name, isLogged := range map[string]bool{"of an event in the journal": false, "of an event in the log": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				p, other := w.start(), w.start()
				w.appends.Store(true)
				first, again := titled(w, "a"), titled(w, "a")
				setBack := w.store.Save()
				if _, err := p.journal.Commit(context.Background(), first, claimOf("k", "r")); err != nil {
					w.Fatal(err)
				}
				if isLogged {
					w.log.Append(first)
					p.follow()
				}
				setBack()
				p.journal.GiveBack() // as the follower says that has noticed it
				standing, err := p.journal.Commit(context.Background(), again, claimOf("k", "r"))
				if err != nil || !isOf(standing, first) {
					w.Errorf("the claim is %+v, error %v", standing, err)
				}
				p.follow()
				standing, err = other.journal.Commit(context.Background(), again, claimOf("k", "r"))
				if err != nil || !isOf(standing, first) {
					w.Errorf("at another process the claim is %+v, error %v", standing, err)
				}
			})
		})
	}
}

// What a process forgets is forgotten with its claim.
func TestClaimsAreRememberedAsLongAsTheirEvents(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		for i := range 5 {
			e := titled(w, "a")
			if _, err := p.journal.Commit(context.Background(), e, claimOf(fmt.Sprint(i), "r")); err != nil {
				w.Fatal(err)
			}
			w.log.Append(e)
			p.follow()
			if i == 2 {
				time.Sleep(2 * keptFor) // of the bubble's clock
			}
		}
		p.journal.mu.Lock()
		defer p.journal.mu.Unlock()
		if len(p.journal.used) != 2 || len(p.journal.logged) != 2 {
			w.Errorf("%d claims and %d events are remembered", len(p.journal.used), len(p.journal.logged))
		}
	})
}

// What is in the journal anyway keeps its page.
func TestWhatIsInTheJournalIsNotGivenBack(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		e := titled(w, "a")
		p.settled(e)
		if _, err := p.journal.Commit(context.Background(), e, Claim{IsRepeat: true}); err != nil {
			t.Fatal(err)
		}
		p.wantJournal(1, 1)
		p.journal.GiveBack()
		p.wantJournal(1, 1)
		p.followFor(time.Minute)
		p.wantJournal(0, 0)
		p.wantRepairs(nil)
	})
}

// A process remembers each event for keptFor, and no more than keptEvents and keptBytes.
func TestWhatAProcessRemembersIsBounded(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		wantRemembered := func(want int) {
			w.Helper()
			p.journal.mu.Lock()
			defer p.journal.mu.Unlock()
			size := 0
			for _, l := range p.journal.logged {
				size += l.size
			}
			if len(p.journal.logged) != want || size != p.journal.loggedBytes {
				w.Errorf("it remembers %d events of %d bytes and counts %d bytes, want %d events", len(p.journal.logged), size, p.journal.loggedBytes, want)
			}
		}
		remember := func(size int) {
			p.journal.mu.Lock()
			defer p.journal.mu.Unlock()
			p.journal.remember(&entry{event: titled(w, "a"), size: size}, "a log")
		}
		remember(1)
		time.Sleep(keptFor) // of the bubble's clock
		remember(1)
		wantRemembered(2)
		time.Sleep(time.Millisecond) // of the bubble's clock
		remember(1)
		wantRemembered(2)
		for range keptEvents {
			remember(1)
		}
		wantRemembered(keptEvents)
		remember(keptBytes - keptEvents + 1)
		wantRemembered(keptEvents) // of keptBytes
		remember(3)
		wantRemembered(keptEvents - 2)
		remember(keptBytes)
		wantRemembered(1)
	})
}
