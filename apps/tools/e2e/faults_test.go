package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/tools/system"
)

var (
	allFaults = flag.Bool("all-faults", false, "run every fault, not only a few representative ones")
	seed      = flag.Uint64("seed", seedFromEnv(), "what the load follows from")
	// The default leaves half of two slow cores free, so that a case shows its fault and not a
	// machine that is too busy. NATS takes no more on two quick ones.
	rate = flag.Int("rate", 60, "how many commands a second the load sends, at least 1")
)

// seedFromEnv is $SEED, or a new seed for each run.
func seedFromEnv() uint64 {
	if seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		return seed
	}
	return uint64(time.Now().UnixNano()) //nolint:gosec // never negative
}

// fault breaks one thing and mends it while the load goes on.
type fault struct {
	name string
	// short means that `make test` runs it too.
	short bool
	// of is the kind of server that it breaks, without which it does not run. If empty, it
	// runs on every engine.
	of string
	// replicated means that it needs the engine's replicated form, which on starts.
	replicated bool
	// again means that it needs a bus that delivers again what a killed sidecar had.
	again bool
	// on starts a system of its own for it, because it needs another one or leaves
	// something behind. If nil, it shares one.
	on func(t *testing.T) *stack
	// within bounds, in a full run, the time until everything is whole again.
	within time.Duration
	// hangs, if not empty, is why the bus may still have messages after it.
	hangs string
	// run returns when everything is mended. It may end the load before that.
	run func(t *testing.T, s *stack, l *load)
}

// hang is how long a process stays stopped.
const hang = 20 * time.Second

// faults are all of them, in the order in which they run.
func faults() []fault {
	return slices.Concat(
		[]fault{{name: "none", short: true, within: wholeWithin, run: nothing}},
		processFaults(), serverFaults(), systemFaults(), replicatedFaults(), nodeFaults(), busFaults(), sidecarFaults(), storeFaults(), versionFaults(),
	)
}

// runsOn reports whether an engine has what the fault breaks.
func (f fault) runsOn(e system.Engine) bool {
	return (f.of == "" || slices.Contains(kindsOf(e), f.of)) && (!f.replicated || len(e.ReplicatedKinds()) > 0) && (!f.again || !atMostOnce(e))
}

// atMostOnce reports whether the bus counts a message as delivered when the sidecar has it, and not
// when the app has handled it (components/postgres-jetstream/bus.yaml).
func atMostOnce(e system.Engine) bool { return isOnNATS(e) }

// processFaults kill and stop the processes of a service.
func processFaults() []fault {
	var all []fault
	within := wholeWithin
	add := func(name string, short bool, run func(t *testing.T, s *stack, l *load)) {
		all = append(all, fault{name: name, short: short, within: within, run: run})
	}
	for _, name := range onTheBus {
		if within = wholeWithin; name == "posts" || name == "comments" {
			within = repairedWithin // a killed process leaves its journal
		}
		app := func(s *stack) int { return s.App(name).Port }
		sidecar := func(s *stack) int { return s.App(name).HTTPPort }
		add("kill -9 "+name+", 3 times", name == "comments" || name == "eventlog", func(t *testing.T, s *stack, _ *load) {
			for range 3 {
				s.killAndRestart(t, app(s))
				awaitReady(t, s.App(name))
			}
		})
		add("kill -9 "+name+"'s sidecar", name == "comments", func(t *testing.T, s *stack, _ *load) {
			s.killAndRestart(t, sidecar(s))
		})
		add("kill -9 "+name+" and its sidecar", false, func(t *testing.T, s *stack, _ *load) {
			s.killAndRestart(t, app(s), sidecar(s))
		})
		add("SIGTERM "+name, name == "posts" || name == "comments", func(t *testing.T, s *stack, l *load) { s.terminate(t, name, l) })
		add(fmt.Sprintf("SIGSTOP %s for %s", name, hang), false, func(t *testing.T, s *stack, _ *load) {
			whileStopped(t, s.process(t, app(s)).Signal, func() { pause(t, hang) })
		})
	}
	within = wholeWithin
	for _, name := range []string{"eventlog", "query"} {
		add(name+" down for the whole load", name == "eventlog", func(t *testing.T, s *stack, l *load) {
			p := s.process(t, s.App(name).Port)
			kill(t, p)
			pause(t, 10*time.Second)
			l.end()
			s.launch(t, p)
		})
	}
	return append(all, fault{ // poison is not in the log
		name: "kill -9 comments and its sidecar while they dead-letter poison, 2 times", again: true, within: repairedWithin, run: poisonAndKill,
	})
}

