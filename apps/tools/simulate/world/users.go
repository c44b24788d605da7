package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/command"
)

// answerWithin is how long a user waits for an answer.
const answerWithin = 4 * time.Second

// Command is what a user wants to have happen: a post, or a comment on one. Its name makes its
// content unique.
type Command struct {
	ID int
	At time.Duration
	// On is the command that makes the post to comment on, or -1 for a post.
	On int
	// Text is what moderation decides by.
	Text string
	// IsKeyed says that the user gives an Idempotency-Key. Without one every request has
	// another content, because it is another command.
	IsKeyed bool
	// IsDouble says that the user clicks twice.
	IsDouble bool
	// Tries is how often the user tries while there is no clear answer.
	Tries int
	// Again is when the user repeats the request later, each time after the time before.
	Again []time.Duration
	// IsReused says that the user gives the key to another request, too.
	IsReused bool
}

func (c Command) name() string { return fmt.Sprintf("c%d", c.ID) }

func (c Command) String() string {
	what := "post"
	if c.On >= 0 {
		what = fmt.Sprintf("comment on c%d", c.On)
	}
	return fmt.Sprintf("%-4s at %v: %s, %q, keyed %t, double click %t, %d tries, again after %v, key reused %t",
		c.name(), c.At, what, c.Text, c.IsKeyed, c.IsDouble, c.Tries, c.Again, c.IsReused)
}

func (c Command) service() string {
	if c.On < 0 {
		return posts
	}
	return comments
}

// key is the command's Idempotency-Key.
func (c Command) key() string {
	if c.IsKeyed {
		return "key-" + c.name()
	}
	return ""
}

func newCommands(d dice) []Command {
	var commands []Command
	var made []int // the posts
	for id := range leastCommands + d.IntN(9) {
		c := Command{ID: id, On: -1, At: d.between(0, lastCommand), Text: pick(d, "I like oranges", "I like apples", "I like pears"), Tries: 1 + d.IntN(5), IsKeyed: d.chance(0.6)}
		if len(made) > 1 && d.chance(0.75) {
			c.On = pick(d, made...)
			c.At = commands[c.On].At + d.between(0, lastCommand-commands[c.On].At+1)
		} else {
			made = append(made, id)
			if len(made) < 4 {
				c.At /= 10
			}
		}
		if c.IsKeyed {
			c.IsDouble = d.chance(0.3)
			for range d.IntN(3) {
				c.Again = append(c.Again, d.between(10*time.Millisecond, 10*time.Second))
			}
			c.IsReused = d.chance(0.1)
		}
		commands = append(commands, c)
	}
	return commands
}

// users make the plan's commands, and remember every answer.
type users struct {
	world *World

	mu       sync.Mutex
	attempts []*attempt
	reads    []*read
	lists    []entity // what readers saw in lists of comments
	frames   []frame  // what a reader saw in a stream, and its last id
	lastID   string
	// created has a channel for each command, which is closed when it has succeeded, or never
	// will.
	created map[int]chan struct{}
	ids     map[int]string // of the posts
	// emptied counts how often a service's store was emptied.
	emptied map[string]int
	// undecided are the comments whose decision was lost with moderation's store before the log
	// had it. It may be made again by another policy, and comments may have the first one.
	undecided map[string]bool
	wrong     error // the first answer that can't be right
	done      sync.WaitGroup
	isDone    bool
}

// attempt is one request of a command.
type attempt struct {
	of      *Command
	content string
	key     string
	// status is 0 if there was no answer.
	status int
	// id is that of the entity in the answer, if the status is 201.
	id string
	by *process
	// emptied is how often the service's store had been emptied when the attempt began, and
	// until when it ended.
	emptied, until int
	// isExposed says that only the process that took the attempt knew of it, when the log did
	// not have its event yet: the service's store was emptied then, or before it and the process
	// was not among the members again.
	isExposed bool
	// isExcused says that this process is dead, too: the store had promised to keep it.
	isExcused bool
}

