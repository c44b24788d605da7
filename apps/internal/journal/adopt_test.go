package journal

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/members"
	"github.com/postbus/postbus/apps/internal/repairs"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/state/statetest"
)

// member returns the member of a process, as the store has it.
func (w *world) member(p *process) (m members.Member, isMember bool) {
	w.Helper()
	var all struct {
		Members []members.Member `json:"members"`
	}
	if value := w.store.Value("members"); value != "" {
		if err := json.Unmarshal([]byte(value), &all); err != nil {
			w.Fatal(err)
		}
	}
	for _, m := range all.Members {
		if m.ID == p.registry.ID() {
			return m, true
		}
	}
	return m, false
}

// followAll lets time pass while processes follow the log.
func followAll(long time.Duration, all ...*process) {
	for range long / time.Second {
		time.Sleep(time.Second) // of the bubble's clock
		for _, p := range all {
			p.follow()
		}
	}
}

// The log has one of the dead process's events. It gets the others from another process.
func TestTheJournalOfADeadProcessIsAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		followAll(12*time.Second, dead, p) // they have seen each other beat
		events := titledAll(w, 3)
		for _, e := range events {
			if _, err := dead.journal.Commit(context.Background(), e, claimOf(e.Subject, "r")); err != nil {
				w.Fatal(err)
			}
		}
		w.wantPublished(events...)
		w.log.Append(events[1])
		dead.kill()
		followAll(10*time.Second, p)
		w.wantPublished(events...)
		p.wantJournal(0, 0)

		followAll(15*time.Second, p)
		w.wantPublished(append(events, events[0], events[2])...)
		wantSameBytes(w, w.published[0], w.published[3])
		w.log.Append(events[0], events[2])
		followAll(10*time.Second, p)
		w.wantPublished(append(events, events[0], events[2])...)
		p.wantRepairs(map[repairs.Kind]int{repairs.Adopted: 2})
		p.wantJournal(0, 0)
		w.wantPages(0)
		if _, isMember := w.member(dead); isMember {
			w.Error("the dead process is a member")
		}
	})
}

// Nothing was lost, so there is nothing to repair.
func TestAnAdoptedJournalWhoseEventsTheLogHasIsOnlyRemoved(t *testing.T) {
	bubble(t, func(w *world) {
		dead := w.start()
		events := titledAll(w, 3)
		for _, e := range events {
			dead.commit(e)
		}
		w.wantPublished(events...)
		w.log.Append(events...)
		dead.kill()
		p := w.start()
		followAll(40*time.Second, p)
		w.wantPublished(events...)
		p.wantRepairs(nil)
		w.wantPages(0)
		if _, isMember := w.member(dead); isMember {
			w.Error("the dead process is a member")
		}
	})
}

// The log grows meanwhile, so it does not stand still. A process that was killed has
// published its events long before its lease ended.
func TestAdoptedEventsAreCheckedThoughTheLogGrows(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		e := titled(w, "a")
		dead.commit(e)
		w.wantPublished(e)
		dead.kill()
		for range 45 {
			w.grow()
			p.followFor(time.Second)
		}
		w.wantPublished(e, e)
	})
}

func TestAProcessThatIsNotTheWorkerAdoptsNothing(t *testing.T) {
	bubble(t, func(w *world) {
		worker, standby, dead := w.start(), w.start(), w.start()
		followAll(12*time.Second, worker, standby, dead)
		e := titled(w, "a")
		dead.commit(e)
		w.wantPublished(e)
		dead.kill()
		followAll(time.Minute, standby) // and the worker only beats
		standby.wantJournal(0, 0)
		followAll(time.Second, worker)
		worker.wantJournal(1, 1)
	})
}

// The command was answered with the other event, or was refused.
func TestAnEventWhoseClaimStandsForAnotherIsNotAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		first, second, alone := titled(w, "first"), titled(w, "second"), titled(w, "alone")
		if _, err := p.journal.Commit(context.Background(), first, claimOf("k", "r")); err != nil {
			w.Fatal(err)
		}
		w.log.Append(first)
		w.slow(100 * time.Millisecond)
		go dead.commit(titled(w, "so that the others share a page"))
		synctest.Wait()
		go dead.commit(alone)
		if standing, err := dead.journal.Commit(context.Background(), second, claimOf("k", "other")); err != nil || !isOf(standing, first) {
			w.Fatalf("the claim is %+v, error %v", standing, err)
		}
		if !w.hasPageOf(second) {
			w.Fatal("there is no page of the event")
		}
		w.onTheBus()
		dead.kill()
		followAll(30*time.Second, p)
		for _, e := range w.published {
			if e.ID == second.ID {
				w.Error("it was published")
			}
		}
		p.wantRepairs(map[repairs.Kind]int{repairs.Adopted: 2})
		w.log.Append(w.published...)
		followAll(10*time.Second, p)
		w.wantPages(0)
	})
}