// systemFaults are of several services at once.
func systemFaults() []fault {
	return []fault{
		{name: "everything killed, the engine too, and started again", within: repairedWithin, run: func(t *testing.T, s *stack, _ *load) {
			var ports []int
			for _, a := range s.Apps {
				ports = append(ports, a.Port, a.HTTPPort)
			}
			killed := s.killAll(t, ports...)
			killDaemons(t, s.daemons())
			startDaemons(t, s.daemons())
			s.restart(t, killed)
		}},
		{name: "two replicas of every service, one of each killed", within: repairedWithin, on: alone, run: killReplicas},
		{name: "1,000 messages of ten kinds on each topic, 900 of them poison", within: wholeWithin, on: alone, run: poisonAll},
	}
}

// alone starts a system without the race detector, in which moderators decide.
func alone(t *testing.T) *stack {
	t.Helper()
	return another(t, nil, plain(t))
}

// killReplicas starts a second replica of every service, kills these replicas and their
// sidecars at once, and starts them again.
func killReplicas(t *testing.T, s *stack, _ *load) {
	for _, name := range onTheBus {
		s.replica(t, name)
	}
	pause(t, 3*time.Second) // both work
	var ports []int
	for _, b := range s.replicas {
		ports = append(ports, b.HTTPPort, b.Port)
	}
	s.killAndRestart(t, ports...)
}

// surely is how long before a signal a request must have been sent to count as accepted
// by the service.
const surely = 100 * time.Millisecond

// terminate ends a service with SIGTERM and starts it again. The service must answer
// every request that it accepted before the signal.
func (s *stack) terminate(t *testing.T, name string, l *load) {
	t.Helper()
	p := s.process(t, s.App(name).Port)
	release := s.hold(t, name, l)
	signalled := time.Now()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	repeat := release()
	if err := p.AwaitEnd(t.Context()); err != nil {
		t.Fatal(err)
	}
	if failed := l.failedBefore(name, signalled.Add(-surely)); len(failed) > 0 {
		t.Errorf("%d requests that were accepted before the signal failed, among them %+v", len(failed), failed[0])
	}
	s.launch(t, p)
	repeat()
}

// held is the number of requests under way at a SIGTERM.
const held = 20

// hold keeps requests under way at a service. release fails the test unless each gets its
// proper answer, and returns what repeats those that have to be, once the service is there
// again. Moderation has only deliveries, which the accounts check.
func (s *stack) hold(t *testing.T, name string, l *load) (release func() (repeat func())) {
	t.Helper()
	switch name {
	case "posts":
		return s.holdWrites(t, s.url("posts", "/posts/create"), `{"title":"held"}`, l, l.bookPost)
	case "comments":
		post := s.createPost(t, "with held comments").ID
		l.bookPost(post)
		l.bookComment(s.createComment(t, post, "the post is known").ID, post, "")
		book := func(id string) { l.bookComment(id, post, "") }
		return s.holdWrites(t, s.url("comments", "/posts/"+post+"/comments"), `{"content":"held"}`, l, book)
	case "query": // a stream that is cut off would be an error
		return holdReads(t, s.url("query", "/posts"), "Accept: text/event-stream")
	case "eventlog": // no request is refused for good meanwhile
		letters := want(t, http.StatusOK, "GET", s.url("eventlog", "/dead-letters?limit=0"), "")
		return holdReads(t, s.url("eventlog", fmt.Sprintf("/dead-letters?after=%d&wait=10", sequence(t, letters))))
	}
	return func() func() { return func() {} }
}

