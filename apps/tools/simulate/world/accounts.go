package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	logformat "github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/repairs"
)

// errWrong says that something can't come right any more.
var errWrong = errors.New("wrong for good")

// get asks a process, past all faults.
func (p *process) get(path string) ([]byte, error) {
	req := newRequest(answerWithin, http.MethodGet, path, http.Header{}, nil)
	defer req.cancel()
	res, err := p.serve(req.Request)
	if err != nil {
		return nil, err
	}
	if res.status != http.StatusOK {
		return nil, fmt.Errorf("%s answers GET %s with %d: %s", p, path, res.status, res.body.Bytes())
	}
	return res.body.Bytes(), nil
}

// outcome lets the history go on until the system is whole again, and checks it.
func (w *World) outcome() Outcome {
	for _, f := range w.faults.all {
		go w.run(f)
	}
	w.users.start()
	time.Sleep(mended)
	w.endFaults()
	whole := time.Now()
	err := w.becomeWhole()
	took := time.Since(whole)
	if err == nil {
		err = w.staysWhole()
	}
	if err == nil {
		err = w.checkReads()
	}
	events, _ := w.storedLog()
	o := Outcome{Err: err, Hits: w.faults.hits, Commands: len(w.plan.Commands), Events: len(events), Whole: took}
	for _, a := range w.users.attempts {
		if a.status == http.StatusCreated {
			o.Accepted++
		}
	}
	return o
}

// becomeWhole waits until all accounts are right.
func (w *World) becomeWhole() error {
	for began := time.Now(); ; time.Sleep(time.Second) {
		err := w.check()
		if err == nil || errors.Is(err, errWrong) || time.Since(began) > wholeWithin {
			return err
		}
	}
}

// staysWhole checks that nothing more happens.
func (w *World) staysWhole() error {
	before, err := w.storedLog()
	if err != nil {
		return err
	}
	time.Sleep(settled)
	after, err := w.storedLog()
	if err == nil && len(after) != len(before) {
		return fmt.Errorf("the log has grown from %d to %d events after all was whole", len(before), len(after))
	}
	return errors.Join(err, w.check())
}

// check returns why the system is not whole, or nil.
func (w *World) check() error {
	w.users.mu.Lock()
	wrong := w.users.wrong
	w.users.mu.Unlock()
	switch {
	case wrong != nil:
		return fmt.Errorf("%w: %w", errWrong, wrong)
	case !w.users.areDone():
		return errors.New("users are not done")
	case !w.isSettled():
		return errors.New("writes or publishes are under way")
	case !w.bus.isQuiet():
		return errors.New("the bus has messages under way")
	}
	lines, err := w.storedLines()
	if err == nil {
		err = w.checkCursors(uint64(len(lines)))
	}
	if err != nil {
		return err
	}
	events, err := w.storedLog()
	if err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	for _, check := range []func([]logged) error{w.checkRepeats, w.checkAttempts, w.checkReactions, w.checkLogs, w.checkModels, w.checkStores, w.checkRepairs} {
		if err := check(events); err != nil {
			return err
		}
	}
	return nil
}

// checkRepeats checks that the log has no event twice within the window, never two different
// events with one id, and never one version of an entity under two ids.
func (w *World) checkRepeats(events []logged) error {
	last, ids := map[string]logged{}, map[string]string{}
	for _, e := range events {
		version := fmt.Sprintf("%s %s %d", e.Type, e.Subject, e.entity.Revision)
		if id, again := ids[version]; again && id != e.ID {
			return fmt.Errorf("%w: %s has the ids %s and %s", errWrong, version, id, e.ID)
		}
		ids[version] = e.ID
		before, again := last[e.ID]
		switch {
		case w.users.mayDiffer(e.Subject):
		case again && (string(before.Data) != string(e.Data) || before.Type != e.Type || before.Subject != e.Subject):
			return fmt.Errorf("%w: events %d and %d have the id %s, and are not the same", errWrong, before.number, e.number, e.ID)
		case again && e.number-before.number <= Window:
			return fmt.Errorf("%w: events %d and %d are the same one, %s", errWrong, before.number, e.number, e.ID)
		}
		last[e.ID] = e
	}
	return nil
}