// It died between the two writes of a call that happened by half. Nobody was answered, but
// the page shows only that the command was given.
func TestAPageWithoutItsClaimIsAdoptedWithIt(t *testing.T) {
	for name, isTaken := range map[string]bool{"no other has the key": false, "another has the key by then": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				dead, p := w.start(), w.start()
				w.store.Decide(func(item state.Item) statetest.Fate {
					if strings.HasPrefix(item.Key, "claim-") {
						return statetest.Refused
					}
					return statetest.Written
				})
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				e, other := titled(w, "a <b> & \u2028"), titled(w, "other")
				if _, err := dead.journal.Commit(ctx, e, claimOf("k", "r")); !errors.Is(err, context.DeadlineExceeded) {
					w.Fatalf("error %v", err)
				}
				dead.kill()
				w.store.Decide(nil)
				if isTaken {
					if _, err := p.journal.Commit(context.Background(), other, claimOf("k", "other")); err != nil {
						w.Fatal(err)
					}
					w.wantPublished(other)
					w.log.Append(other)
				}
				followAll(35*time.Second, p)
				if isTaken {
					w.wantPublished(other)
				} else {
					w.wantPublished(e, e)
					w.published = w.published[:1]
					w.log.Append(e)
					followAll(15*time.Second, p)
				}
				w.wantPages(0)
				standing, err := p.journal.Commit(context.Background(), titled(w, "repeat"), claimOf("k", "repeat"))
				if want := map[bool]event.Event{false: e, true: other}[isTaken]; err != nil || !isOf(standing, want) {
					w.Errorf("the claim is of %s, want %s (error %v)", standing.Event, want.ID, err)
				}
			})
		})
	}
}

// For some seconds each may take itself for the worker.
func TestTwoProcessesThatAdoptTheSameJournalDoNoHarm(t *testing.T) {
	bubble(t, func(w *world) {
		dead, a, b := w.start(), w.start(), w.start()
		events := titledAll(w, 250)
		for _, e := range events {
			dead.commit(e)
		}
		w.wantPublished(events...)
		dead.kill()
		for range 25 {
			followAll(time.Second, a, b)
			for _, p := range []*process{a, b} {
				for _, m := range p.registry.Dead() {
					if err := p.journal.adopt(context.Background(), m); err != nil {
						w.Fatal(err)
					}
				}
			}
		}
		a.wantJournal(250, 250)
		b.wantJournal(250, 250)
		times := map[string]int{}
		for _, id := range w.onTheBus()[len(events):] {
			times[id]++
		}
		for _, e := range events {
			if n := times[e.ID]; n != 1 && n != 2 {
				w.Errorf("%s was published again %d times", e.Post.Title, n)
			}
		}
		w.log.Append(events...)
		followAll(15*time.Second, a, b)
		a.wantJournal(0, 0)
		b.wantJournal(0, 0)
		w.wantPages(0)
		if _, isMember := w.member(dead); isMember {
			w.Error("the dead process is a member")
		}
		for _, p := range []*process{a, b} {
			if _, isMember := w.member(p); !isMember {
				w.Error("a living process is no member")
			}
		}
	})
}

// It has pages that another process has adopted, and makes new ones.
func TestAProcessThatComesBackKeepsWhatItHasCommittedSince(t *testing.T) {
	bubble(t, func(w *world) {
		paused, p := w.start(), w.start()
		followAll(12*time.Second, paused, p)
		before, after := titledAll(w, 3), titledAll(w, 3)
		for _, e := range before {
			paused.commit(e)
		}
		w.wantPublished(before...)
		paused.pause()
		followAll(25*time.Second, p)
		p.wantJournal(3, 3)
		w.wantPublished(append(before, before...)...)

		paused.resume()
		time.Sleep(time.Second) // of the bubble's clock
		for _, e := range after {
			paused.commit(e)
		}
		w.log.Append(before...)
		followAll(15*time.Second, p)
		p.wantJournal(0, 0)
		w.wantPages(3) // those of the process that is back
		for _, e := range after {
			if !w.hasPageOf(e) {
				w.Errorf("%s is in no page", e.Post.Title)
			}
		}
		if _, isMember := w.member(paused); !isMember {
			w.Error("it is no member")
		}
		w.log.Append(after...)
		followAll(15*time.Second, p, paused)
		paused.wantJournal(0, 0)
		w.wantPages(0)
		p.wantRepairs(map[repairs.Kind]int{repairs.Adopted: 3})
	})
}

