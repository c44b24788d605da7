// Package identitytest has people for the tests of services. A guard of this package takes
// the name of a role as the bearer token of a person who has that role.
package identitytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/postbus/postbus/apps/internal/identity"
)

// Nobody is the bearer token of a person without a role.
const Nobody = "nobody"

// Guard returns a guard that lets guests give the named commands. Its bearer tokens are the
// names of the roles, and Nobody. Every other token is refused.
func Guard(guests ...identity.Command) *identity.Guard {
	return identity.New(tokens{}, guests...)
}

// Open returns a guard of which guests may do everything.
func Open() *identity.Guard { return Guard(identity.Post, identity.Comment) }

// Of returns the person of a token that Guard accepts.
func Of(token string) identity.Person {
	subject := sha256.Sum256([]byte(token))
	person := identity.Person{Subject: hex.EncodeToString(subject[:]), Name: "The " + token}
	if token != Nobody {
		person.Roles = []identity.Role{identity.Role(token)}
	}
	return person
}

type tokens struct{}

// Verify implements identity.Verifier.
func (tokens) Verify(_ context.Context, token string) (identity.Person, error) {
	if token != Nobody && !slices.Contains(identity.Roles, identity.Role(token)) {
		return identity.Person{}, fmt.Errorf("%w: %q is the name of no role", identity.ErrInvalid, token)
	}
	return Of(token), nil
}
