package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// everybody stands in Config.Roles for every person who is signed in.
	everybody = "*"
	// minSubjectKey is the least length of SUBJECT_KEY, in bytes.
	minSubjectKey = 32
	// loopbackKey makes the pseudonyms of an issuer on this machine, if there is no other key.
	// It is no secret, and such an issuer's people are none.
	loopbackKey = "the subjects of an issuer on this machine"
)

// Settings says who may sign in, and what guests may do.
type Settings struct {
	// Issuer is nil if nobody can sign in.
	Issuer *Config
	// Guests are the commands that guests may give.
	Guests []Command
}

// Read returns the settings of the environment variables ISSUER, AUDIENCE, ROLES_CLAIM,
// ROLES, GUESTS and SUBJECT_KEY (../README.md). Env returns the value of a variable. An error
// names the variable and says what to set.
func Read(env func(name string) string) (Settings, error) {
	guests, err := readGuests(cmp.Or(env("GUESTS"), "post,comment"))
	if err != nil {
		return Settings{}, err
	}
	settings := Settings{Guests: guests}
	if env("ISSUER") == "" {
		return settings, nil
	}
	settings.Issuer = &Config{
		URL: env("ISSUER"), Audience: cmp.Or(env("AUDIENCE"), "postbus"), RolesClaim: cmp.Or(env("ROLES_CLAIM"), "roles"),
		SubjectKey: []byte(env("SUBJECT_KEY")), Client: &http.Client{}, Now: time.Now,
	}
	if err := checkURL(settings.Issuer.URL); err != nil {
		return Settings{}, fmt.Errorf("ISSUER %w. Set it to the URL that the issuer's tokens have as iss", err)
	}
	if settings.Issuer.Roles, err = readRoles(env("ROLES")); err != nil {
		return Settings{}, err
	}
	return settings, settings.Issuer.checkSubjectKey()
}

// Guard returns the guard of these settings, and the task that keeps the issuer's keys fresh
// in that store.
func (s Settings) Guard(store state.Store) (guard *Guard, run func(ctx context.Context)) {
	if s.Issuer == nil {
		return New(nil, s.Guests...), func(context.Context) {}
	}
	c := *s.Issuer
	c.Store = store
	issuer := NewIssuer(c)
	return New(issuer, s.Guests...), issuer.Run
}

// checkSubjectKey refuses a key that could be found by trying: then the pseudonyms would not
// hide the subjects.
func (c *Config) checkSubjectKey() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return err
	}
	switch isOwn := web.IsLoopback(web.HostName(u.Host)); {
	case len(c.SubjectKey) == 0 && isOwn:
		c.SubjectKey = []byte(loopbackKey)
	case len(c.SubjectKey) == 0:
		return errors.New("SUBJECT_KEY is not set, and ISSUER is. Set it to the same secret for all services, such as `openssl rand -hex 32` makes, and never change it: the people's pseudonyms depend on it")
	case len(c.SubjectKey) < minSubjectKey:
		return fmt.Errorf("SUBJECT_KEY has %d bytes. Set it to a secret of at least %d, such as `openssl rand -hex 32` makes", len(c.SubjectKey), minSubjectKey)
	}
	return nil
}

// readGuests reads a list of commands, with commas between them. "none" is the empty list.
func readGuests(text string) (guests []Command, err error) {
	if text == "none" {
		return nil, nil
	}
	for _, name := range listOf(text, ",") {
		if name != string(Post) && name != string(Comment) {
			return nil, fmt.Errorf("GUESTS has %q. Set it to post,comment, to comment, or to none", name)
		}
		guests = append(guests, Command(name))
	}
	return guests, nil
}

// readRoles reads a mapping such as "staff=author;admins=moderator,operator". A name may have
// an = in it.
func readRoles(text string) (map[string][]Role, error) {
	mapping := map[string][]Role{}
	for _, entry := range listOf(text, ";") {
		end := strings.LastIndex(entry, "=")
		if end < 1 {
			return nil, fmt.Errorf("ROLES has %q. Write the issuer's name, =, and roles with commas between them, as in staff=author;admins=moderator,operator", entry)
		}
		name := strings.TrimSpace(entry[:end])
		for _, role := range listOf(entry[end+1:], ",") {
			if !slices.Contains(Roles, Role(role)) {
				return nil, fmt.Errorf("ROLES gives %q the role %q. The roles are reader, author, moderator and operator", name, role)
			}
			mapping[name] = append(mapping[name], Role(role))
		}
	}
	return mapping, nil
}

// listOf are the parts of a list, without the empty ones.
func listOf(text, separator string) (parts []string) {
	for part := range strings.SplitSeq(text, separator) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
