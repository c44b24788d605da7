package world

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/journal"
)

// service is a service with its processes.
type service struct {
	world *World
	name  string
	dice  dice
	// lives counts the processes that were started.
	lives int

	mu sync.Mutex
	// running are the processes by replica, nil where there is none.
	running []*process
}

// process is one life of a replica of a service. When it is killed its goroutines end
// sooner or later; whatever they still call, nothing of it reaches the world.
type process struct {
	world   *World
	service *service
	replica int
	life    int
	dice    dice
	// engine serves the API and the deliveries. (In a real process those are two.)
	engine *gin.Engine
	// api has the routes that a service gives to package service as its API.
	api     gin.IRoutes
	journal *journal.Journal // nil for a service without commands
	// member is its id among the service's members, or empty.
	member string
	// tasks run in the background.
	tasks []func(context.Context)

	// alive ends when the process is killed. Working ends before that, when its tasks are to
	// end, and serving when it is to stop gracefully.
	alive, working, serving    context.Context //nolint:containedctx // they are the process's
	kill, endTasks, endServing context.CancelFunc
	answering, tasksRunning    sync.WaitGroup

	mu sync.Mutex
	// skew is how far its clock is ahead.
	skew time.Duration
	// resumed is closed when a pause ends. It is nil if there is none.
	resumed chan struct{}
}

func (p *process) String() string { return fmt.Sprintf("%s/%d.%d", p.service.name, p.replica, p.life) }

type processKey struct{}

// processOf names the process that a context belongs to.
func processOf(ctx context.Context) string {
	if p, ok := ctx.Value(processKey{}).(*process); ok {
		return p.String()
	}
	return "?"
}

// now is the process's clock.
func (p *process) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.skew)
}

func (p *process) isDead() bool { return p.alive.Err() != nil }

// gate lets a call of the process through, at the end of its pause if it is paused. The
// error is an errDead if it is dead.
func (p *process) gate(ctx context.Context) error {
	for {
		p.mu.Lock()
		resumed := p.resumed
		p.mu.Unlock()
		switch {
		case p.isDead():
			return errDead
		case resumed == nil:
			return ctx.Err()
		}
		select { // the end of ctx does not end the pause
		case <-resumed:
		case <-p.alive.Done():
		}
	}
}

// awake waits until the process is not paused, or ctx ends.
func (p *process) awake(ctx context.Context) error {
	p.mu.Lock()
	resumed := p.resumed
	p.mu.Unlock()
	if resumed == nil {
		return p.gate(ctx)
	}
	select {
	case <-resumed:
	case <-p.alive.Done():
	case <-ctx.Done():
	}
	return p.gate(ctx)
}

// start starts a process of the service in the place of a replica that has none.
func (s *service) start(replica int) {
	s.mu.Lock()
	if s.running[replica] != nil {
		s.mu.Unlock()
		return
	}
	s.lives++
	w := s.world
	p := &process{
		world: w, service: s, replica: replica, life: s.lives,
		dice: newDice(w.plan.Seed, fmt.Sprintf("%s %d %d", s.name, replica, s.lives)),
	}
	p.alive, p.kill = context.WithCancel(context.WithValue(context.Background(), processKey{}, p))
	p.working, p.endTasks = context.WithCancel(p.alive)
	p.serving, p.endServing = context.WithCancel(p.alive)
	p.skew = w.plan.Skews[s.name] + p.dice.between(0, time.Second)
	s.running[replica] = p
	s.mu.Unlock()

	w.trace.add("%s starts", p)
	build(p)
	for _, task := range p.tasks {
		p.tasksRunning.Go(func() { task(p.working) })
	}
	w.bus.pumpAll(s.name)
}

// choose returns one of the processes that serve now, or nil.
func (s *service) choose(d dice) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var serving []*process
	for _, p := range s.running {
		if p != nil && p.serving.Err() == nil {
			serving = append(serving, p)
		}
	}
	if len(serving) == 0 {
		return nil
	}
	return pick(d, serving...)
}

