package signin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// signOut ends the session of a request, here and in every copy of its cookie, and answers with
// where to go: to the issuer, which has a session of its own.
func (s *SignIn) signOut(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	if err := s.checkOrigin(c.Request); err != nil {
		web.Fail(c, err)
		return
	}
	ctx, next := c.Request.Context(), "/"
	var ended session
	if s.jar.get(c.Request, sessionCookie, &ended) == nil {
		if err := s.revocations.revoke(ctx, sessionKey(ended.ID), time.Time{}); err != nil {
			// The browser forgets the cookie all the same.
			slog.WarnContext(ctx, "a session was not ended everywhere", "subject", ended.Subject, "error", err)
		}
		slog.InfoContext(ctx, "signed out", "subject", ended.Subject)
		next = s.issuerSignOut(c)
	}
	s.jar.drop(c, sessionCookie)
	c.PureJSON(http.StatusOK, gin.H{"next": next})
}

// issuerSignOut is the address at the issuer where a person signs out there (OpenID Connect
// RP-Initiated Logout 1.0, section 2), or "/" if there is none.
func (s *SignIn) issuerSignOut(c *gin.Context) string {
	if s.provider == nil {
		return "/"
	}
	d, err := s.provider.discover(c.Request.Context())
	if err != nil || d.endSession == "" {
		return "/"
	}
	u, err := url.Parse(d.endSession)
	if err != nil {
		return "/"
	}
	query := u.Query()
	query.Set("client_id", s.ClientID)
	query.Set("post_logout_redirect_uri", s.Public.String()+"/")
	u.RawQuery = query.Encode()
	return u.String()
}

// backChannel ends the sessions that the issuer names (OpenID Connect Back-Channel Logout 1.0,
// section 2.5): all of one session there, or all of a person. A token that is sent again ends
// nothing that began after it was issued.
func (s *SignIn) backChannel(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	if err := s.endAt(c); err != nil {
		web.Fail(c, err)
		return
	}
	c.Status(http.StatusOK)
}

func (s *SignIn) endAt(c *gin.Context) error {
	if s.provider == nil {
		return web.NewProblem(http.StatusNotFound, "Nobody can sign in here: no ISSUER is set.")
	}
	body, err := web.ReadBody(c)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("logout_token") == "" {
		return web.NewProblem(http.StatusBadRequest, "The body has no logout_token.")
	}
	ctx := c.Request.Context()
	d, err := s.provider.discover(ctx)
	if err != nil {
		return errors.Join(err, web.Unavailable("The issuer's keys can't be read now. Try again."))
	}
	token, err := d.ids.VerifyLogout(ctx, form.Get("logout_token"))
	if err != nil {
		slog.WarnContext(ctx, "logout token refused", "reason", err)
		return web.NewProblem(http.StatusBadRequest, "The logout_token is not valid.")
	}
	key, at := issuerKey(token.SessionID), time.Time{}
	if token.SessionID == "" {
		key, at = personKey(s.provider.services.Pseudonym(token.Subject)), token.IssuedAt
	}
	if err := s.revocations.revoke(ctx, key, at); err != nil {
		return fmt.Errorf("%w: %w", web.Unavailable("The sessions can't be ended now. Try again."), err)
	}
	slog.InfoContext(ctx, "the issuer signed somebody out", "one session", token.SessionID != "")
	return nil
}
