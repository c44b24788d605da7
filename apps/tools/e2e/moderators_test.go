package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// moderators are the people who decide at once, each of them every decideEvery. Half of their
// decisions are on one of the newestComments, so that they meet each other and the policy.
var moderators = []string{"moderator", "second-moderator"}

const (
	decideEvery    = 500 * time.Millisecond
	newestComments = 4
	// byThePolicy is the revision of the policy's decision. Those of moderators are higher.
	byThePolicy = 2
)

// beginModerating has moderators decide on comments of the load, if its system has any.
func (l *load) beginModerating(ctx context.Context, t *testing.T, seed uint64) {
	t.Helper()
	if !l.s.isModerated {
		return
	}
	for i, person := range moderators {
		m := &moderator{l, signIn(t, issuerOf(l.s), person), person, rand.New(rand.NewPCG(seed, uint64(writers+pageReaders+1+i)))} //nolint:gosec // to be repeatable
		l.all.Go(func() {
			every(ctx, decideEvery, func(n int) {
				if id := l.someComment(m.random); id != "" && l.commenting.TryRLock() {
					defer l.commenting.RUnlock()
					m.decide(ctx, id, n)
				}
			})
		})
	}
}

// someComment is a comment that was answered 201, often a new one.
func (l *load) someComment(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	among := l.written
	if random.IntN(2) == 0 {
		among = among[max(0, len(among)-newestComments):]
	}
	if len(among) == 0 {
		return ""
	}
	return among[random.IntN(len(among))]
}

// moderator decides on one comment after the other.
type moderator struct {
	l                     *load
	authorization, person string
	random                *rand.Rand
}

// decide looks at a comment, and decides on it or undoes what was decided. The revision that was
// seen goes with the request: so the request, sent again until it has an answer, makes one decision
// at most.
func (m *moderator) decide(ctx context.Context, id string, n int) {
	replicas := m.l.replicas("moderation")
	url := replicas[m.random.IntN(len(replicas))].URL() + "/moderation/comments/" + id
	var seen comment
	a, err := system.Ask(loadClient, http.MethodGet, url, "", m.authorization)
	if err == nil && a.Status == http.StatusUnauthorized { // the token has ended, or its issuer was started again
		if authorization, err := tokenOf(ctx, issuerOf(m.l.s), m.person); err == nil {
			m.authorization = authorization
		}
		return
	}
	if err != nil || a.Status != http.StatusOK || json.Unmarshal(a.Body, &seen) != nil {
		return // it is on its way to the log, or something is down
	}
	c := command{url: url + "/undo", body: fmt.Sprintf(`{"revision":%d}`, seen.Revision), authorization: m.authorization}
	made := version{}
	if seen.Revision <= byThePolicy || m.random.IntN(4) > 0 {
		action := []string{"approve", "reject", "hold"}[m.random.IntN(3)]
		made = version{outcomeOf(action), fmt.Sprintf("decision %d of %s", n, m.person)}
		c.url, c.body = url, fmt.Sprintf(`{"decision":%q,"reason":%q,"revision":%d}`, action, made.reason, seen.Revision)
	}
	answered, isSent := m.l.untilDecided(ctx, c)
	m.l.bookDecision(id, max(byThePolicy, seen.Revision)+1, made, answered, isSent)
}

func outcomeOf(action string) string {
	return map[string]string{"approve": "approved", "reject": "rejected", "hold": "held"}[action]
}

// untilDecided sends a decision until it is answered or refused. isSent says that it may have
// happened although it was not answered.
func (l *load) untilDecided(ctx context.Context, c command) (answered *comment, isSent bool) {
	for begun := time.Now(); time.Since(begun) < giveUp; {
		status, why, answer, err := l.send(c)
		switch {
		case err == nil && status == http.StatusOK:
			answered = &comment{}
			if err := json.Unmarshal([]byte(answer), answered); err != nil {
				l.fail(fmt.Errorf("POST %s: %w in %s", c.url, err, answer))
			}
			return answered, true
		case err == nil && slices.Contains([]int{http.StatusConflict, http.StatusUnauthorized}, status):
			return nil, isSent // somebody else was first, or an earlier try; or the token has ended
		case err == nil && !slices.Contains([]int{http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusNotFound}, status):
			l.fail(fmt.Errorf("POST %s: %d %s", c.url, status, why))
			return nil, isSent
		}
		isSent = isSent || status != http.StatusNotFound
		if ctx.Err() != nil { // the load ends, and what the answer needs may be down until then
			return nil, isSent
		}
		time.Sleep(50 * time.Millisecond) // a client's pause between two tries
	}
	l.fail(fmt.Errorf("POST %s: no answer within %s", c.url, giveUp))
	return nil, isSent
}

// version is a decision on a comment.
type version struct{ status, reason string }

