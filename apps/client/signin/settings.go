// Package signin signs people in at the client's host by OpenID Connect, keeps who they are in
// an encrypted cookie, and gives the services a bearer token for each of their requests.
package signin

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// minKey is the least length of a key in SESSION_KEY, in bytes.
	minKey = 32
	// defaultLifetime is how long a session lasts at most, defaultIdle how long it lasts unused.
	defaultLifetime = 7 * 24 * time.Hour
	defaultIdle     = 24 * time.Hour
	// minLifetime is the least of either: below it, nobody gets anything written.
	minLifetime = time.Minute
)

// Config says who may sign in, where, and for how long.
type Config struct {
	identity.Settings
	// Public is the host's address as browsers have it: scheme and host, without a path.
	Public *url.URL
	// ClientID and ClientSecret are the host's at the issuer. The secret may be empty.
	ClientID, ClientSecret string
	// Keys are the secrets of the cookies. The first one seals them, and all open them.
	Keys [][]byte
	// Lifetime bounds a session from its sign-in, Idle from its last request.
	Lifetime, Idle time.Duration
	// AllowDevIssuer is DEV_ISSUER: the development issuer may be used where others reach the host.
	AllowDevIssuer bool
	// Store keeps the ids of the sessions that were ended, and the issuer's keys.
	Store state.Store
	// Client sends the requests to the issuer. Each is bounded by askTimeout.
	Client *http.Client
	Now    func() time.Time
}

// Read returns the configuration of the environment variables that identity.Read has, and of
// PUBLIC_URL, CLIENT_ID, CLIENT_SECRET, SESSION_KEY, SESSION_LIFETIME, SESSION_IDLE, DEV_ISSUER
// (../../internal/README.md) and PORT. It has no store yet. An error names the variable and says
// what to set.
func Read(env func(name string) string) (Config, error) {
	settings, err := identity.Read(env)
	if err != nil {
		return Config{}, err
	}
	c := Config{
		Settings: settings, ClientID: cmp.Or(env("CLIENT_ID"), env("AUDIENCE"), "postbus"), ClientSecret: env("CLIENT_SECRET"),
		AllowDevIssuer: env("DEV_ISSUER") == "1", Client: &http.Client{Timeout: askTimeout}, Now: time.Now,
	}
	if c.Public, err = readPublic(cmp.Or(env("PUBLIC_URL"), "http://localhost:"+cmp.Or(env("PORT"), "3000"))); err != nil {
		return Config{}, fmt.Errorf("PUBLIC_URL %w", err)
	}
	if c.Lifetime, err = readDuration(env("SESSION_LIFETIME"), defaultLifetime); err != nil {
		return Config{}, fmt.Errorf("SESSION_LIFETIME %w", err)
	}
	if c.Idle, err = readDuration(env("SESSION_IDLE"), defaultIdle); err != nil {
		return Config{}, fmt.Errorf("SESSION_IDLE %w", err)
	}
	if c.Keys, err = readKeys(env("SESSION_KEY"), settings.Issuer == nil || c.isPrivate()); err != nil {
		return Config{}, err
	}
	return c, c.checkIssuer()
}

// isPrivate reports whether this machine alone reaches the host.
func (c *Config) isPrivate() bool { return web.IsLoopback(web.HostName(c.Public.Host)) }

// mayDevelop reports whether the development issuer may be used.
func (c *Config) mayDevelop() bool { return c.AllowDevIssuer || c.isPrivate() }

// isSecure reports whether browsers reach the host by TLS.
func (c *Config) isSecure() bool { return c.Public.Scheme == "https" }

// checkIssuer refuses an issuer on this machine for people on others: such a one is for
// development.
func (c *Config) checkIssuer() error {
	if c.Issuer == nil || c.mayDevelop() {
		return nil
	}
	u, err := url.Parse(c.Issuer.URL)
	if err == nil && web.IsLoopback(web.HostName(u.Host)) {
		err = fmt.Errorf("ISSUER is %s, this machine alone, and PUBLIC_URL is %s. Set ISSUER to one that people's browsers reach, or DEV_ISSUER=1 if nobody else reaches either", c.Issuer.URL, c.Public)
	}
	return err
}

func readPublic(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("is no URL: %w", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("is %q. Set it to the address that browsers show, such as https://posts.com", text)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("is %q. Set it to scheme and host alone, such as https://posts.com", text)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func readDuration(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minLifetime {
		return 0, fmt.Errorf("is %q. Set it to a time of at least %s, such as 12h", text, minLifetime)
	}
	return d, nil
}

// readKeys reads secrets with commas between them. Without any it makes one, where that will do: a
// restart then signs everybody out, and replicas do not share sessions.
func readKeys(text string, mayMake bool) (keys [][]byte, err error) {
	if text == "" && mayMake {
		key := make([]byte, minKey)
		_, _ = rand.Read(key) // never fails
		return [][]byte{key}, nil
	}
	if text == "" {
		return nil, errors.New("SESSION_KEY is not set, and ISSUER is. Set it to the same secret for all replicas, such as `openssl rand -hex 32` makes")
	}
	for key := range strings.SplitSeq(text, ",") {
		if key = strings.TrimSpace(key); len(key) < minKey {
			return nil, fmt.Errorf("SESSION_KEY has a secret of %d bytes. Set it to one of at least %d, such as `openssl rand -hex 32` makes; with commas between several", len(key), minKey)
		}
		keys = append(keys, []byte(key))
	}
	return keys, nil
}
