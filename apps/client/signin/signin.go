package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/gin-gonic/gin"
	"golang.org/x/oauth2"

	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	signInPath   = "/auth/sign-in"
	callbackPath = "/auth/callback"

	// flowCookie is the name of a sign-in's cookie, before the beginning of its state. Several
	// tabs may sign in at once.
	flowCookie = "postbus-sign-in-"
	// flowLifetime bounds a sign-in.
	flowLifetime = 10 * time.Minute
	// stateInName is how much of the state is in the cookie's name.
	stateInName = 8
	// mostFlows bounds the sign-ins under way in one browser: all cookies are sent with each
	// request.
	mostFlows = 4
	// maxReturn bounds the address to return to, in bytes.
	maxReturn = 1_000
)

// The outcomes of a sign-in that did not succeed, as the page gets them in the query.
const (
	failed      = "failed"
	unavailable = "unavailable" // the issuer does not answer
	denied      = "denied"      // the person, or the issuer, said no
	late        = "late"        // it took too long, or was begun in another browser
)

// SignIn signs people in and out, and says who they are. It is safe for concurrent use.
type SignIn struct {
	Config
	jar         *jar
	provider    *provider // nil if nobody can sign in
	revocations *revocations
	origins     *http.CrossOriginProtection
	limits      *limit.Limits
}

// New returns a sign-in. Nothing is asked of the issuer before the first one, or Run.
func New(c Config, limits *limit.Limits) (*SignIn, error) {
	jar, err := newJar(c.Keys, c.isSecure())
	if err != nil {
		return nil, err
	}
	s := &SignIn{Config: c, jar: jar, limits: limits, revocations: newRevocations(c.Store, c.Lifetime), origins: http.NewCrossOriginProtection()}
	if c.Issuer != nil {
		s.provider = newProvider(&s.Config)
	}
	return s, s.origins.AddTrustedOrigin(c.Public.String())
}

// Run keeps the issuer's keys fresh until ctx is done, and logs an issuer that may not be used.
func (s *SignIn) Run(ctx context.Context) {
	if s.provider == nil {
		return
	}
	if _, err := s.provider.discover(ctx); errors.Is(err, errDevelopment) {
		slog.ErrorContext(ctx, "nobody can sign in", "issuer", s.Issuer.URL, "error", err)
	}
	s.provider.services.Run(ctx)
}

// Routes adds the routes of the sign-in to r.
func (s *SignIn) Routes(r gin.IRoutes) {
	limited := s.limits.Of(limit.SignIn)
	r.GET("/me", limited, s.me)
	r.GET(signInPath, limited, s.begin)
	r.GET(callbackPath, limited, s.finish)
	r.POST("/auth/sign-out", limited, s.signOut)
	r.POST("/auth/back-channel-logout", s.backChannel)
}

// flow is a sign-in under way, in its cookie.
type flow struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Return   string    `json:"return"`
	Began    time.Time `json:"began"`
}

// begin leads to the issuer.
func (s *SignIn) begin(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	to := returnPath(c.Query("return"))
	if s.provider == nil {
		web.Fail(c, web.NewProblem(http.StatusNotFound, "Nobody can sign in here: no ISSUER is set."))
		return
	}
	// The cookie must be where the issuer leads back to. A proxy may ask for the host by another name.
	if c.Request.Host != s.Public.Host && c.Query("moved") == "" {
		c.Redirect(http.StatusSeeOther, s.Public.String()+signInPath+"?moved=1&return="+url.QueryEscape(to))
		return
	}
	d, err := s.provider.discover(c.Request.Context())
	if err != nil {
		slog.WarnContext(c.Request.Context(), "nobody can sign in now", "issuer", s.Issuer.URL, "error", err)
		s.leave(c, to, unavailable)
		return
	}
	started := &flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Return: to, Began: s.Now()}
	s.forgetOldFlows(c)
	if err := s.jar.put(c, flowName(started.State), started, flowLifetime); err != nil {
		web.Fail(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, d.oauth.AuthCodeURL(started.State, oauth2.S256ChallengeOption(started.Verifier), oidc.Nonce(started.Nonce)))
}

func flowName(state string) string { return flowCookie + state[:min(len(state), stateInName)] }

// forgetOldFlows drops the cookies of sign-ins that were begun and not finished, if there are many.
func (s *SignIn) forgetOldFlows(c *gin.Context) {
	var names []string
	for _, cookie := range c.Request.Cookies() {
		if name := strings.TrimPrefix(cookie.Name, s.jar.full("")); strings.HasPrefix(name, flowCookie) {
			names = append(names, name)
		}
	}
	if len(names) < mostFlows {
		return
	}
	for _, name := range names {
		s.jar.drop(c, name)
	}
}

// finish takes the issuer's answer, and begins a session: always a new one, whatever cookie the
// browser had.
func (s *SignIn) finish(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	ctx, state := c.Request.Context(), c.Query("state")
	var started flow
	if s.provider == nil || len(state) < stateInName || s.jar.get(c.Request, flowName(state), &started) != nil ||
		started.State != state || s.Now().Sub(started.Began) > flowLifetime {
		s.leave(c, "/", late)
		return
	}
	s.jar.drop(c, flowName(state))
	if code := c.Query("error"); code != "" {
		slog.InfoContext(ctx, "sign-in refused by the issuer", "error", code)
		outcome := failed
		if code == "access_denied" {
			outcome = denied
		}
		s.leave(c, started.Return, outcome)
		return
	}
	d, err := s.provider.discover(ctx)
	if err != nil {
		slog.WarnContext(ctx, "sign-in failed", "error", err)
		s.leave(c, started.Return, unavailable)
		return
	}
	made, err := s.provider.exchange(ctx, d, c.Query("code"), &started)
	if err == nil {
		err = s.keep(c, made)
	}
	if err != nil {
		slog.WarnContext(ctx, "sign-in failed", "error", err)
		s.leave(c, started.Return, failed)
		return
	}
	slog.InfoContext(ctx, "signed in", "subject", made.Subject, "roles", made.Roles)
	c.Redirect(http.StatusSeeOther, started.Return)
}

// leave leads back to a page, and says there what came of the sign-in.
func (s *SignIn) leave(c *gin.Context, to, outcome string) {
	u, _ := url.Parse(to) // returnPath has made it
	query := u.Query()
	query.Set("sign-in", outcome)
	u.RawQuery = query.Encode()
	c.Redirect(http.StatusSeeOther, u.String())
}

// returnPath is the path and query of this host that a text names, or "/" if it names anything
// else: a sign-in never leads elsewhere.
func returnPath(text string) string {
	u, err := url.Parse(text)
	isPath := err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && u.Opaque == "" &&
		strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") && !strings.HasPrefix(u.Path, "//") &&
		!strings.Contains(u.Path, `\`) && len(text) <= maxReturn && !strings.HasPrefix(u.Path, "/auth/")
	if !isPath {
		return "/"
	}
	return u.String()
}
