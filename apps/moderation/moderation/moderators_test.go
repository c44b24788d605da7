package moderation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/moderation/policy"
)

const aPost = "01936f5e-7a00-7abc-8def-0123456789ab"

func TestAModeratorsDecisionIsCommittedAndStands(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		held := o.commented("Hello")
		o.wantStands(held, event.Held, 2, "")
		path := "/moderation/comments/" + held.ID
		var approved, rejected event.Comment
		o.does(http.MethodPost, path, `{"decision":"approve","reason":"fine"}`, http.StatusOK, &approved)
		o.wantStands(approved, event.Approved, 3, theModerator)
		if approved.Content != "Hello" || approved.Reason != "fine" || approved.PolicyVersion != 0 {
			t.Errorf("approved is %+v", approved)
		}
		// The same again, of the same moderator, changes nothing.
		var again event.Comment
		o.does(http.MethodPost, path, `{"decision":"approve","reason":"fine","revision":2}`, http.StatusOK, &again)
		o.wantStands(again, event.Approved, 3, theModerator)
		o.does(http.MethodPost, path, `{"decision":"reject"}`, http.StatusOK, &rejected)
		o.wantStands(rejected, event.Rejected, 4, theModerator)

		events := o.toLog()
		if len(events) != 2 || events[0].Type != event.CommentModerated || *events[0].Comment != approved || *events[1].Comment != rejected {
			t.Fatalf("committed are %+v", events)
		}
		if events[0].ID != event.IDOf(event.CommentModerated, held.ID, 3) || events[0].Source != "/moderation" {
			t.Errorf("the event is %+v", events[0])
		}
		// A redelivery gets the policy's decision, as it was.
		o.bus.events = nil
		in := held.Created()
		e, err := event.OfComment(event.CommentCreated, "comments", in, noon, "")
		if err != nil {
			t.Fatal(err)
		}
		if o.decideAll(t.Context(), []event.Event{e}); len(o.bus.events) != 1 || *o.bus.events[0].Comment != held {
			t.Errorf("the redelivery is answered %+v", o.bus.events)
		}
		o.wantStands(rejected, event.Rejected, 4, theModerator)
	})
}

// One replica has read what was decided, when another one commits the next revision.
func TestOfTwoDecisionsAtOnceOneWins(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		held, other := o.commented("Hello"), o.start(holdsAll)
		path := "/moderation/comments/" + held.ID
		var winner event.Comment
		read := false
		o.store.Before(func(_ context.Context, c statetest.Call) error {
			if c.Op == statetest.Get && !read && len(c.Keys()) == 2 {
				read = true // the loser is about to read the document, and reads what was before
				after := o.store.Save()
				res := other.ask(t, moderator, http.MethodPost, path, `{"decision":"approve"}`)
				o.wantStatus(res, http.StatusOK, &winner)
				after()
			}
			return nil
		})
		var problem struct {
			Stands event.Comment `json:"stands"`
		}
		res := o.ask(t, moderator, http.MethodPost, path, `{"decision":"reject"}`)
		o.wantStatus(res, http.StatusConflict, &problem)
		o.store.Before(nil)
		if problem.Stands != winner || winner.Revision != 3 || winner.Status != event.Approved {
			t.Errorf("the loser is told %+v, and %+v has won", problem.Stands, winner)
		}
		o.wantStands(winner, event.Approved, 3, theModerator)
		for _, e := range o.toLog() {
			if *e.Comment != winner {
				t.Errorf("committed is %+v", e.Comment)
			}
		}
		// Then it may decide again.
		var next event.Comment
		o.does(http.MethodPost, path, `{"decision":"reject","revision":3}`, http.StatusOK, &next)
		o.wantStands(next, event.Rejected, 4, theModerator)
	})
}

