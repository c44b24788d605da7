// Package identity says who sends a request, and what that person may do. An OpenID Connect
// issuer signs people in; each service verifies their tokens itself. Without a token a person
// is a guest.
package identity

import (
	"slices"

	"github.com/gin-gonic/gin"
)

// Role is what a person is allowed to be. No role includes another one.
type Role string

// The four roles.
const (
	// Reader may comment.
	Reader Role = "reader"
	// Author may post and comment.
	Author Role = "author"
	// Moderator may comment, and decides which comments readers see.
	Moderator Role = "moderator"
	// Operator may comment, and sees how the system works.
	Operator Role = "operator"
)

// Roles lists every role.
var Roles = []Role{Reader, Author, Moderator, Operator}

// Person is who sends a request. The zero Person is a guest.
type Person struct {
	// Subject is a pseudonym: the HMAC-SHA256 of the issuer and its subject by the configured
	// key, as 64 hexadecimal digits. It is empty for a guest, and never an e-mail address.
	Subject string
	// Name is the name that the issuer vouches for, of at most event.MaxAuthor characters. It
	// is never an e-mail address. It is empty for a guest, and if the issuer gives none.
	Name string
	// Roles are the person's roles, in the order of Roles, each once.
	Roles []Role
}

// IsGuest reports whether the person is not signed in.
func (p Person) IsGuest() bool { return p.Subject == "" }

// Has reports whether the person has the role. A guest has none.
func (p Person) Has(role Role) bool { return !p.IsGuest() && slices.Contains(p.Roles, role) }

// personKey is the key of a request's Person in its gin context.
type personKey struct{}

// Of returns the person that Guard.Identify has found. Without that middleware it is a guest.
func Of(c *gin.Context) Person {
	person, _ := c.Get(personKey{})
	found, _ := person.(Person)
	return found
}
