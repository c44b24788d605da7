package signin

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/web"
)

// sessionCookie is the cookie's name.
const sessionCookie = "postbus-session"

const (
	// refreshBefore is how long before its end a token is refreshed. So a failed try ends nothing.
	refreshBefore = time.Minute
	// seenShare of the idle lifetime passes before the cookie is written anew.
	seenShare = 20
	// keptAfter is how long a browser keeps the cookie after the session's end, so that what it sends
	// then is refused and does not become a guest's.
	keptAfter = 24 * time.Hour
)

// session is what the cookie has of somebody who is signed in.
type session struct {
	ID string `json:"id"`
	// IssuerID is the session at the issuer (the claim sid), if it says so.
	IssuerID string          `json:"sid,omitempty"`
	Subject  string          `json:"subject"`
	Name     string          `json:"name,omitempty"`
	Roles    []identity.Role `json:"roles,omitempty"`
	// Token is the bearer token for the services, good until Ends.
	Token string    `json:"token"`
	Ends  time.Time `json:"ends"`
	// Refresh gets the next one, if the issuer gave it.
	Refresh string `json:"refresh,omitempty"`
	// IssuedAt is when the issuer signed the person in, by its clock.
	IssuedAt time.Time `json:"issuedAt"`
	// Began is when the session began, Seen when it was last used, to within a seenShare.
	Began time.Time `json:"began"`
	Seen  time.Time `json:"seen"`
}

var (
	errNoSession = errors.New("nobody is signed in")
	errEnded     = errors.New("the session has ended")
)

// find returns the session of a request, with a token that is good. It writes the cookie anew where
// that is due, and has the browser forget one that is no good. The error is errNoSession,
// errEnded, or a *web.Problem while the issuer does not answer for a new token.
func (s *SignIn) find(c *gin.Context) (*session, error) {
	found := &session{}
	err := s.jar.get(c.Request, sessionCookie, found)
	if errors.Is(err, http.ErrNoCookie) {
		return nil, errNoSession
	}
	c.Header("Cache-Control", "private, no-store")
	now, ctx := s.Now(), c.Request.Context()
	isOld := now.After(s.endOf(found)) || now.Sub(found.Seen) > s.Idle
	if err != nil || isOld || s.Issuer == nil || s.revocations.has(ctx, found) {
		s.jar.drop(c, sessionCookie)
		return nil, errEnded
	}
	isNew := now.Sub(found.Seen) > s.Idle/seenShare
	if found.Refresh != "" && found.Ends.Sub(now) < refreshBefore {
		refreshed, err := s.provider.refresh(ctx, found)
		switch {
		case err == nil:
			found, isNew = refreshed, true
		case now.After(found.Ends) && !errors.Is(err, errEnded):
			return nil, web.Unavailable("The sign-in service does not answer, and you were signed in until now. Try again.")
		} // Otherwise the token is used to its end: another replica may have used the refresh token.
	}
	if now.After(found.Ends) {
		s.jar.drop(c, sessionCookie)
		return nil, errEnded
	}
	if isNew {
		found.Seen = now
		if err := s.keep(c, found); err != nil {
			slog.ErrorContext(ctx, "the session can't be kept", "error", err)
		}
	}
	return found, nil
}

// endOf is the latest end of a session.
func (s *SignIn) endOf(found *session) time.Time { return found.Began.Add(s.Lifetime) }

// keep writes the session's cookie. The error is an errTooLarge.
func (s *SignIn) keep(c *gin.Context, kept *session) error {
	lives := min(s.endOf(kept).Sub(s.Now()), s.Idle)
	return s.jar.put(c, sessionCookie, kept, lives+keptAfter)
}