func TestADecisionOnWhatWasSeenBefore(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		path := "/moderation/comments/" + o.commented("Hello").ID
		o.does(http.MethodPost, path, `{"decision":"approve","revision":2}`, http.StatusOK, nil)
		res := o.does(http.MethodPost, path, `{"decision":"reject","revision":2}`, http.StatusConflict, nil)
		if !strings.Contains(res.Body.String(), `"stands":{`) || !strings.Contains(res.Body.String(), `"revision":3`) {
			t.Errorf("the conflict is %s", res.Body)
		}
	})
}

func TestAnUndoGivesBackTheDecisionBefore(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		held := o.commented("Hello")
		path := "/moderation/comments/" + held.ID
		undo := func(revision, status int, undone any) {
			t.Helper()
			o.does(http.MethodPost, path+"/undo", fmt.Sprintf(`{"revision":%d}`, revision), status, undone)
		}
		undo(3, http.StatusConflict, nil)
		o.does(http.MethodPost, path, `{"decision":"approve"}`, http.StatusOK, nil)
		for i, want := range []event.Status{event.Held, event.Approved, event.Held} { // an undo of an undo, too
			var undone event.Comment
			undo(3+i, http.StatusOK, &undone)
			undo(3+i, http.StatusConflict, nil) // sent again, it does not take itself back
			o.wantStands(undone, want, 4+i, theModerator)
			if (undone.Reason != "") != (want == event.Held) || undone.PolicyVersion != 0 {
				t.Errorf("undone is %+v", undone)
			}
		}
		o.does(http.MethodPost, path, `{"decision":"approve"}`, http.StatusOK, nil)
		o.does(http.MethodPost, path, `{"decision":"reject"}`, http.StatusOK, nil)
		var undone event.Comment
		undo(8, http.StatusOK, &undone)
		o.wantStands(undone, event.Approved, 9, theModerator)
		if n := len(o.toLog()); n != 7 {
			t.Errorf("%d events", n)
		}
	})
}

func TestWhatIsNoDecisionIsRefused(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		path := "/moderation/comments/" + o.commented("Hello").ID
		for body, status := range map[string]int{
			"": 415, "{": 400, `{"decision":"approve","by":"me"}`: 400, `{"decision":7}`: 400, `{"decision":"approve","revision":"3"}`: 400,
			`{}`: 422, `{"decision":"ban"}`: 422, `{"decision":"approve","reason":"` + strings.Repeat("x", 501) + `"}`: 422,
		} {
			o.does(http.MethodPost, path, body, status, nil)
		}
		for body, status := range map[string]int{"": 415, `{"reason":"x"}`: 400, `{}`: 422, `{"revision":2}`: 422} {
			o.does(http.MethodPost, path+"/undo", body, status, nil)
		}
		for _, id := range []string{"1", event.NewID(), strings.ToUpper(path[len(path)-36:])} {
			o.does(http.MethodPost, "/moderation/comments/"+id, `{"decision":"approve"}`, http.StatusNotFound, nil)
		}
		o.does(http.MethodPost, "/moderation/posts/"+aPost, `{"comments":"half"}`, 422, nil)
		o.does(http.MethodPost, "/moderation/posts/1", `{"comments":"closed"}`, 404, nil)
		o.does(http.MethodPost, "/moderation/people/ann", `{}`, 422, nil)
		o.does(http.MethodPost, "/moderation/people/ann", `{"blocked":"yes"}`, 400, nil)
		o.does(http.MethodPost, "/moderation/people/an%20other", `{"blocked":true}`, 404, nil)
		if n := len(o.journal.Events()); n > 0 {
			t.Errorf("%d events were committed", n)
		}
	})
}

