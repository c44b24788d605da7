package signin

import (
	"crypto/rand"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// guestCookie is the name of the cookie with which a browser's Idempotency-Keys are its own.
	guestCookie = "postbus-guest"
	// guestLifetime is that of the cookie. Keys live for a day.
	guestLifetime = 30 * 24 * time.Hour
)

// validGuest matches a guest's id. A browser that makes up its own only shares keys with itself.
var validGuest = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Identify is the middleware of the routes on which it matters who somebody is. It turns the cookie
// of a session into a bearer token, and that of a guest into its Guest. A request with a bearer
// token of its own keeps that one. A request that changes something is refused with 403 if
// it has a cookie and another site sent it, and with 401 if its session has ended: nobody becomes
// a guest in the middle of writing. Reading goes on as a guest.
func (s *SignIn) Identify(c *gin.Context) {
	header := c.Request.Header
	isChange := c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead
	guest, hasGuest := s.guestOf(c.Request)
	if isChange && (hasGuest || s.hasSession(c.Request)) {
		if err := s.checkOrigin(c.Request); err != nil {
			web.Fail(c, err)
			return
		}
	}
	if slices.ContainsFunc(header.Values("Authorization"), identity.IsBearer) {
		return
	}
	found, err := s.find(c)
	switch {
	case err == nil:
		header.Set("Authorization", "Bearer "+found.Token)
	case isChange && errors.Is(err, errEnded):
		c.Header("WWW-Authenticate", `Bearer error="invalid_token"`)
		web.Fail(c, web.NewProblem(http.StatusUnauthorized, "Your session has ended. Sign in again. This request has changed nothing."))
	case isChange && !errors.Is(err, errNoSession):
		web.Fail(c, err)
	case hasGuest:
		c.Set(guestKey{}, guest)
	}
}

// guestKey is the key of a request's guest in its gin context.
type guestKey struct{}

// Guest is the guest whose browser sent a request, as Identify has found it, or empty.
func Guest(c *gin.Context) string { return c.GetString(guestKey{}) }

func (s *SignIn) hasSession(r *http.Request) bool {
	_, err := r.Cookie(s.jar.full(sessionCookie))
	return err == nil
}

// guestOf is the id of the guest whose browser sent a request.
func (s *SignIn) guestOf(r *http.Request) (id string, has bool) {
	cookie, err := r.Cookie(s.jar.full(guestCookie))
	if err != nil || !validGuest.MatchString(cookie.Value) {
		return "", false
	}
	return cookie.Value, true
}

// checkOrigin refuses, with 403, what a page of another site had the browser send. A browser says
// so in Sec-Fetch-Site, or at least in Origin; what has neither and yet a cookie is refused, too.
func (s *SignIn) checkOrigin(r *http.Request) error {
	says := r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != ""
	if !says || s.origins.Check(r) != nil {
		return web.NewProblem(http.StatusForbidden, "A page of another site sent this request, or it does not say which one did. Send it from the blog's own pages, or with a bearer token and no cookie.")
	}
	return nil
}

// person is the answer of /me.
type person struct {
	Name    string             `json:"name,omitempty"`
	Subject string             `json:"subject,omitempty"`
	Roles   []identity.Role    `json:"roles"`
	May     []identity.Command `json:"may"`
	// SignIn says whether people can sign in here.
	SignIn bool `json:"signIn"`
	// Until is when the session ends at the latest.
	Until *time.Time `json:"until,omitempty"`
	// Ended says that this browser had a session, which has ended now.
	Ended bool `json:"ended,omitempty"`
}

// me says who somebody is and may do. It gives a guest's browser its cookie.
func (s *SignIn) me(c *gin.Context) {
	found, err := s.find(c)
	if problem := new(web.Problem); errors.As(err, &problem) {
		web.Fail(c, err)
		return
	}
	c.Header("Cache-Control", "private, no-store")
	answer := person{Roles: []identity.Role{}, SignIn: s.provider != nil, Ended: errors.Is(err, errEnded)}
	who := identity.Person{}
	if found != nil {
		who = identity.Person{Subject: found.Subject, Name: found.Name, Roles: found.Roles}
		until := s.endOf(found)
		answer.Name, answer.Subject, answer.Until = who.Name, who.Subject, &until
		answer.Roles = append(answer.Roles, who.Roles...)
	} else if _, has := s.guestOf(c.Request); !has {
		s.jar.set(c, guestCookie, rand.Text(), guestLifetime)
	}
	answer.May = s.May(who)
	c.PureJSON(http.StatusOK, answer)
}