// holdReads keeps waiting reads under way.
func holdReads(t *testing.T, url string, headers ...string) (release func() (repeat func())) {
	t.Helper()
	answers := make(chan error, held)
	for range held {
		go func() {
			r, err := do("GET", url, "", headers...)
			if err == nil && r.status != http.StatusOK {
				err = fmt.Errorf("GET %s: %s", url, r)
			}
			answers <- err
		}()
	}
	pause(t, surely)
	select {
	case err := <-answers:
		t.Fatalf("a read that should wait did not: %v", err)
	default:
	}
	return func() func() {
		t.Helper()
		for range held {
			if err := <-answers; err != nil {
				t.Errorf("accepted before the signal, and then: %v", err)
			}
		}
		return func() {}
	}
}

// holdWrites keeps writes under way. The service has read each, and cannot commit because
// the stores hang. release continues them; then each write must be answered 201. PostgreSQL's
// sessions may come back later than a command waits: there it may be a 503, and its repeat a 201.
func (s *stack) holdWrites(t *testing.T, url, body string, l *load, book func(id string)) (release func() (repeat func())) {
	t.Helper()
	if err := s.signalStores(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.signalStores(syscall.SIGCONT) }) // also when this fails
	type answer struct {
		command
		id  string
		err error
	}
	_, mayBeLate := serverOf[postgres](s)
	accepted, answers := make(chan struct{}, held), make(chan answer, held)
	for range held {
		go func() {
			c := command{url: url, body: body, key: uuid.NewString()}
			id, err := sendHeld(c, func() { accepted <- struct{}{} })
			answers <- answer{c, id, err}
		}()
	}
	for range held {
		select {
		case <-accepted:
		case a := <-answers:
			t.Fatalf("answered while the stores hang: %q, %v", a.id, a.err)
		}
	}
	created := func(id string) {
		l.created.Add(1)
		book(id)
	}
	return func() func() {
		t.Helper()
		if err := s.signalStores(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		var late []command
		for range held {
			a := <-answers
			switch l.attempts.Add(1); {
			case a.err == nil:
				created(a.id)
			case mayBeLate && errors.Is(a.err, errUnavailable):
				late = append(late, a.command)
			default:
				t.Errorf("accepted before the signal, and then: %v", a.err)
			}
		}
		return func() {
			for _, c := range late {
				if id := l.untilCreated(c); id != "" { // else the load has failed
					created(id)
				}
			}
		}
	}
}

var errUnavailable = errors.New("503")

