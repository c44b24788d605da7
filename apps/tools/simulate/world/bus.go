package world

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/bus"
	"github.com/postbus/postbus/apps/internal/event"
)

// What the sidecars' configuration (components/) says of deliveries. It awaits 1 to 50 ms.
const (
	bulkAwait      = 5 * time.Millisecond
	bulkCount      = 100
	deliverWithin  = 5 * time.Second
	retryAfter     = 500 * time.Millisecond
	redeliverAfter = 7 * time.Second // the pending messages of a sidecar that is gone
)

var (
	topics = []string{string(event.PostCreated), string(event.CommentCreated), string(event.CommentModerated), string(event.CommentUpdated),
		string(event.PolicyChanged), string(event.PostCommentingChanged), string(event.PersonBlocked)}
	publishers = []string{posts, comments, moderation}
)

// broker is the event bus: a stream for each topic, and a group for each service that a
// topic is delivered to. Of the group's processes one gets a message.
type broker struct {
	world *World
	dice  dice

	mu      sync.Mutex
	streams map[string][]*message
	groups  map[string][]*group // by topic
	sent    int
	down    int // the faults that keep it down
	// mute counts, for each service, the faults that keep it from publishing.
	mute map[string]int
	// moving counts the messages that are on their way to a process, or wait for one.
	moving int
}

type message struct {
	id        int
	raw       []byte
	isDeleted bool
}

// group is what a broker knows of one service on one topic.
type group struct {
	*broker
	service, topic string
	// waiting are the messages that no process has yet.
	waiting  []*message
	isPumped bool // soon
	// skipped is the last message that is not delivered any more.
	skipped int
	hangs   bool // nothing is delivered any more
}

func newBroker(w *World) *broker {
	return &broker{world: w, dice: newDice(w.plan.Seed, "bus"), streams: map[string][]*message{}, groups: map[string][]*group{}, mute: map[string]int{}}
}

// subscribe has a service's messages of a topic delivered.
func (b *broker) subscribe(service, topic string) {
	b.groups[topic] = append(b.groups[topic], &group{broker: b, service: service, topic: topic})
}

// publisher is the bus as a process sees it.
type publisher struct {
	*broker
	of *process
}

var _ bus.Topics = publisher{}

// Publish implements bus.Topics.
func (p publisher) Publish(ctx context.Context, topic, _ string, messages [][]byte) []error {
	errs := make([]error, len(messages))
	service := p.of.service.name
	err := p.of.do(ctx, call{
		to: "bus", what: fmt.Sprintf("publish %d on %s", len(messages), topic), at: service,
		refused: string(PublishRefused), unknown: string(PublishUnknown), late: string(PublishLate), down: func() bool { return p.isDown(service) },
		effect: func() error {
			isForgotten := p.world.faults.strike(PublishForgotten, topic) != nil
			isPart := len(messages) > 1 && p.world.faults.strike(PublishPart, service) != nil
			p.mu.Lock()
			defer p.mu.Unlock()
			for i, raw := range messages {
				switch {
				case isPart && p.dice.chance(0.5):
					errs[i] = errRefused
				case !isForgotten:
					p.add(topic, raw)
				}
			}
			return nil
		},
	})
	if err != nil {
		return bus.All(len(messages), err)
	}
	return errs
}

// add puts a message on its stream, from where it goes to every group. The caller has the
// lock, and so for all methods below up to pumpAll.
func (b *broker) add(topic string, raw []byte) {
	b.sent++
	m := &message{id: b.sent, raw: bytes.Clone(raw)}
	b.streams[topic] = append(b.streams[topic], m)
	for _, g := range b.groups[topic] {
		g.send(m)
	}
}

// send lets a message arrive at a group, perhaps later, never or twice.
func (g *group) send(m *message) {
	faults := &g.world.faults
	if faults.strike(DeliveryLost, g.service) != nil {
		return
	}
	g.arrive(m, g.dice.between(quickest, slowest)+faults.delay(DeliveryDelayed, g.service))
	if after := faults.delay(DeliveryRepeated, g.service); after > 0 {
		g.arrive(m, after)
	}
}

func (g *group) arrive(m *message, after time.Duration) {
	g.moving++
	time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if m.isDeleted || m.id <= g.skipped || g.hangs {
			g.moving--
			return
		}
		g.waiting = append(g.waiting, m)
		g.pumpSoon()
	})
}

func (g *group) pumpSoon() {
	if g.isPumped || len(g.waiting) == 0 {
		return
	}
	g.isPumped = true
	time.AfterFunc(bulkAwait, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.isPumped = false
		g.pump()
	})
}

// pump gives the messages that wait to a process, unless the service has none now.
func (g *group) pump() {
	p := g.world.services[g.service].choose(g.dice)
	if p == nil || g.down > 0 || len(g.waiting) == 0 {
		return
	}
	batch := g.waiting[:min(len(g.waiting), bulkCount)]
	g.waiting = g.waiting[len(batch):]
	go g.deliver(p, slices.Clone(batch))
	g.pumpSoon()
}

