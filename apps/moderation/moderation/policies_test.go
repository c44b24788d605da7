package moderation

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/moderation/policy"
)

const (
	pears   = `{"words":[{"text":"pear","match":"part","action":"hold"}]}`
	nothing = `{}`
)

// put changes the policy, as a moderator who has seen that version.
func (o *office) put(rules, match string, status int) {
	o.Helper()
	var headers []string
	if match != "" {
		headers = []string{"If-Match", match}
	}
	res := o.ask(o.T, moderator, http.MethodPut, "/moderation/policy", rules, headers...)
	o.wantStatus(res, status, nil)
}

func TestThePolicyIsChangedByThoseWhoHaveSeenIt(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		res := o.does(http.MethodGet, "/moderation/policy", "", http.StatusOK, nil)
		if got := strings.TrimSpace(res.Body.String()); res.Header().Get("ETag") != `"1"` || got != `{"words":[{"text":"orange","match":"part","action":"reject"}]}` {
			t.Errorf("the default is %s %s", res.Header().Get("ETag"), got)
		}
		o.put(pears, "", http.StatusPreconditionRequired)
		o.put(pears, `"2"`, http.StatusPreconditionFailed)
		o.put(`{"fruit":1}`, `"1"`, http.StatusBadRequest)
		o.put(`{"links":{"most":"1"}}`, `"1"`, http.StatusBadRequest)
		o.put(`{"links":{"most":-1,"action":"hold"}}`, `"1"`, http.StatusUnprocessableEntity)
		o.put(`{"scorer":{"holdFrom":0.5,"rejectFrom":0.9,"timeoutMs":100}}`, `"1"`, http.StatusUnprocessableEntity)
		if n := len(o.journal.Events()); n > 0 {
			t.Fatalf("%d events were committed", n)
		}
		o.put(pears, `"1"`, http.StatusOK)
		o.put(nothing, `"1"`, http.StatusPreconditionFailed)
		res = o.does(http.MethodGet, "/moderation/policy", "", http.StatusOK, nil)
		if got := strings.TrimSpace(res.Body.String()); res.Header().Get("ETag") != `"2"` || got != pears {
			t.Errorf("the policy is %s %s", res.Header().Get("ETag"), got)
		}
		events := o.toLog()
		if len(events) != 1 || events[0].Type != event.PolicyChanged || events[0].Policy.Revision != 2 || events[0].Policy.ChangedBy != theModerator {
			t.Errorf("committed are %+v", events)
		}
	})
}

// Two moderators have seen one version. The second one's replica has not noticed yet.
func TestOfTwoChangesAtOnceOneWins(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		before := o.store.Save()
		o.put(pears, `"1"`, http.StatusOK)
		before()
		o.put(nothing, `"1"`, http.StatusPreconditionFailed)
		if res := o.does(http.MethodGet, "/moderation/policy", "", http.StatusOK, nil); strings.TrimSpace(res.Body.String()) != pears {
			t.Errorf("the policy is %s", res.Body)
		}
		for _, e := range o.toLog() {
			if string(e.Policy.Rules) != pears && !strings.Contains(string(e.Data), "pear") {
				t.Errorf("committed is %s", e.Data)
			}
		}
	})
}

// Every replica decides by a policy that is at most a second old, and names its version.
func TestAReplicaReadsThePolicyEverySecond(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		o.commented("before")
		other := o.start(policy.Default)
		other.ask(t, moderator, http.MethodPut, "/moderation/policy", pears, "If-Match", `"1"`)
		time.Sleep(time.Second) // of the bubble's clock
		reads := o.store.Named(statetest.Get, policyKey)
		for range 3 {
			if c := o.commented("a pear"); c.Status != event.Held || c.PolicyVersion != 2 {
				t.Errorf("after a second it is %+v", c)
			}
		}
		if n := o.store.Named(statetest.Get, policyKey) - reads; n != 1 {
			t.Errorf("the policy is read %d times within a second", n)
		}
		// The decision of before stands.
		if c := o.commented("an orange"); c.Status != event.Approved {
			t.Errorf("it is %+v", c)
		}
	})
}

func TestThePolicyIsRestoredFromTheLog(t *testing.T) {
	inOffice(t, policy.Default, func(t *testing.T, o *office) {
		o.put(pears, `"1"`, http.StatusOK)
		o.put(nothing, `"2"`, http.StatusOK)
		o.put(pears, `"3"`, http.StatusOK)
		events, was := o.toLog(), o.store.Value(policyKey)
		o.store.Clear()
		consumer := o.Consumers()[0]
		for _, i := range []int{1, 2, 0} {
			if missing, err := consumer.Missing(t.Context(), events[i:i+1]); err != nil || missing[0] != (i != 0) {
				t.Errorf("event %d: missing is %v, error %v", i, missing, err)
			}
			if errs := consumer.Restore(t.Context(), events[i:i+1]); errs[0] != nil {
				t.Error(errs)
			}
		}
		if got := o.store.Value(policyKey); got != was {
			t.Errorf("it is restored as %s, and was %s", got, was)
		}
	})
}

// A change of the policy changes no decision, until a moderator asks for that.
func TestHeldCommentsAreLookedAtAnewOnRequest(t *testing.T) {
	inOffice(t, holdsAll, func(t *testing.T, o *office) {
		first, second, decided := o.commented("a pear"), o.commented("an apple"), o.commented("a plum")
		o.does(http.MethodPost, "/moderation/comments/"+decided.ID, `{"decision":"reject"}`, http.StatusOK, nil)
		o.put(pears, `"1"`, http.StatusOK)
		o.wantStands(second, event.Held, 2, "")
		var done application
		o.does(http.MethodPost, "/moderation/policy/apply", "", http.StatusOK, &done)
		if done.Examined != 3 || done.Next != "" || len(done.Decided) != 1 || done.Decided[0].ID != second.ID {
			t.Fatalf("done is %+v", done)
		}
		o.wantStands(done.Decided[0], event.Approved, 3, theModerator)
		if done.Decided[0].PolicyVersion != 2 {
			t.Errorf("it is decided under version %d", done.Decided[0].PolicyVersion)
		}
		o.wantStands(first, event.Held, 2, "")
		o.toLog()
		o.does(http.MethodPost, "/moderation/policy/apply", "", http.StatusOK, &done)
		if done.Examined != 1 || len(done.Decided) != 0 {
			t.Errorf("again it is %+v", done)
		}
		o.does(http.MethodPost, "/moderation/policy/apply?cursor="+first.ID, "", http.StatusOK, &done)
		if done.Examined != 0 {
			t.Errorf("after the last one it is %+v", done)
		}
	})
}