// sendHeld posts a command that expects a 100, which a service sends when it reads the
// body. It calls accepted then, and returns the id of the new entity.
func sendHeld(c command, accepted func()) (string, error) {
	trace := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got100Continue: accepted})
	req, err := http.NewRequestWithContext(trace, http.MethodPost, c.url, strings.NewReader(c.body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", c.key)
	req.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var made struct{ ID, Detail string }
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil {
		return "", err
	}
	switch res.StatusCode {
	case http.StatusCreated:
		return made.ID, nil
	case http.StatusServiceUnavailable:
		return "", fmt.Errorf("%w: %s", errUnavailable, made.Detail)
	}
	return "", fmt.Errorf("%s: %s", res.Status, made.Detail)
}

// killAndRestart kills the processes on the ports, all at once, and starts them again.
func (s *stack) killAndRestart(t *testing.T, ports ...int) {
	t.Helper()
	s.restart(t, s.killAll(t, ports...))
}

func (s *stack) killAll(t *testing.T, ports ...int) []*system.Process {
	t.Helper()
	killed := make([]*system.Process, len(ports))
	for i, port := range ports {
		killed[i] = s.process(t, port)
	}
	for _, p := range killed {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	return killed
}

// restart starts killed processes again, once each has ended.
func (s *stack) restart(t *testing.T, killed []*system.Process) {
	t.Helper()
	for _, p := range killed {
		if err := p.AwaitEnd(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.launch(t, p)
	}
}

// whileStopped calls f while a process is stopped (SIGSTOP).
func whileStopped(t *testing.T, signal func(syscall.Signal) error, f func()) {
	t.Helper()
	if err := signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = signal(syscall.SIGCONT) }) // also when this fails
	f()
	if err := signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// pause lets the load continue for a time. The duration of a fault is not a condition to
// wait for.
func pause(t *testing.T, long time.Duration) {
	t.Helper()
	select {
	case <-time.After(long):
	case <-t.Context().Done():
		t.Fatal(context.Cause(t.Context()))
	}
}

// row is a line of the table.
type row struct {
	name                     string
	writes, created, retries int64
	lost, repeated           int
	// repairs is the number of repairs, or unknown.
	repairs int
	// hung is how many subscriptions do not get all that the bus has for them.
	hung          int
	whole, within time.Duration
	hangs         string // of the fault
	failed        bool
}

// wholeWithin bounds, in a full run, the time until everything that was written is
// settled again. settledWithin bounds it in any run.
const (
	wholeWithin   = 15 * time.Second
	settledWithin = 3 * time.Minute
)

// TestFaults breaks one thing at a time under load and then does the accounts.
func TestFaults(t *testing.T) {
	// `make test` also shows lines that begin with a bar.
	versions, err := engine.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("| seed %d; SEED=%d repeats it. %s\n", *seed, *seed, versions)
	s := alone(t)
	var rows []*row
	for _, f := range faults() {
		if !f.runsOn(engine) || !f.short && !*allFaults {
			continue
		}
		rows = append(rows, runFault(t, f, func(t *testing.T) *stack {
			t.Helper()
			if f.on != nil {
				return f.on(t)
			}
			return s
		}))
	}
	printTable(rows)
	t.Run("what all of them wrote is still there", func(t *testing.T) {
		s.earlier.posts, s.posts = s.posts, nil
		if lost, repeated := s.settle(t, 0, s.earlier); lost+repeated > 0 {
			t.Errorf("lost %d, repeated %d", lost, repeated)
		}
		if len(s.earlier.comments) > 0 && len(s.earlier.decided) == 0 {
			t.Error("no moderator has decided anything")
		}
	})
}

// remember adds books to those of earlier loads.
func (s *stack) remember(b books) {
	if s.earlier.comments == nil {
		s.earlier = newBooks()
	}
	maps.Copy(s.posts, b.posts)
	maps.Copy(s.earlier.comments, b.comments)
	maps.Copy(s.earlier.expected, b.expected)
	maps.Copy(s.earlier.planted, b.planted)
	maps.Copy(s.earlier.decided, b.decided)
}

// runFault runs a fault as a subtest. A failed one has a row, too.
func runFault(t *testing.T, f fault, on func(*testing.T) *stack) *row {
	t.Helper()
	if atMostOnce(engine) { // what a sidecar had arrives by the log alone
		f.within = max(f.within, repairedWithin)
	}
	r := &row{name: f.name, within: f.within, hangs: f.hangs}
	r.failed = !t.Run(f.name, func(t *testing.T) { underLoad(t, on(t), f, r) })
	return r
}

func printTable(rows []*row) {
	fmt.Println("| case | writes | 201s | retries | lost | repeated | repairs | hung | whole again after | at most |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		if r.writes == 0 && !r.failed {
			continue // -run has left it out
		}
		name := r.name
		if r.failed {
			name += " **FAILED**"
		}
		repairs := strconv.Itoa(r.repairs)
		if r.repairs == unknown {
			repairs = "unknown"
		}
		most := r.within.String()
		if r.hangs != "" {
			most += ", because " + r.hangs
		}
		fmt.Printf("| %s | %d | %d | %d | %d | %d | %s | %d | %s | %s |\n",
			name, r.writes, r.created, r.retries, r.lost, r.repeated, repairs, r.hung, r.whole.Round(10*time.Millisecond), most)
	}
}

func underLoad(t *testing.T, s *stack, f fault, r *row) {
	t.Helper()
	start, repairs := len(events(t, s.App("eventlog"))), s.repairs()
	dead := s.lastLetter(t)
	l := begin(t, s, *seed)
	defer l.cancel()
	pause(t, 2*time.Second) // the load before the fault
	f.run(t, s, l)
	mended := time.Now()
	before := l.books() // all commands that had their 201 by now

	err := system.Until(t.Context(), settledWithin, func() error {
		if err := s.settledUpTo(start, before); err != nil || l.alsoWhole == nil {
			return err
		}
		return l.alsoWhole(before)
	})
	if err != nil {
		t.Errorf("not whole again: %v", err) // the accounts say what is lost
	}
	r.whole = time.Since(mended)
	pause(t, time.Second) // and the load after it
	l.end()

	r.writes, r.created, r.retries = l.attempts.Load(), l.created.Load(), l.retries.Load()
	b := l.books()
	if len(l.wrong) > 0 {
		t.Errorf("%d calls went wrong; the first: %v", len(l.wrong), l.wrong[0])
	}
	l.checkHistory(t)
	r.lost, r.repeated = s.settle(t, start, b)
	if f.hangs == "" {
		within(t, settledWithin, func() error { return s.nothingPending(t) })
	} else {
		r.hung = s.hung(t)
	}
	s.remember(b)
	within(t, settledWithin, func() error { return s.sameDeadLetters(t, dead, l.poison, l.deadLetteredAgain) })
	if l.afterwards != nil {
		l.afterwards()
	}
	r.repairs = repairs.until(s.repairs())
	// On a machine that is busy with other tests this time says nothing about the
	// settings.
	if *allFaults && f.within > 0 && r.whole > f.within {
		t.Errorf("whole again only after %s", r.whole)
	}
}

// settledUpTo returns nil when the log has, after a number, the last event of everything
// in the books, and every query shows it.
func (s *stack) settledUpTo(start int, b books) error {
	inLog, err := inTheLogSoFar(s.App("eventlog"), start)
	if err != nil {
		return err
	}
	var missing []string
	for id := range b.posts {
		if inLog["PostCreated "+id] == 0 {
			missing = append(missing, id)
		}
	}
	for id := range b.comments {
		if inLog["CommentUpdated "+id] <= b.decided[id].highest()-byThePolicy { // one of each revision
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d are not settled, among them %s", len(missing), missing[0])
	}
	for _, a := range s.all("query") {
		if _, err = get(a.URL()+fmt.Sprintf("/posts?limit=1&min_sequence=%d", start+inLog["events"]), &map[string]post{}); err != nil {
			return err
		}
	}
	return nil
}

// settle does the accounts everywhere until they are right, and returns the last result.
func (s *stack) settle(t *testing.T, start int, b books) (lost, repeated int) {
	t.Helper()
	var v verdict
	err := system.Until(t.Context(), settledWithin, func() error {
		inLog, err := inTheLog(s.App("eventlog"), start, b)
		if err != nil {
			return err
		}
		stands, places := b.asDecided(inLog), []*found{inLog}
		for _, a := range s.all("query") {
			inQuery, err := inQuery(a, s.posts)
			if err != nil {
				return err
			}
			places = append(places, inQuery)
		}
		for _, a := range s.all("comments") {
			inComments, err := inComments(a, b, inLog)
			if err != nil {
				return err
			}
			places = append(places, inComments)
		}
		v = verdict{}
		for _, f := range places {
			one := stands.compare(f)
			v.lost, v.repeated, v.errs = v.lost+one.lost, v.repeated+one.repeated, append(v.errs, one.errs...)
		}
		if len(v.errs) > 0 {
			return fmt.Errorf("%d errors; the first: %w", len(v.errs), v.errs[0])
		}
		return nil
	})
	if err != nil {
		t.Errorf("the accounts are not right: %v", err)
	}
	return v.lost, v.repeated
}

// inTheLogSoFar counts events by type and subject, and all of them as "events".
func inTheLogSoFar(a system.App, after int) (map[string]int, error) {
	events, err := eventsAfter(a, after)
	counts := map[string]int{"events": len(events)}
	for _, e := range events {
		counts[e.Type+" "+e.Subject]++
	}
	return counts, err
}
