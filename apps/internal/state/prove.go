package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
)

// ErrUnfit is the error of every call of a store that does not keep the contract. Its text names
// the component, its type and the line of the contract.
var ErrUnfit = errors.New("does not keep the state contract")

// proofTTL is how long the documents of a proof live that is cut off.
const proofTTL = 10 * time.Minute

// severalTries is how often a store may write nothing of several items before that is taken for
// its way, and not for an outage.
const severalTries = 3

// racers is how many writers race for a version. In each of 400 races on state.etcd more than one
// of eight succeeded. (Of two, both succeeded in 397.)
const racers = 8

// prover proves the contract with documents of its own.
type prover struct {
	*view
	id string
}

// prove says whether a store keeps the contract: nil, an ErrUnfit, or why it is not known. What
// takes time is left to the conformance tests: times to live, long races, lost answers.
func prove(ctx context.Context, v *view) error {
	p := prover{v, event.NewID()}
	old, err := p.proveCreate(ctx)
	if err != nil {
		return err
	}
	if err := p.proveReplace(ctx, old); err != nil {
		return err
	}
	if err := p.proveRaces(ctx); err != nil {
		return err
	}
	keys := []string{p.key("a"), p.key("race")}
	for try := range severalTries {
		b, c := p.key(fmt.Sprint("b", try)), p.key(fmt.Sprint("c", try))
		keys = append(keys, b, c)
		isWritten, err := p.proveSeveral(ctx, old, b, c)
		if err != nil {
			return err
		}
		if isWritten {
			return p.proveDrop(ctx, keys)
		}
	}
	return unfit("of several items each is written for itself: one conflicted, and the others were not written")
}

func unfit(line string) error { return fmt.Errorf("%w: %s", ErrUnfit, line) }

func (p prover) key(name string) string { return "proof-" + p.id + "-" + name }

func (p prover) item(name, value, etag string) Item {
	return Item{Key: p.key(name), Value: []byte(value), ETag: etag, TTL: proofTTL}
}

// proveCreate proves that a key is created if it does not exist, and only then. It returns the
// document.
func (p prover) proveCreate(ctx context.Context) (Item, error) {
	if err := p.swap(ctx, []Item{p.item("a", "1", "")}); err != nil {
		return Item{}, fmt.Errorf("creating a document: %w", err)
	}
	made, err := p.read(ctx, p.key("a"))
	if err != nil {
		return Item{}, err
	}
	if string(made.Value) != "1" || made.ETag == "" {
		return Item{}, unfit("a document that was written is read, with its version")
	}
	if p.swap(ctx, []Item{p.item("a", "2", "")}) == nil {
		return Item{}, unfit("a key is created only if it does not exist, and otherwise the call fails")
	}
	return made, p.holds(ctx, "a", "1", "a key is created only if it does not exist")
}

// proveReplace proves that a document is replaced at its version, and only then.
func (p prover) proveReplace(ctx context.Context, old Item) error {
	if err := p.swap(ctx, []Item{p.item("a", "3", old.ETag)}); err != nil {
		return fmt.Errorf("replacing a document at its version: %w", err)
	}
	now, err := p.read(ctx, p.key("a"))
	if err != nil {
		return err
	}
	if string(now.Value) != "3" || now.ETag == old.ETag {
		return unfit("a document that was replaced is read, with another version")
	}
	if after, isKnown := p.etagAfter(old.ETag); isKnown && after != now.ETag {
		return unfit(fmt.Sprintf("the version after %q is %q, and the component was expected to make %q", old.ETag, now.ETag, after))
	}
	if p.swap(ctx, []Item{p.item("a", "4", old.ETag)}) == nil {
		return unfit("a document is replaced only at the version that was read, and otherwise the call fails")
	}
	return p.holds(ctx, "a", "3", "a document is replaced only at the version that was read")
}

// proveRaces proves that of several writers at once one creates a document, and one replaces it.
// A component that compares first, and writes then, passes all that a single writer can try.
// state.etcd does so, and does not ask whether its transaction has compared equal
// (components-contrib 1.18.4, state/etcd/etcd.go; no issue found).
func (p prover) proveRaces(ctx context.Context) error {
	created, err := p.proveRace(ctx, "", "a key is created by one alone of several writers that race for it")
	if err != nil {
		return err
	}
	_, err = p.proveRace(ctx, created.ETag, "a version is replaced by one alone of several writers that race for it")
	return err
}

// proveRace has several writers write a document at one version, and returns what it is then. If
// none succeeds, it is not known why: their answers may be lost.
func (p prover) proveRace(ctx context.Context, etag, line string) (Item, error) {
	var errs [racers]error
	var writers sync.WaitGroup
	for racer := range racers {
		writers.Go(func() { errs[racer] = p.swap(ctx, []Item{p.item("race", fmt.Sprint(racer), etag)}) })
	}
	writers.Wait()
	succeeded := 0
	for _, err := range errs {
		if err == nil {
			succeeded++
		}
	}
	switch succeeded {
	case 0:
		return Item{}, fmt.Errorf("racing for a version: %w", errs[0])
	case 1:
		return p.read(ctx, p.key("race"))
	}
	return Item{}, unfit(line)
}

// proveSeveral proves that of several items those are written that do not conflict, and no
// others. If it was none, it may also be that the store was away.
func (p prover) proveSeveral(ctx context.Context, old Item, b, c string) (isWritten bool, err error) {
	of := func(key string) Item { return Item{Key: key, Value: []byte("1"), TTL: proofTTL} }
	if p.swap(ctx, []Item{of(b), p.item("a", "5", old.ETag), of(c)}) == nil {
		return false, unfit("a call with several items fails if one of them conflicts")
	}
	if err := p.holds(ctx, "a", "3", "of several items none is written that conflicts"); err != nil {
		return false, err
	}
	others, err := p.get(ctx, []string{b, c})
	if err != nil {
		return false, err
	}
	return others[0].Exists() && others[1].Exists(), nil
}

// proveDrop proves that documents are removed.
func (p prover) proveDrop(ctx context.Context, keys []string) error {
	if err := p.drop(ctx, keys); err != nil {
		return err
	}
	left, err := p.get(ctx, keys)
	if err != nil {
		return err
	}
	for _, item := range left {
		if item.Exists() {
			return unfit("documents that were removed do not exist")
		}
	}
	return nil
}

func (p prover) read(ctx context.Context, key string) (Item, error) {
	items, err := p.get(ctx, []string{key})
	if err != nil {
		return Item{}, err
	}
	return items[0], nil
}

// holds proves that a document was not overwritten.
func (p prover) holds(ctx context.Context, name, value, line string) error {
	now, err := p.read(ctx, p.key(name))
	if err == nil && string(now.Value) != value {
		err = unfit(line)
	}
	return err
}