// It came back, and was killed with new pages.
func TestAJournalIsAdoptedAgainWhenItsProcessDiesAgain(t *testing.T) {
	bubble(t, func(w *world) {
		unlucky, p := w.start(), w.start()
		followAll(12*time.Second, unlucky, p)
		first, second := titled(w, "first"), titled(w, "second")
		unlucky.commit(first)
		w.wantPublished(first)
		unlucky.pause()
		followAll(25*time.Second, p)
		unlucky.resume()
		time.Sleep(time.Second) // of the bubble's clock
		unlucky.commit(second)
		w.onTheBus()
		unlucky.kill()
		followAll(30*time.Second, p)
		p.wantJournal(2, 2)
		w.log.Append(first, second)
		followAll(15*time.Second, p)
		w.wantPages(0)
		if _, isMember := w.member(unlucky); isMember {
			w.Error("it is a member")
		}
	})
}

// It is paused between the write of its page and the answer, and removed meanwhile. The
// answer must wait until the others know of the page again.
func TestACommandIsNotAnsweredWithoutALease(t *testing.T) {
	bubble(t, func(w *world) {
		paused, p := w.start(), w.start()
		followAll(12*time.Second, paused, p)
		first, e := titled(w, "so that pages are reserved"), titled(w, "a")
		paused.commit(first)
		w.wantPublished(first)
		w.log.Append(first)
		followAll(5*time.Second, paused, p)
		paused.link.written = func(items []state.Item) {
			if strings.HasPrefix(items[0].Key, "journal-") {
				paused.pause()
				_ = paused.link.pass()
			}
		}
		answered := make(chan error, 1)
		go func() {
			_, err := paused.journal.Commit(context.Background(), e, Claim{})
			answered <- err
		}()
		followAll(40*time.Second, p) // it adopts the page and
		w.log.Append(e)
		followAll(10*time.Second, p) // removes it
		w.wantPages(0)
		if _, isMember := w.member(paused); isMember {
			w.Fatal("the paused process is a member: the test shows nothing")
		}

		w.store.Fail(errDown)
		paused.resume()
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		if len(answered) > 0 {
			w.Fatalf("answered with error %v, without a lease", <-answered)
		}
		w.store.Fail(nil)
		if err := <-answered; err != nil {
			w.Fatal(err)
		}
		if m, isMember := w.member(paused); !isMember || m.Until == 0 {
			w.Errorf("answered, and the member is %+v", m)
		}
	})
}

// The other process looked for pages before this one wrote its page, and has removed it from
// the members. Its page must be found all the same.
func TestAPageThatIsWrittenAfterTheAdoptionIsFoundByTheNextOne(t *testing.T) {
	bubble(t, func(w *world) {
		paused, p := w.start(), w.start()
		followAll(12*time.Second, paused, p)
		first, e := titled(w, "so that pages are reserved"), titled(w, "a")
		paused.commit(first)
		w.wantPublished(first)
		w.log.Append(first)
		followAll(5*time.Second, paused, p)
		paused.pause()
		answered := make(chan error, 1)
		go func() {
			_, err := paused.journal.Commit(context.Background(), e, Claim{})
			answered <- err
		}()
		followAll(40*time.Second, p)
		if _, isMember := w.member(paused); isMember {
			w.Fatal("the paused process is a member: the test shows nothing")
		}
		w.failBus(func(event.Event) error { return errDown })
		paused.resume()
		if err := <-answered; err != nil {
			w.Fatal(err)
		}
		paused.kill() // at once
		w.failBus(nil)
		followAll(40*time.Second, p)
		if got := w.onTheBus(); got[len(got)-1] != e.ID {
			w.Error("an event that was answered is lost")
		}
	})
}