// decided is what moderators know of their decisions on a comment.
type decided struct {
	// answered are the decisions that had their 200, by revision.
	answered map[int]version
	// unknown counts those that may have happened, and had no answer.
	unknown int
}

func (d *decided) clone() *decided {
	return &decided{maps.Clone(d.answered), d.unknown}
}

// highest is the highest revision that is known. Without decisions of moderators, d may be nil.
func (d *decided) highest() int {
	highest := byThePolicy
	if d != nil {
		for revision := range d.answered {
			highest = max(highest, revision)
		}
	}
	return highest
}

// bookDecision notes what became of a decision that is to have a revision. An undo has no version
// of its own.
func (l *load) bookDecision(id string, revision int, made version, answered *comment, isSent bool) {
	if !isSent {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.decided[id]
	if d == nil {
		d = &decided{answered: map[int]version{}}
		l.decided[id] = d
	}
	if answered == nil {
		d.unknown++
		return
	}
	stands := version{answered.Status, answered.Reason}
	if _, isTwice := d.answered[revision]; isTwice || answered.Revision != revision || made != (version{}) && made != stands {
		l.wrong = append(l.wrong, fmt.Errorf("the decision %+v on comment %s, to be revision %d, is answered %+v", made, id, revision, answered))
	}
	d.answered[answered.Revision] = stands
}

// mayBeDecided says that moderators decided on a comment, or may have.
func (l *load) mayBeDecided(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.decided[id] != nil
}

// trail is what the log has of a comment.
type trail struct {
	created int
	// moderated and updated are by revision.
	moderated, updated map[int][]comment
	// others are events that no comment has.
	others []string
}

func newTrail() *trail {
	return &trail{moderated: map[int][]comment{}, updated: map[int][]comment{}}
}

func (t *trail) add(kind string, c comment) {
	revisions := map[string]map[int][]comment{"CommentModerated": t.moderated, "CommentUpdated": t.updated}[kind]
	switch {
	case kind == "CommentCreated":
		t.created++
	case revisions == nil || c.Revision < byThePolicy:
		t.others = append(t.others, fmt.Sprintf("%s of revision %d", kind, c.Revision))
	default:
		revisions[c.Revision] = append(revisions[c.Revision], c)
	}
}

// stands is the update of the highest revision, which readers see.
func (t *trail) stands() (c comment, has bool) {
	if len(t.updated) == 0 {
		return comment{}, false
	}
	return t.updated[slices.Max(slices.Collect(maps.Keys(t.updated)))][0], true
}

// check compares the log with the policy's decision and those of moderators, which may be nil. Each
// revision has one decision and one update, and there is no gap.
func (t *trail) check(policy string, d *decided) (lost int, errs []error) {
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.created != 1 || len(t.others) > 0 {
		say("the log has %d CommentCreated, and of others %v", t.created, t.others)
	}
	d = cmp.Or(d, &decided{})
	highest, unanswered := d.highest(), 0
	for _, revisions := range []map[int][]comment{t.moderated, t.updated} {
		for revision := range revisions {
			highest = max(highest, revision)
		}
	}
	for revision := byThePolicy; revision <= highest; revision++ {
		moderated, updated := t.moderated[revision], t.updated[revision]
		if len(moderated) != 1 || len(updated) != 1 {
			if len(moderated) == 0 || len(updated) == 0 {
				lost++
			}
			say("revision %d has %d CommentModerated and %d CommentUpdated, and not one of each", revision, len(moderated), len(updated))
			continue
		}
		c := moderated[0]
		made, isAnswered := d.answered[revision]
		switch {
		case revision == byThePolicy:
			made = version{policy, c.Reason}
		case !isAnswered:
			unanswered++
			made = version{c.Status, c.Reason}
		}
		if made != (version{c.Status, c.Reason}) || updated[0] != c || (c.DecidedBy != "") != (revision > byThePolicy) {
			say("revision %d was decided as %+v; the log has %+v, and then %+v", revision, made, c, updated[0])
		}
	}
	if unanswered > d.unknown {
		say("%d decisions are in the log that nobody was answered for, and %d had no answer", unanswered, d.unknown)
	}
	return lost, errs
}

// about is an event of comment c, as the log has it.
func about(kind string, c comment) logEvent {
	data := fmt.Sprintf(`{"id":"c","postId":"p","content":"x","status":%q,"reason":%q,"revision":%d,"decidedBy":%q}`, c.Status, c.Reason, c.Revision, c.DecidedBy)
	return logEvent{ID: fmt.Sprintf("%s %d", kind, c.Revision), Type: kind, Subject: "c", Data: json.RawMessage(data)}
}

// logs are what becomes of a log, for TestTheAccountsKnowEachDecision.
type logs func(all []logEvent) []logEvent

func with(more ...logEvent) logs {
	return func(all []logEvent) []logEvent { return append(all, more...) }
}

func without(ids ...string) logs {
	return func(all []logEvent) []logEvent {
		return slices.DeleteFunc(all, func(e logEvent) bool { return slices.Contains(ids, e.ID) })
	}
}

// instead puts an event in the place of the one with its id.
func instead(e logEvent) logs {
	return func(all []logEvent) []logEvent { return append(without(e.ID)(all), e) }
}

// TestTheAccountsKnowEachDecision is a test of the checker: of comment c the policy's approval was
// followed by a rejection, which had its answer, and by one more decision, which had none.
func TestTheAccountsKnowEachDecision(t *testing.T) {
	created, policys := comment{Status: "pending", Revision: 1}, comment{Status: "approved", Revision: 2}
	first := comment{Status: "rejected", Reason: "r", Revision: 3, DecidedBy: "m"}
	second, third := comment{Status: "held", Reason: "s", Revision: 4, DecidedBy: "m"}, comment{Status: "held", Reason: "s", Revision: 5, DecidedBy: "m"}
	overruled := comment{Status: "approved", Revision: 3}
	for name, test := range map[string]struct {
		becomes logs
		says    string
		lost    int
	}{
		"as it was":                        {with(), "", 0},
		"the one without an answer is not": {without("CommentModerated 4", "CommentUpdated 4"), "", 0},
		"a decision is lost":               {without("CommentModerated 3", "CommentUpdated 3"), "revision 3 has 0 CommentModerated and 0 CommentUpdated", 1},
		"all of moderators' are lost":      {without("CommentModerated 3", "CommentUpdated 3", "CommentModerated 4", "CommentUpdated 4"), "revision 3 has 0", 1},
		"its update is lost":               {without("CommentUpdated 3"), "revision 3 has 1 CommentModerated and 0 CommentUpdated", 1},
		"the policy's is lost":             {without("CommentModerated 2", "CommentUpdated 2"), "revision 2 has 0", 1},
		"the policy decided otherwise":     {instead(about("CommentModerated", comment{Status: "rejected", Revision: 2})), "revision 2 was decided as {status:approved", 0},
		"the policy has overruled":         {instead(about("CommentModerated", overruled)), "revision 3 was decided as {status:rejected", 0},
		"the update says something else":   {instead(about("CommentUpdated", overruled)), "revision 3 was decided as {status:rejected", 0},
		"a revision has two decisions":     {with(about("CommentModerated", first)), "revision 3 has 2 CommentModerated", 0},
		"a decision that nobody has made":  {with(about("CommentModerated", third), about("CommentUpdated", third)), "2 decisions are in the log that nobody was answered for", 0},
		"the comment is there twice":       {with(about("CommentCreated", created)), "the log has 2 CommentCreated", 0},
		"another kind of event":            {with(about("CommentHidden", first)), "of others [CommentHidden of revision 3]", 0},
		"it was decided before the policy": {with(about("CommentModerated", created)), "of others [CommentModerated of revision 1]", 0},
	} {
		b := newBooks()
		b.comments["c"], b.expected["c"] = "p", "approved"
		b.decided["c"] = &decided{answered: map[int]version{3: {"rejected", "r"}}, unknown: 1}
		log := test.becomes([]logEvent{
			about("CommentCreated", created), about("CommentModerated", first), about("CommentModerated", policys), about("CommentUpdated", first),
			about("CommentModerated", second), about("CommentUpdated", second), about("CommentUpdated", policys),
		})
		for i := range log {
			log[i].Sequence = strconv.Itoa(i + 1)
		}
		f, err := b.read(log, 0)
		if err != nil {
			t.Fatal(err)
		}
		v := b.asDecided(f).compare(f)
		if said := fmt.Sprint(errors.Join(v.errs...)); (test.says == "") != (len(v.errs) == 0) || !strings.Contains(said, test.says) || v.lost != test.lost {
			t.Errorf("%s: it says %q, lost %d; want %q, lost %d", name, said, v.lost, test.says, test.lost)
		}
	}
}

// TestTheAccountsCompareWhatReadersSeeWithTheHighestRevision is a test of the checker.
func TestTheAccountsCompareWhatReadersSeeWithTheHighestRevision(t *testing.T) {
	b := newBooks()
	b.comments["c"], b.expected["c"] = "p", "approved"
	b.decided["c"] = &decided{answered: map[int]version{3: {"rejected", "r"}}}
	log := newFound("log")
	log.comment(comment{ID: "c", Status: "rejected"}, "p")
	for status, isRight := range map[string]bool{"rejected": true, "approved": false} {
		f := newFound("query")
		f.comment(comment{ID: "c", Status: status}, "p")
		if v := b.asDecided(log).compare(f); (len(v.errs) == 0) != isRight {
			t.Errorf("%s: %v", status, v.errs)
		}
	}
}