// pumpAll is called when a service has a process again, and, without a name, when the bus is
// back.
func (b *broker) pumpAll(service string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range append(slices.Clone(topics), bus.DeadLetterTopic) {
		for _, g := range b.groups[topic] {
			if service == "" || g.service == service {
				g.pumpSoon()
			}
		}
	}
}

// deliver delivers messages to a process until it has acknowledged all, or is gone.
func (g *group) deliver(p *process, batch []*message) {
	for {
		failed, isGone := g.post(p, batch)
		g.mu.Lock()
		g.moving -= len(batch) - len(failed)
		g.mu.Unlock()
		if batch = failed; len(batch) == 0 {
			return
		}
		if !isGone {
			time.Sleep(retryAfter)
		}
		if isGone || p.isDead() {
			time.Sleep(redeliverAfter)
			g.mu.Lock()
			defer g.mu.Unlock()
			g.waiting = append(g.waiting, batch...)
			g.pumpSoon()
			return
		}
	}
}

// post makes one delivery. It returns the messages that were not acknowledged.
func (g *group) post(p *process, batch []*message) (failed []*message, isGone bool) {
	ctx, cancel := context.WithTimeout(context.Background(), deliverWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, bus.Path(event.Type(g.topic)), bytes.NewReader(envelope(batch)))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.serve(req)
	isUnknown := g.world.faults.strike(DeliveryUnknown, g.service) != nil
	if err == nil && !isUnknown && res.status == http.StatusOK {
		failed = notAcknowledged(batch, res.body.Bytes())
	} else {
		failed = batch
	}
	g.world.trace.add("bus delivers %v of %s to %s: %d not acknowledged, error %v", ids(batch), g.topic, p, len(failed), err)
	return failed, p.isDead()
}

func ids(batch []*message) (ids []int) {
	for _, m := range batch {
		ids = append(ids, m.id)
	}
	return ids
}

// envelope is a bulk delivery with raw payloads
// (https://docs.dapr.io/reference/api/pubsub_api/#receiving-bulk-messages).
func envelope(batch []*message) []byte {
	b := []byte(`{"entries":[`)
	for i, m := range batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"entryId":"`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `","contentType":"application/octet-stream","event":"`...)
		b = base64.StdEncoding.AppendEncode(b, m.raw)
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

func notAcknowledged(batch []*message, answer []byte) (failed []*message) {
	var reply struct {
		Statuses []struct {
			EntryID string `json:"entryId"`
			Status  string `json:"status"`
		} `json:"statuses"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil {
		return batch
	}
	for _, s := range reply.Statuses {
		if i, err := strconv.Atoi(s.EntryID); err == nil && s.Status != "SUCCESS" {
			failed = append(failed, batch[i])
		}
	}
	return failed
}

// isDown says whether the bus takes nothing of a service.
func (b *broker) isDown(service string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.down > 0 || b.mute[service] > 0
}

// isQuiet says whether no message is under way.
func (b *broker) isQuiet() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moving == 0
}

func (w *World) busDown(f *fault) (end func()) {
	w.faults.began(f)
	w.bus.setDown(1)
	return func() {
		w.bus.setDown(-1)
		w.bus.pumpAll("")
	}
}

func (b *broker) setDown(by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down += by
}

// drop forgets messages that no process of a group has yet.
func (g *group) drop(dropped func(*message) bool) {
	kept := slices.DeleteFunc(slices.Clone(g.waiting), dropped)
	g.moving -= len(g.waiting) - len(kept)
	g.waiting = kept
}

func (w *World) deleteStream(f *fault) (end func()) {
	w.faults.began(f)
	b := w.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.streams[f.At] {
		m.isDeleted = true
	}
	b.streams[f.At] = nil
	for _, g := range b.groups[f.At] {
		g.drop(func(m *message) bool { return m.isDeleted })
	}
	return nil
}

// eachGroup calls act with the groups of a service.
func (b *broker) eachGroup(service string, act func(*group)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range topics {
		for _, g := range b.groups[topic] {
			if g.service == service {
				act(g)
			}
		}
	}
}

func (w *World) groupAtEnd(f *fault) (end func()) {
	w.faults.began(f)
	w.bus.eachGroup(f.At, func(g *group) {
		g.skipped = g.sent
		g.drop(func(*message) bool { return true })
	})
	return nil
}

func (w *World) hangSubscription(f *fault) (end func()) {
	w.faults.began(f)
	hanging := f.dice.IntN(len(topics))
	w.bus.eachGroup(f.At, func(g *group) {
		if g.topic == topics[hanging] {
			g.hangs = true
			g.drop(func(*message) bool { return true })
		}
	})
	if !f.dice.chance(0.3) {
		return nil
	}
	w.bus.setMute(f.At, 1)
	return func() { w.bus.setMute(f.At, -1) }
}

func (b *broker) setMute(service string, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mute[service] += by
}

func (w *World) groupReplays(f *fault) (end func()) {
	w.faults.began(f)
	w.bus.eachGroup(f.At, func(g *group) {
		g.skipped = 0
		for _, m := range g.streams[g.topic] {
			g.arrive(m, g.dice.between(quickest, time.Second))
		}
	})
	return nil
}

func topicOf(route string) (string, bool) { return strings.CutPrefix(route, bus.Path("")) }