// A version that comes later may write what this one does not know. The other pages are
// adopted all the same, and that one stays for the later version.
func TestAPageThatCannotBeReadDoesNotKeepOthersFromBeingAdopted(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"no JSON":            func(string) string { return "{" },
		"no event":           func(v string) string { return strings.ReplaceAll(v, `"specversion":"1.0"`, `"specversion":"2.0"`) },
		"an event too large": func(v string) string { return strings.ReplaceAll(v, "post 1", strings.Repeat("x", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				dead, p := w.start(), w.start()
				events := titledAll(w, 3)
				for _, e := range events {
					dead.commit(e)
				}
				w.wantPublished(events...)
				dead.kill()
				key := pageKey(dead.registry.ID(), 1)
				w.store.Put(key, damage(w.store.Value(key)))
				followAll(30*time.Second, p)
				w.wantPublished(append(events, events[0], events[2])...)
				w.log.Append(events[0], events[2])
				followAll(15*time.Second, p)
				w.wantPages(1)
				if _, isMember := w.member(dead); !isMember {
					w.Error("nobody can find the page any more")
				}
			})
		})
	}
}

// A later version was rolled back. Its events are published byte for byte.
func TestAnEventOfAnUnknownTypeIsAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		dead.commit(titled(w, "a"))
		w.onTheBus()
		dead.kill()
		key := pageKey(dead.registry.ID(), 0)
		w.store.Put(key, strings.ReplaceAll(w.store.Value(key), "PostCreated", "PostPraised"))
		followAll(25*time.Second, p)
		w.onTheBus()
		raw, err := event.Marshal(w.published[len(w.published)-1])
		if err != nil || len(w.published) != 2 || !strings.Contains(w.store.Value(key), string(raw)) {
			w.Errorf("published %s (error %v), and the page is %s", raw, err, w.store.Value(key))
		}
	})
}

func TestAnAdoptionThatFailsIsRepeated(t *testing.T) {
	for name, op := range map[string]statetest.Op{"reads": statetest.Get, "writes": statetest.Swap, "removals": statetest.Drop} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				dead, p := w.start(), w.start()
				e := titled(w, "a")
				if _, err := dead.journal.Commit(context.Background(), e, claimOf("k", "r")); err != nil {
					w.Fatal(err)
				}
				w.wantPublished(e)
				dead.kill()
				w.log.Append(e)
				fails := true
				w.store.Before(func(_ context.Context, c statetest.Call) error {
					if fails && c.Op == op && (strings.HasPrefix(c.Items[0].Key, "journal-"+dead.registry.ID()) || strings.HasPrefix(c.Items[0].Key, "claim-")) {
						return errDown
					}
					return nil
				})
				followAll(time.Minute, p)
				if op != statetest.Swap {
					w.wantPages(1)
				}
				fails = false
				followAll(15*time.Second, p)
				w.wantPublished(e)
				w.wantPages(0)
				if _, isMember := w.member(dead); isMember {
					w.Error("the dead process is a member")
				}
			})
		})
	}
}

// The one that has adopted a journal dies, too.
func TestAJournalIsAdoptedByAThirdProcess(t *testing.T) {
	bubble(t, func(w *world) {
		dead, adopter, p := w.start(), w.start(), w.start()
		followAll(12*time.Second, dead, adopter, p)
		e := titled(w, "a")
		dead.commit(e)
		w.wantPublished(e)
		dead.kill()
		followAll(20*time.Second, adopter, p)
		adopter.wantJournal(1, 1)
		adopter.kill()
		w.published = nil
		followAll(40*time.Second, p)
		if got := w.onTheBus(); len(got) == 0 || got[0] != e.ID {
			w.Errorf("published %q", got)
		}
		w.log.Append(e)
		followAll(40*time.Second, p)
		w.wantPages(0)
		for _, gone := range []*process{dead, adopter} {
			if _, isMember := w.member(gone); isMember {
				w.Error("a dead process is a member")
			}
		}
	})
}

func TestAJournalOfManyPagesIsAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		events := titledAll(w, reserved+readAtOnce+7)
		for _, e := range events {
			dead.commit(e)
		}
		w.onTheBus()
		w.log.Append(events[3 : reserved-3]...)
		dead.follow()
		dead.kill()
		followAll(30*time.Second, p)
		p.wantJournal(readAtOnce+13, readAtOnce+13)
		p.wantRepairs(map[repairs.Kind]int{repairs.Adopted: readAtOnce + 13})
		for _, c := range w.store.Calls(statetest.Get) {
			if len(c.Items) > readAtOnce {
				w.Errorf("a read of %d documents", len(c.Items))
			}
		}
	})
}

