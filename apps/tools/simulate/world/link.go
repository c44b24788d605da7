package world

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Why a call failed. What the services make of them must not depend on which it is.
var (
	errDead    = errors.New("this process is dead")
	errRefused = errors.New("refused")
	errTimeout = errors.New("no answer in time")
	errLate    = errors.New("not yet")
)

// Bounds of the time that things take without a fault, and of what a sidecar waits for an
// answer.
const (
	quickest  = 50 * time.Microsecond
	slowest   = 2 * time.Millisecond
	giveUpMin = 500 * time.Millisecond
	giveUpMax = 3 * time.Second
)

// call is a call of a process to something else in the world: its store, the bus, or the
// sidecar of another service.
type call struct {
	// to is what is called, and what is done there, both for the trace.
	to, what string
	// at is where the faults are that may strike the call: of these kinds. An empty kind
	// is none.
	at                           string
	refused, unknown, late, slow string
	// down says whether the other side is away now.
	down func() bool
	// effect is what the call does. It may happen when the process is dead already.
	effect func() error
}

// do makes a call of the process. Whatever the error, the effect may have happened or may
// happen later. Once the process is dead nothing happens any more, except for the effects
// of calls that were under way.
func (p *process) do(ctx context.Context, c call) error {
	err := p.attempt(ctx, c)
	p.world.trace.add("%s %s %s: %v", p, c.to, c.what, err)
	return err
}

func (p *process) attempt(ctx context.Context, c call) error {
	if err := p.gate(ctx); err != nil {
		return err
	}
	w := p.world
	killer := w.faults.strike(KilledInCall, p.service.name)
	killedAfter := killer != nil && killer.dice.chance(0.5)
	if err := sleep(ctx, p.latency()+w.faults.delay(Kind(c.slow), c.at)); err != nil {
		if p.dice.chance(0.5) { // it was on its way
			return errors.Join(err, c.effect())
		}
		return err
	}
	if killer != nil && !killedAfter {
		w.killInCall(p, killer)
		return errDead
	}
	switch {
	case p.isDead():
		return errDead
	case c.down != nil && c.down():
		return p.giveUp(ctx, errRefused)
	case w.faults.strike(Kind(c.refused), c.at) != nil:
		return p.giveUp(ctx, errRefused)
	}
	if after := w.faults.delay(Kind(c.late), c.at); after > 0 {
		w.later(after, func() { _ = c.effect() })
		return p.giveUp(ctx, errLate)
	}
	err := c.effect()
	if killedAfter {
		w.killInCall(p, killer)
		return errDead
	}
	if w.faults.strike(Kind(c.unknown), c.at) != nil {
		return p.giveUp(ctx, errTimeout)
	}
	if dead := p.gate(ctx); dead != nil {
		return dead
	}
	return err
}

// giveUp returns err at once, or after the time that a sidecar waits for an answer.
func (p *process) giveUp(ctx context.Context, err error) error {
	if p.dice.chance(0.5) {
		return err
	}
	if ended := sleep(ctx, p.dice.between(giveUpMin, giveUpMax)); ended != nil {
		return ended
	}
	return err
}

func (p *process) latency() time.Duration { return p.dice.between(quickest, slowest) }

// sleep waits, unless ctx ends first. Then it returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= slowest { // cheaper, and as good
		time.Sleep(d)
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
}
