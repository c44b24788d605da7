package main

import (
	"context"
	"testing"

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
	if address, err := (uninterrupted{asked{}}).ResolveID(ctx, contribnames.ResolveRequest{ID: "x"}); address != "x" || err != nil {
		t.Errorf("%q, %v", address, err)
	}
}