func newUsers(w *World) *users {
	u := &users{world: w, created: map[int]chan struct{}{}, ids: map[int]string{}, emptied: map[string]int{}, undecided: map[string]bool{}}
	for _, c := range w.plan.Commands {
		u.created[c.ID] = make(chan struct{})
	}
	return u
}

// start lets all users do what they do.
func (u *users) start() {
	for i := range u.world.plan.Commands {
		c := &u.world.plan.Commands[i]
		u.done.Go(func() { u.make(c) })
	}
	u.startReading()
	go func() {
		u.done.Wait()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.isDone = true
	}()
}

func (u *users) areDone() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.isDone
}

func (u *users) make(c *Command) {
	d := newDice(u.world.plan.Seed, c.name())
	var settle sync.Once
	settled := func() { settle.Do(func() { close(u.created[c.ID]) }) }
	defer settled()
	time.Sleep(c.At)
	path, ok := u.path(c)
	if !ok {
		return
	}
	try := func(d dice, n int) (isClear bool) {
		content := fmt.Sprintf("%s %s.", c.Text, c.name())
		if !c.IsKeyed {
			content = fmt.Sprintf("%s %s, try %d.", c.Text, c.name(), n)
		}
		a := u.attempt(d, c, path, content)
		if a.status == http.StatusCreated {
			u.mu.Lock()
			u.ids[c.ID] = a.id
			u.mu.Unlock()
			settled()
		}
		return a.status != 0 && a.status != http.StatusServiceUnavailable
	}
	if c.IsDouble {
		u.world.faults.did(DoubleClick)
		u.done.Go(func() {
			d := newDice(u.world.plan.Seed, c.name()+" double")
			time.Sleep(d.between(0, slowest))
			try(d, 0)
		})
	}
	for n := range c.Tries {
		if n > 0 && c.IsKeyed {
			u.world.faults.did(Repeated)
		}
		if try(d, 1+n) {
			break
		}
		time.Sleep(d.between(100*time.Millisecond, 3*time.Second))
	}
	settled()
	if c.IsReused {
		u.attempt(d, c, path, fmt.Sprintf("%s %s, another one.", c.Text, c.name()))
	}
	for n, after := range c.Again {
		time.Sleep(after)
		u.world.faults.did(Repeated)
		try(d, 100+n)
	}
}

// path is where a command goes. It waits until the post to comment on is there.
func (u *users) path(c *Command) (string, bool) {
	if c.On < 0 {
		return "/posts/create", true
	}
	made, ok := u.created[c.On]
	if !ok { // the history is a part of a longer one
		return "", false
	}
	<-made
	u.mu.Lock()
	defer u.mu.Unlock()
	id, ok := u.ids[c.On]
	return "/posts/" + id + "/comments", ok
}

func (u *users) attempt(d dice, c *Command, path, content string) *attempt {
	service := c.service()
	u.mu.Lock()
	a := &attempt{of: c, content: content, key: c.key(), emptied: u.emptied[service]}
	u.attempts = append(u.attempts, a)
	u.mu.Unlock()
	body, field := map[string]string{"title": content}, "title"
	if c.On >= 0 {
		body, field = map[string]string{"content": content}, "content"
	}
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if a.key != "" {
		header.Set(command.KeyHeader, a.key)
	}
	res := u.request(d, service, http.MethodPost, path, header, raw, func(p *process) {
		u.mu.Lock()
		defer u.mu.Unlock()
		a.by = p
	})
	u.mu.Lock()
	defer u.mu.Unlock()
	a.until = u.emptied[service]
	if res != nil {
		u.answered(a, res, field)
	}
	u.world.trace.add("user of %s: %q is answered %d %s", c.name(), content, a.status, a.id)
	return a
}

