package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// Command is something that not everybody may do.
type Command string

// The commands. The guest policy is about the first two.
const (
	Post     Command = "post"
	Comment  Command = "comment"
	Moderate Command = "moderate"
)

// ErrInvalid is the error of a token that is not valid.
var ErrInvalid = errors.New("the token is not valid")

// Verifier verifies bearer tokens: an *Issuer, or a fake of the tests.
type Verifier interface {
	// Verify returns the person that a token is of. The error is an ErrInvalid, or a
	// *web.Problem if the token can't be verified now.
	Verify(ctx context.Context, token string) (Person, error)
}

// Guard finds out who sends a request, and refuses what a person may not do. It is safe for
// concurrent use.
type Guard struct {
	verifier Verifier
	guests   []Command
}

// New returns a guard that lets guests give the named commands. Without a verifier nobody can
// sign in: every token is refused.
func New(verifier Verifier, guests ...Command) *Guard {
	return &Guard{verifier: verifier, guests: guests}
}

// Identify is the middleware that finds out who sends a request, for Of. A request without
// Authorization header is a guest's. One whose bearer token is not valid is refused with 401,
// and with 503 if the token can't be verified now.
func (g *Guard) Identify(c *gin.Context) {
	token, given, err := bearer(c.Request)
	switch {
	case err == nil && !given:
		return
	case err == nil && g.verifier == nil:
		err = fmt.Errorf("%w: nobody can sign in here, because no ISSUER is set", ErrInvalid)
	}
	var person Person
	if err == nil {
		person, err = g.verifier.Verify(c.Request.Context(), token)
	}
	if errors.Is(err, ErrInvalid) {
		slog.InfoContext(c.Request.Context(), "token refused", "reason", err)
		c.Header("WWW-Authenticate", `Bearer error="invalid_token"`)
		err = web.NewProblem(http.StatusUnauthorized, "The bearer token is not valid, or no longer. Sign in again, or send the request without it.")
	}
	if err != nil {
		web.Fail(c, err)
		return
	}
	c.Set(personKey{}, person)
}

// bearer returns the token of a request (RFC 6750, section 2.1). The error is an ErrInvalid
// for credentials of another kind. Those in which a sidecar looks for an app id
// (https://docs.dapr.io/developing-applications/building-blocks/service-invocation/howto-invoke-discover-services/)
// say nothing about a person.
func bearer(r *http.Request) (token string, given bool, err error) {
	values := r.Header.Values("Authorization")
	if user, _, isBasic := r.BasicAuth(); len(values) == 0 || isBasic && user == "dapr-app-id" {
		return "", false, nil
	}
	if len(values) > 1 || !IsBearer(values[0]) {
		return "", true, fmt.Errorf("%w: one Authorization header with a bearer token is expected", ErrInvalid)
	}
	_, token, _ = strings.Cut(values[0], " ")
	return strings.TrimSpace(token), true, nil
}

// IsBearer reports whether a value of an Authorization header is a bearer token's (RFC 6750,
// section 2.1), with a scheme in any case (RFC 9110, section 11.1).
func IsBearer(credentials string) bool {
	scheme, _, _ := strings.Cut(credentials, " ")
	return strings.EqualFold(scheme, "Bearer")
}

// Allow refuses people who may not give the command: a guest with 401, all others with a 403 that
// names the missing role. It comes after Identify.
func (g *Guard) Allow(command Command) gin.HandlerFunc {
	return func(c *gin.Context) {
		person := Of(c)
		switch {
		case may(person, command, g.guests):
		case person.IsGuest():
			failGuest(c, fmt.Sprintf("Guests may not %s here. Sign in.", command))
		default:
			failRole(c, roleFor[command])
		}
	}
}

// roleFor is the role that a signed-in person needs for a command.
var roleFor = map[Command]Role{Post: Author, Comment: Reader, Moderate: Moderator}

// may reports whether a person may give a command. A guest may if the guest policy has it. A
// signed-in person needs its role, and to comment any role.
func may(person Person, command Command, guests []Command) bool {
	if person.IsGuest() {
		return slices.Contains(guests, command)
	}
	return person.Has(roleFor[command]) || command == Comment && len(person.Roles) > 0
}

// May are the commands that a person may give.
func (s Settings) May(person Person) []Command {
	all := []Command{}
	for _, command := range []Command{Post, Comment, Moderate} {
		if may(person, command, s.Guests) {
			all = append(all, command)
		}
	}
	return all
}

// failGuest asks for credentials, without an error code because there were none (RFC 6750,
// section 3.1).
func failGuest(c *gin.Context, detail string) {
	c.Header("WWW-Authenticate", "Bearer")
	web.Fail(c, web.NewProblem(http.StatusUnauthorized, detail))
}

func failRole(c *gin.Context, role Role) {
	p := web.NewProblem(http.StatusForbidden, fmt.Sprintf("You don't have the role %s, which this needs.", role))
	p.Role = string(role)
	web.Fail(c, p)
}