func TestTheQueueHasTheOldestFirst(t *testing.T) {
	inOffice(t, policy.Rules{Words: []policy.WordRule{{Text: "hold", Match: policy.Part, Action: policy.Hold}}}, func(t *testing.T, o *office) {
		var held []string
		for _, content := range []string{"hold 1", "approved 1", "hold 2", "hold 3", "approved 2"} {
			if c := o.commented(content); c.Status == event.Held {
				held = append(held, c.ID)
			}
		}
		page := func(path string) (ids []string, next string) {
			var comments []event.Comment
			res := o.does(http.MethodGet, path, "", http.StatusOK, &comments)
			for _, c := range comments {
				if ids = append(ids, c.ID); c.Content == "" || c.Reason == "" && c.Status == event.Held {
					t.Errorf("the queue has %+v", c)
				}
			}
			next, _, _ = strings.Cut(strings.TrimPrefix(res.Header().Get("Link"), "<"), ">")
			return ids, next
		}
		first, next := page("/moderation/queue?limit=2")
		rest, end := page(next)
		if got := strings.Join(append(first, rest...), " "); got != strings.Join(held, " ") || len(rest) != 1 || end != "" {
			t.Errorf("the pages have %v and %v, then %q; want %v", first, rest, end, held)
		}
		if ids, _ := page("/moderation/queue?status=approved"); len(ids) != 2 {
			t.Errorf("approved are %v", ids)
		}
		// What is decided has gone, also before the log has it.
		o.does(http.MethodPost, "/moderation/comments/"+held[0], `{"decision":"reject"}`, http.StatusOK, nil)
		if ids, _ := page("/moderation/queue"); strings.Join(ids, " ") != strings.Join(held[1:], " ") {
			t.Errorf("after a decision the queue has %v", ids)
		}
		o.toLog()
		if ids, _ := page("/moderation/queue?status=rejected"); len(ids) != 1 || ids[0] != held[0] {
			t.Errorf("rejected are %v", ids)
		}
		for query, status := range map[string]int{"status=odd": 400, "limit=0": 400, "limit=101": 400, "cursor=1": 400, "cursor=" + event.NewID(): 200} {
			o.does(http.MethodGet, "/moderation/queue?"+query, "", status, nil)
		}
	})
}

// While the store is filled from the log, nothing is decided.
func TestWithAnEmptiedStoreModeratorsWait(t *testing.T) {
	inOffice(t, holdsAll, func(_ *testing.T, o *office) {
		id := o.commented("Hello").ID
		o.Progress = emptied{}
		o.does(http.MethodPost, "/moderation/comments/"+id, `{"decision":"approve"}`, http.StatusServiceUnavailable, nil)
		o.does(http.MethodPost, "/moderation/posts/"+aPost, `{"comments":"closed"}`, http.StatusServiceUnavailable, nil)
		o.does(http.MethodPost, "/moderation/people/ann", `{"blocked":true}`, http.StatusServiceUnavailable, nil)
		o.does(http.MethodGet, "/moderation/policy", "", http.StatusServiceUnavailable, nil)
		o.Progress = whole{}
		o.store.Fail(statetest.ErrDown)
		o.does(http.MethodPost, "/moderation/comments/"+id, `{"decision":"approve"}`, http.StatusServiceUnavailable, nil)
		o.store.Fail(nil)
		o.does(http.MethodPost, "/moderation/comments/"+id, `{"decision":"approve"}`, http.StatusOK, nil)
	})
}

// emptied is the progress of a service whose store was emptied.
type emptied struct{}

func (emptied) IsRestored() bool { return false }
func (emptied) IsOf([]byte) bool { return false }

// The process that decided died before the store had it. No revision that was seen is current then.
func TestADecisionThatTheStoreLacksIsNotPassedOver(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		path := "/moderation/comments/" + o.commented("Hello").ID
		setBack := o.store.Save()
		o.does(http.MethodPost, path, `{"decision":"approve"}`, http.StatusOK, nil)
		decided := o.toLog()
		setBack()
		o.does(http.MethodPost, path, `{"decision":"reject","revision":2}`, http.StatusServiceUnavailable, nil)
		if err := errors.Join(o.restore(t.Context(), decided)...); err != nil {
			t.Fatal(err)
		}
		o.does(http.MethodPost, path, `{"decision":"reject","revision":2}`, http.StatusConflict, nil)
		o.does(http.MethodPost, path, `{"decision":"reject","revision":3}`, http.StatusOK, nil)
	})
}