// answered notes the answer to an attempt. The caller has the lock.
func (u *users) answered(a *attempt, res *answer, field string) {
	a.status = res.status
	var created map[string]any
	switch res.status {
	case http.StatusCreated:
		if err := json.Unmarshal(res.body.Bytes(), &created); err != nil {
			u.fail("%q was answered %s", a.content, res.body.Bytes())
			return
		}
		a.id, _ = created["id"].(string)
		if created[field] != a.content {
			u.fail("%q was answered with %q", a.content, created[field])
		}
	case http.StatusServiceUnavailable:
	case http.StatusUnprocessableEntity:
		if !a.of.IsReused {
			u.fail("%q, whose key nobody else used, was answered %s", a.content, res.body.Bytes())
		}
	default: // above all no 404, because the post exists
		u.fail("%q was answered %d: %s", a.content, res.status, res.body.Bytes())
	}
}

// fail notes something that can't be right. The caller has the lock.
func (u *users) fail(format string, args ...any) {
	if u.wrong == nil {
		u.wrong = fmt.Errorf(format, args...)
		u.world.trace.add("WRONG: %v", u.wrong)
	}
}

// request is a request with its end.
type request struct {
	*http.Request
	cancel context.CancelFunc
}

func newRequest(within time.Duration, method, path string, header http.Header, body []byte) request {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	req, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.RequestURI, req.Header = path, header
	return request{req, cancel}
}

// request makes a request at one of the service's processes. It returns nil if there was no
// answer.
func (u *users) request(d dice, service, method, path string, header http.Header, body []byte, chosen func(*process)) *answer {
	w := u.world
	time.Sleep(d.between(quickest, slowest))
	p := w.services[service].choose(d)
	if p == nil || w.faults.strike(RequestLost, service) != nil {
		return nil
	}
	if chosen != nil {
		chosen(p)
	}
	req := newRequest(answerWithin, method, path, header, body)
	defer req.cancel()
	res, err := p.serve(req.Request)
	if err != nil || w.faults.strike(AnswerLost, service) != nil {
		return nil
	}
	return res
}

// storeEmptied notes that a service's store is emptied now. What the log does not have yet is
// known only to the process that took it, if that lives.
func (u *users) storeEmptied(service string) {
	has := u.world.idsInLog()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.emptied[service]++
	for _, a := range u.attempts {
		if a.of.service() == service && !has[a.id] {
			a.isExposed = true
		}
	}
	u.excuse(has)
}

// decisionsLost notes that moderation's store loses these documents.
func (u *users) decisionsLost(keys []string) {
	events, _ := u.world.storedLog() // if it is damaged, the accounts say so
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range keys {
		id := strings.TrimPrefix(key, "decision-")
		u.undecided[id] = u.undecided[id] || !slices.ContainsFunc(events, func(e logged) bool { return e.Type == commentModerated && e.Subject == id })
	}
}

// mayBeDecidedAgain notes that moderation's store was set back, and lacks documents.
func (u *users) mayBeDecidedAgain(keys []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range keys {
		if id, isDecision := strings.CutPrefix(key, "decision-"); isDecision {
			u.undecided[id] = true
		}
	}
}

// mayDiffer says that a comment may have two decisions.
func (u *users) mayDiffer(comment string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.undecided[comment]
}

// hasLost says that a service's store was emptied, so that commands may be lost.
func (u *users) hasLost(service string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.emptied[service] > 0
}

// died notes that a process is dead.
func (u *users) died(p *process) {
	isForgotten := u.world.stores[p.service.name].forget(p)
	u.mu.Lock()
	isExposed := false
	for _, a := range u.attempts {
		if a.by == p {
			a.isExposed = a.isExposed || isForgotten
			isExposed = isExposed || a.isExposed
		}
	}
	u.mu.Unlock()
	if !isExposed {
		return
	}
	has := u.world.idsInLog()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.excuse(has)
}

// excuse excuses the loss of what only a dead process knew, and of the repeats of it, which
// other processes may have answered. The caller has the lock.
func (u *users) excuse(has map[string]bool) {
	keys := map[string]bool{}
	for _, a := range u.attempts {
		if a.isExposed && a.by != nil && a.by.isDead() && !has[a.id] {
			a.isExcused, keys[a.key] = true, true
		}
	}
	for _, a := range u.attempts {
		a.isExcused = a.isExcused || a.isExposed && a.key != "" && keys[a.key]
	}
}