// checkAttempts checks that what was accepted is in the log, that no key happened twice,
// and that nothing is there that nobody asked for.
func (w *World) checkAttempts(events []logged) error {
	w.users.mu.Lock()
	defer w.users.mu.Unlock()
	happened := map[string]map[string]bool{} // the entities, by their content
	exists := map[string]string{}            // the content of each entity
	for _, e := range events {
		if e.Type == postCreated || e.Type == commentCreated {
			content := e.entity.Title + e.entity.Content
			if happened[content] == nil {
				happened[content] = map[string]bool{}
			}
			happened[content][e.Subject] = true
			exists[e.Subject] = content
		}
	}
	asked := map[string]bool{}
	byKey := map[string][]*attempt{}
	for _, a := range w.users.attempts {
		asked[a.content] = true
		if a.key != "" {
			byKey[a.key] = append(byKey[a.key], a)
		}
		switch content, isThere := exists[a.id]; {
		case a.status != http.StatusCreated:
		case !isThere && !a.isExcused:
			return fmt.Errorf("%q was answered 201 with %s, and the log does not have it", a.content, a.id)
		case isThere && content != a.content:
			return fmt.Errorf("%w: %q was answered with %s, which is %q", errWrong, a.content, a.id, content)
		}
		if n := len(happened[a.content]); a.key == "" && n > 1 {
			return fmt.Errorf("%w: %q was asked for once, and happened %d times", errWrong, a.content, n)
		}
	}
	for content := range happened {
		if !asked[content] {
			return fmt.Errorf("%w: the log has %q, and nobody asked for it", errWrong, content)
		}
	}
	for key, attempts := range byKey {
		if err := w.users.checkKey(key, attempts, happened); err != nil {
			return err
		}
	}
	return nil
}

// checkKey checks that the attempts with a key happened once. When the store was emptied
// between them, its claims were lost, and the key may happen once more.
func (u *users) checkKey(key string, attempts []*attempt, happened map[string]map[string]bool) error {
	entities, answers, epochs := map[string]bool{}, map[string]bool{}, map[int]bool{}
	for _, a := range attempts {
		for id := range happened[a.content] {
			entities[id] = true
		}
		if a.status == http.StatusCreated {
			answers[a.id] = true
		}
		for epoch := a.emptied; epoch <= a.until; epoch++ {
			epochs[epoch] = true
		}
	}
	epochs[u.emptied[attempts[0].of.service()]] = true
	if most := len(epochs); len(entities) > most || len(answers) > most {
		return fmt.Errorf("%w: %s happened %d times, and has %d different answers", errWrong, key, len(entities), len(answers))
	}
	return nil
}

// checkReactions checks that each comment has one decision, and an update that says so.
func (w *World) checkReactions(events []logged) error {
	decided, updated := map[string]string{}, map[string]string{}
	for _, e := range events {
		says := fmt.Sprintf("revision %d %s %q", e.entity.Revision, e.entity.Status, e.entity.Reason)
		of := decided
		switch e.Type {
		case commentUpdated:
			of = updated
		case commentModerated:
		default:
			continue
		}
		if before, again := of[e.Subject]; again && before != says && !w.users.mayDiffer(e.Subject) {
			return fmt.Errorf("%w: comment %s is %s in one %s, and in another one %s", errWrong, e.Subject, before, e.Type, says)
		}
		of[e.Subject] = says
	}
	for _, e := range events {
		if e.Type != commentCreated {
			continue
		}
		switch of := e.Subject; {
		case decided[of] == "":
			return fmt.Errorf("comment %s, event %d, has no decision", of, e.number)
		case updated[of] == "":
			return fmt.Errorf("comment %s, event %d, has no update", of, e.number)
		case decided[of] != updated[of] && !w.users.mayDiffer(of):
			return fmt.Errorf("comment %s, event %d, is decided %s, and updated %q", of, e.number, decided[of], updated[of])
		}
	}
	return nil
}

// checkLogs checks that each process of eventlog serves the log that is stored.
func (w *World) checkLogs(events []logged) error {
	for _, p := range w.services[eventlog].all() {
		batch, err := p.get("/events?after=0&limit=10000")
		if err != nil {
			return err
		}
		served, err := decodeLog(batch)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errWrong, p, err)
		}
		if len(served) != len(events) {
			return fmt.Errorf("%s serves %d events of %d", p, len(served), len(events))
		}
		for i := range served {
			if served[i].ID != events[i].ID || string(served[i].Data) != string(events[i].Data) {
				return fmt.Errorf("%w: %s serves another event %d", errWrong, p, i+1)
			}
		}
	}
	return nil
}

