package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	contribnames "github.com/dapr/components-contrib/nameresolution"
)

// asked is a resolver that returns the error of its context.
type asked struct{ contribnames.Resolver }

func (asked) ResolveID(ctx context.Context, req contribnames.ResolveRequest) (string, error) {
	return req.ID, ctx.Err()
}

func TestALookupIsNotInterruptedWhenItsCallerGivesUp(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	if address, err := (names{asked{}}).ResolveID(ctx, contribnames.ResolveRequest{ID: "x"}); address != "x" || err != nil {
		t.Errorf("%q, %v", address, err)
	}
}

// locked is a resolver whose database is locked for some tries, and then has another error.
type locked struct {
	contribnames.Resolver
	tries *int
	err   error
}

func (l locked) Init(context.Context, contribnames.Metadata) error {
	if *l.tries--; *l.tries >= 0 {
		return errors.New("database is locked (5) (SQLITE_BUSY)")
	}
	return l.err
}

func TestAResolverStartsOnceItsDatabaseIsNotLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad metadata")
		for _, c := range []struct {
			tries int
			err   error
		}{{0, nil}, {50, nil}, {3, bad}} {
			if err := (names{locked{tries: &c.tries, err: c.err}}).Init(t.Context(), contribnames.Metadata{}); !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
		}
		always, began := 1_000_000, time.Now()
		if err := (names{locked{tries: &always}}).Init(t.Context(), contribnames.Metadata{}); err == nil || time.Since(began) > 2*lockedFor {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
	})
}