// Several processes have died with a full journal. Their events would not fit into the memory
// of one process, which also needs room for the commands that come now.
func TestAJournalIsAdoptedOnlyWhileThereIsRoom(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		followAll(12*time.Second, dead, p) // they have seen each other beat
		events := titledAll(w, 3*readAtOnce)
		for _, e := range events {
			dead.commit(e)
		}
		w.wantPublished(events...)
		dead.kill()
		p.putEvents(MaxEvents/2-1, 0)
		followAll(25*time.Second, p)
		p.wantJournal(MaxEvents/2-1+readAtOnce, readAtOnce)
		p.commit(titled(w, "there is room for it"))

		p.journal.mu.Lock()
		for _, e := range p.journal.entries {
			if e.event.Data == nil {
				p.journal.remove(e)
			}
		}
		p.journal.mu.Unlock()
		followAll(15*time.Second, p)
		p.wantJournal(len(events)+1, len(events)+1)
	})
}

// The members are read at the next beat only. Until then the process that was removed must not
// be adopted again: its pages would be looked for again, and it would be remembered for good.
func TestAJournalIsAdoptedOnce(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		followAll(12*time.Second, dead, p) // they have seen each other beat
		e := titled(w, "a")
		dead.commit(e)
		w.wantPublished(e)
		w.log.Append(e)
		dead.kill()
		followAll(time.Minute, p)
		if _, isMember := w.member(dead); isMember {
			w.Fatal("the dead process is a member")
		}
		if n := len(p.journal.adopted); n > 0 {
			w.Errorf("%d processes are remembered", n)
		}
		if n := w.store.Named(statetest.Get, "journal-"); n > reserved {
			w.Errorf("%d pages were looked for, want %d", n, reserved)
		}
	})
}

// Meanwhile nothing is confirmed, because the same goroutine follows the log.
func TestAnAdoptionFromAStoreThatHangsTakesOneCall(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		followAll(12*time.Second, dead, p) // they have seen each other beat
		dead.commit(titled(w, "a"))
		dead.kill()
		followAll(12*time.Second, p)
		time.Sleep(8 * time.Second) // of the bubble's clock: it is taken for dead now
		w.store.Before(func(ctx context.Context, c statetest.Call) error {
			if !strings.HasPrefix(c.Items[0].Key, "journal-") {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		began := time.Now()
		p.follow()
		if took := time.Since(began); took != callTimeout {
			w.Errorf("it took %v, want %v", took, callTimeout)
		}
		w.store.Before(nil)
		p.follow()
		p.wantJournal(1, 1)
	})
}

// Its claim has expired while its page waited, and the client uses the key again.
func TestACommittedEventIsAdoptedThoughItsKeyWasUsedAgainAfterADay(t *testing.T) {
	bubble(t, func(w *world) {
		dead := w.start()
		first := titled(w, "first")
		if standing, err := dead.journal.Commit(context.Background(), first, claimOf("k", "r")); err != nil || !isOf(standing, first) {
			w.Fatalf("error %v", err)
		}
		w.wantPublished(first) // and the bus loses it
		dead.kill()
		time.Sleep(claimTTL) // of the bubble's clock: the service is away
		p := w.start()
		later := titled(w, "later")
		if standing, err := p.journal.Commit(context.Background(), later, claimOf("k", "r")); err != nil || !isOf(standing, later) {
			w.Fatalf("error %v", err)
		}
		w.wantPublished(first, later)
		w.log.Append(later)
		p.followFor(20 * time.Second)
		w.wantPublished(first, later, first)
	})
}

// The sidecar answers with at most 16 MiB (maxBodySize in dapr.yaml), and fails for more.
func TestAJournalOfLargePagesIsAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		dead, p := w.start(), w.start()
		followAll(12*time.Second, dead, p) // they have seen each other beat
		dead.commit(titled(w, "so that pages are reserved"))
		var full stored
		for size := 0; size < pageBytes; {
			e := titled(w, "a")
			e.Post.Body = strings.Repeat("\u20ac", 10_000)
			e, err := event.OfPost(event.PostCreated, "posts", *e.Post, e.Time, "")
			if err != nil {
				w.Fatal(err)
			}
			raw, err := event.Marshal(e)
			if err != nil {
				w.Fatal(err)
			}
			full.Entries, size = append(full.Entries, storedEntry{Event: raw}), size+len(raw)
		}
		value, err := event.Marshal(full)
		if err != nil {
			w.Fatal(err)
		}
		for number := range uint64(20) {
			w.store.Put(pageKey(dead.registry.ID(), 1+number), string(value))
		}
		dead.kill()
		p.link.mu.Lock()
		p.link.maxAnswer = 16 << 20
		p.link.mu.Unlock()
		followAll(25*time.Second, p)
		p.wantJournal(1+len(full.Entries), 1+20)
	})
}