// checkModels checks that each process of query shows the fold of the log.
func (w *World) checkModels(events []logged) error {
	want := readersSee(events).lines()
	for _, p := range w.services[query].all() {
		page, err := p.get(allPosts)
		if err != nil {
			return err
		}
		got, err := pageLines(page)
		if err != nil {
			return err
		}
		if err := differ(p.String(), got, want); err != nil {
			return err
		}
	}
	return nil
}

// checkStores checks that the stores of posts, comments and moderation have what the log
// says. Of a command that was lost with its service's store (users.excuse), the log may have a
// reaction: its creation was delivered before.
func (w *World) checkStores(events []logged) error {
	all, inLog := fold(events, postCreated, commentCreated, commentModerated, commentUpdated), map[string]bool{}
	created := created(events)
	for id, p := range all.posts {
		inLog["post-"+id] = true
		var stored entity
		if err := w.stored(posts, "post-"+id, &stored); err != nil {
			return err
		}
		if got, want := postLine(stored, 0, nil), postLine(p, 0, nil); got != want {
			return fmt.Errorf("the store of posts has %s, and should have %s", got, want)
		}
		if w.stores[comments].value("post-"+id) == nil {
			return fmt.Errorf("the store of comments does not have post %s", id)
		}
	}
	for id, c := range all.comments {
		inLog["comment-"+id] = true
		if !created[id] && w.users.hasLost(comments) || w.users.mayDiffer(id) {
			continue
		}
		var stored, decision entity
		if err := errors.Join(w.stored(comments, "comment-"+id, &stored), w.stored(moderation, "decision-"+id, &decision)); err != nil {
			return err
		}
		if got, want := commentLine(stored), commentLine(c); got != want {
			return fmt.Errorf("the store of comments has %s, and should have %s", got, want)
		}
		if decision.Status != c.Status || decision.Reason != c.Reason {
			return fmt.Errorf("the store of moderation has %s %q for %s, and should have %s %q", decision.Status, decision.Reason, id, c.Status, c.Reason)
		}
	}
	return w.checkKeys(inLog)
}

// checkKeys checks that the stores have no post and no comment that the log does not have.
// A command that was lost with its service's store is an exception.
func (w *World) checkKeys(inLog map[string]bool) error {
	for prefix, service := range map[string]string{"post-": posts, "comment-": comments} {
		if w.users.hasLost(service) {
			continue
		}
		for _, name := range []string{posts, comments} {
			for _, key := range w.stores[name].keys(prefix) {
				if !inLog[key] {
					return fmt.Errorf("the store of %s has %s, which is not in the log", name, key)
				}
			}
		}
	}
	return nil
}

func (w *World) stored(service, key string, into any) error {
	raw := w.stores[service].value(key)
	if raw == nil {
		return fmt.Errorf("the store of %s has no %s", service, key)
	}
	return json.Unmarshal(raw, into)
}

// checkCursors checks that the services have handled all of the log, which has that many
// events, and that their journals are empty.
func (w *World) checkCursors(last uint64) error {
	for _, name := range []string{posts, comments, moderation} {
		var cursor struct {
			At string `json:"at"`
		}
		if err := w.stored(name, "cursor", &cursor); err != nil {
			return err
		}
		at, err := logformat.ParsePosition(cursor.At)
		if err != nil {
			return fmt.Errorf("%w: the cursor of %s: %w", errWrong, name, err)
		}
		if at.Sequence != last {
			return fmt.Errorf("the cursor of %s is at %s, and the log ends at %d", name, at, last)
		}
		if pages := w.stores[name].pages(); len(pages) > 0 {
			return fmt.Errorf("the journal of %s has %v", name, pages)
		}
		for _, p := range w.services[name].all() {
			if p.journal != nil && p.journal.Len() > 0 { // a store that was set back may lack its page
				return fmt.Errorf("the journal of %s has %d events in memory", p, p.journal.Len())
			}
		}
	}
	return nil
}

// checkRepairs checks that nothing was refused: no message of a history can't be taken. In a
// history without faults nothing was repaired.
func (w *World) checkRepairs([]logged) error {
	for _, name := range []string{posts, comments, moderation} {
		for _, p := range w.services[name].all() {
			raw, err := p.get(repairs.Path)
			if err != nil {
				return err
			}
			var counts map[repairs.Kind]int
			if err := json.Unmarshal(raw, &counts); err != nil {
				return err
			}
			for kind, n := range counts {
				mustBeNone := kind == repairs.GivenUp || kind == repairs.DeadLettered || len(w.plan.Faults) == 0
				if n < 0 || mustBeNone && n > 0 {
					return fmt.Errorf("%w: %s counts %d of the repair %s", errWrong, p, n, kind)
				}
			}
		}
	}
	return w.checkDeadLetters()
}