// all returns the service's processes.
func (s *service) all() (all []*process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.running {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// end ends a process at once. Another one may take its place.
func (p *process) end() {
	p.kill()
	p.world.users.died(p)
	s := p.service
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[p.replica] == p {
		s.running[p.replica] = nil
		p.world.trace.add("%s is dead", p)
	}
}

// stop ends a process as SIGTERM does: what it answers is answered, and then its tasks
// end, all of that within a time.
func (p *process) stop(within time.Duration) {
	p.endServing()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.answering.Wait()
		p.endTasks()
		p.tasksRunning.Wait()
	}()
	select {
	case <-done:
	case <-p.alive.Done():
	case <-time.After(within):
	}
	p.end()
}

// answer is what a process answers to a request.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// serve has the process answer a request. The error says that there is no answer: the
// process has died, or the request's context has ended.
func (p *process) serve(req *http.Request) (*answer, error) {
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), processKey{}, p))
	defer cancel()
	defer context.AfterFunc(p.alive, cancel)()
	if err := p.awake(ctx); err != nil {
		return nil, err
	}
	answered := make(chan *answer, 1)
	p.answering.Go(func() {
		a := &answer{header: http.Header{}}
		p.engine.ServeHTTP(a, req.WithContext(ctx))
		a.WriteHeader(http.StatusOK)
		answered <- a
	})
	select {
	case a := <-answered:
		if err := p.gate(ctx); err != nil {
			return nil, err
		}
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Flush implements http.Flusher.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// watch is serve for an answer that has no end but that of the request's context. It returns
// what was written until then, or until the process died.
func (p *process) watch(req *http.Request) (*answer, error) {
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), processKey{}, p))
	defer cancel()
	defer context.AfterFunc(p.alive, cancel)()
	if err := p.awake(ctx); err != nil {
		return nil, err
	}
	a := &answer{header: http.Header{}}
	answered := make(chan struct{})
	p.answering.Go(func() {
		defer close(answered)
		p.engine.ServeHTTP(a, req.WithContext(ctx))
	})
	<-answered
	return a, nil
}

// subscribed are the topics that are delivered to the process.
func (p *process) subscribed() (topics []string) {
	for _, r := range p.engine.Routes() {
		if topic, ok := topicOf(r.Path); ok && !strings.Contains(topic, "/") {
			topics = append(topics, topic)
		}
	}
	return topics
}

// restart starts another process in the place of a dead one after a while, or at once when
// the faults end.
func (w *World) restart(p *process, after time.Duration) {
	go func() {
		_ = sleep(w.faulty, after)
		p.service.start(p.replica)
	}()
}

func (w *World) killOne(f *fault) (end func()) {
	if p := w.services[f.At].choose(f.dice); p != nil {
		w.faults.began(f)
		p.end()
		w.restart(p, f.D)
	}
	return nil
}

// killInCall kills a process that is in the middle of a call.
func (w *World) killInCall(p *process, f *fault) {
	w.faults.end(f)
	p.end()
	w.restart(p, f.D)
}

func (w *World) pauseOne(f *fault) (end func()) {
	p := w.services[f.At].choose(f.dice)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resumed != nil {
		return nil
	}
	w.faults.began(f)
	resumed := make(chan struct{})
	p.resumed = resumed
	go func() {
		_ = sleep(w.faulty, f.D)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.resumed = nil
		close(resumed)
	}()
	return nil
}

// stopWithin is the deadline of a graceful stop.
const stopWithin = 10 * time.Second

func (w *World) stopOne(f *fault) (end func()) {
	if p := w.services[f.At].choose(f.dice); p != nil {
		w.faults.began(f)
		go func() {
			p.stop(stopWithin)
			w.restart(p, f.D)
		}()
	}
	return nil
}

// away kills all processes of a service, which come back when the fault ends.
func (w *World) away(f *fault) (end func()) {
	w.faults.began(f)
	all := w.services[f.At].all()
	for _, p := range all {
		p.end()
		w.restart(p, f.To-f.From)
	}
	return nil
}

// stepClock sets the clocks of a service forward. Not back: Go measures spans of time by a clock
// that never goes back, and the services compare no other times of one process.
func (w *World) stepClock(f *fault) (end func()) {
	w.faults.began(f)
	for _, p := range w.services[f.At].all() {
		p.mu.Lock()
		p.skew = max(-maxSkew, min(maxSkew, p.skew+f.D))
		p.mu.Unlock()
	}
	return nil
}