// stopNow stops a process in the background. Its follower goes on meanwhile, as that of a
// service does.
func (p *process) stopNow() (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.stop()
	}()
	synctest.Wait()
	return done
}

func isDone(done <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestAStopWaitsUntilTheLogHasAllEvents(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		w.failBus(func(event.Event) error { return errDown })
		events := titledAll(w, 3)
		for _, e := range events {
			p.commit(e)
		}
		start, ended := time.Now(), p.stopNow()
		time.Sleep(2 * time.Second) // of the bubble's clock
		w.failBus(nil)
		time.Sleep(retryPause) // of the bubble's clock
		w.wantPublished(events...)
		if isDone(ended) {
			w.Fatal("it has ended before the log has its events")
		}
		w.log.Append(events...)
		p.follow()
		<-ended
		if took := time.Since(start); took > 3*time.Second {
			w.Errorf("took %v", took)
		}
		w.wantPages(0)
		if _, isMember := w.member(p); isMember {
			w.Error("it is a member")
		}
	})
}

func TestAnIdleProcessStopsAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		p, start := w.start(), time.Now()
		p.stop()
		if took := time.Since(start); took > retryPause {
			w.Errorf("took %v", took)
		}
		if _, isMember := w.member(p); isMember {
			w.Error("it is a member")
		}
	})
}

// What is left is adopted without a lease: the process has said that it has ended.
func TestAStopEndsAtItsDeadlineAndLeavesTheRest(t *testing.T) {
	bubble(t, func(w *world) {
		p, next := w.start(), w.start()
		followAll(12*time.Second, p, next)
		events := titledAll(w, 3)
		for _, e := range events {
			p.commit(e)
		}
		w.wantPublished(events...)
		w.log.Append(events[0])
		start := time.Now()
		p.stop()
		if took := time.Since(start); took != DrainFor {
			w.Errorf("took %v", took)
		}
		w.wantPages(3)
		if m, isMember := w.member(p); !isMember || !m.HasLeft {
			w.Errorf("the member is %+v", m)
		}
		followAll(9*time.Second, next) // they may be on their way
		w.wantPublished(events...)
		next.wantJournal(3, 3)
		followAll(5*time.Second, next)
		w.wantPublished(append(events, events[1], events[2])...)
		w.log.Append(events[1], events[2])
		followAll(10*time.Second, next)
		w.wantPages(0)
		if _, isMember := w.member(p); isMember {
			w.Error("it is still a member")
		}
	})
}

// The process stops while the store does not answer. Nobody knows whether the page is there,
// so another process has to look for it.
func TestAPageThatWasPerhapsWrittenAtTheStopIsAdopted(t *testing.T) {
	bubble(t, func(w *world) {
		p := w.start()
		first := titled(w, "so that pages are reserved")
		p.commit(first)
		w.onTheBus()
		w.log.Append(first)
		p.follow()
		w.store.Decide(func(item state.Item) statetest.Fate {
			if strings.HasPrefix(item.Key, "journal-") {
				return statetest.Late
			}
			return statetest.Written
		})
		e := titled(w, "a")
		answered := make(chan error, 1)
		go func() {
			_, err := p.journal.Commit(context.Background(), e, Claim{})
			answered <- err
		}()
		synctest.Wait()
		p.stop()
		if err := <-answered; !errors.Is(err, ErrStopped) {
			w.Errorf("error %v", err)
		}
		w.store.Decide(nil)
		w.store.Land()
		next := w.start()
		followAll(20*time.Second, next)
		w.wantPublished(first, e)
		w.log.Append(e)
		followAll(20*time.Second, next)
		w.wantPages(0)
		if _, isMember := w.member(p); isMember {
			w.Error("it is still a member")
		}
	})
}