// checkDeadLetters checks that there are none, except of comments that may have two decisions.
func (w *World) checkDeadLetters() error {
	for _, p := range w.services[eventlog].all() {
		raw, err := p.get(logformat.DeadLettersPath + "?after=0")
		if err != nil {
			return err
		}
		var letters []struct{ Data bus.DeadLetter }
		if err := json.Unmarshal(raw, &letters); err != nil {
			return err
		}
		for _, l := range letters {
			var of struct{ Subject string }
			if err := json.Unmarshal(l.Data.Payload, &of); err != nil || !w.users.mayDiffer(of.Subject) {
				return fmt.Errorf("%w: %s refused a %s: %s", errWrong, l.Data.Service, l.Data.Topic, l.Data.Reason)
			}
		}
	}
	return nil
}

// checkReads checks all that readers saw.
func (w *World) checkReads() error {
	w.users.watch(newDice(w.plan.Seed, "last look"), time.Second, false)
	events, err := w.storedLog()
	if err != nil {
		return err
	}
	w.users.mu.Lock()
	defer w.users.mu.Unlock()
	return errors.Join(w.users.wrong, w.users.checkPages(events), w.users.checkLists(events), w.users.checkStream(events))
}

// checkPages checks that each page was the fold of the log up to the page's position.
func (u *users) checkPages(events []logged) error {
	for _, r := range u.reads {
		n := r.at.Sequence
		if n > uint64(len(events)) || n > 0 && events[n-1].ID != r.at.Event {
			return fmt.Errorf("a reader saw %s, which is not in the log", r.at)
		}
		got, err := pageLines(r.page)
		if err != nil {
			return err
		}
		if err := differ(fmt.Sprintf("a page at %s", r.at), got, readersSee(events[:n]).lines()); err != nil {
			return err
		}
	}
	return nil
}

// checkLists checks that each comment in a list is a version that the log has.
func (u *users) checkLists(events []logged) error {
	versions := map[string]bool{}
	for _, e := range events {
		versions[commentLine(e.entity.public())] = true
	}
	for _, c := range u.lists {
		if !versions[commentLine(c)] && !u.undecided[c.ID] {
			return fmt.Errorf("a reader saw a comment that the log does not have:\n%s", commentLine(c))
		}
	}
	return nil
}

// checkStream checks that the stream showed each change once and in the log's order, and that
// a reader who followed it knows all that readers see.
func (u *users) checkStream(events []logged) error {
	seen := fold(nil)
	var last uint64
	for _, f := range u.frames {
		n := f.at.Sequence
		switch {
		case n <= last:
			return fmt.Errorf("the stream shows %s after %d", f.at, last)
		case n > uint64(len(events)) || events[n-1].ID != f.at.Event || events[n-1].Type != f.event:
			return fmt.Errorf("the stream shows %s at %s, which is not in the log", f.event, f.at)
		case !isNews(events, int(n)): //nolint:gosec // the log is smaller than that
			return fmt.Errorf("the stream shows %s at %s, which is nothing new", f.event, f.at)
		}
		last = n
		if err := seen.take(f); err != nil {
			return err
		}
	}
	return differ("a reader of the stream", seen.lines(), readersSee(events).lines())
}

// isNews says whether readers are shown the event with the number: it changes what they see,
// or it is the first CommentCreated of its comment, which comes after an update.
func isNews(events []logged, number int) bool {
	before, after := readersSee(events[:number-1]), readersSee(events[:number])
	e := events[number-1]
	if before.posts[e.Subject] != after.posts[e.Subject] || before.comments[e.Subject] != after.comments[e.Subject] {
		return true
	}
	return e.Type == commentCreated && !slices.ContainsFunc(events[:number-1], func(other logged) bool { return other.ID == e.ID })
}

// take applies a frame of a stream.
func (f *folded) take(shown frame) error {
	var e struct {
		entity
		Comments []entity `json:"comments"`
	}
	if err := json.Unmarshal([]byte(shown.data), &e); err != nil {
		return fmt.Errorf("%w: %s", err, shown.data)
	}
	if shown.event != postCreated {
		f.comments[e.ID] = e.entity
		return nil
	}
	f.posts[e.ID] = e.entity
	for _, c := range e.Comments {
		c.PostID = e.ID
		f.comments[c.ID] = c
	}
	return nil
}
