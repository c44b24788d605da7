package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/tools/system"
)

// issuerOf is the URL of a system's development issuer.
func issuerOf(s *stack) string { return fmt.Sprintf("http://localhost:%d", s.App(system.Issuer).Port) }

// signIn signs a person in, and returns the header with the token.
func signIn(t *testing.T, issuer, person string) (authorization string) {
	t.Helper()
	authorization, err := tokenOf(t.Context(), issuer, person)
	if err != nil {
		t.Fatal(err)
	}
	return authorization
}

// tokenOf signs a person in, as a program with a browser does, and returns the header with the token.
func tokenOf(ctx context.Context, issuer, person string) (authorization string, err error) {
	const back = "http://localhost:3000/auth/callback"
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), back) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	config := oauth2.Config{
		ClientID: "postbus", RedirectURL: back, Scopes: []string{"openid", "profile"},
		Endpoint: oauth2.Endpoint{AuthURL: issuer + "/authorize", TokenURL: issuer + "/oauth/token"},
	}
	verifier := oauth2.GenerateVerifier()
	page, err := browser.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))) //nolint:noctx // as a browser
	if err != nil {
		return "", err
	}
	_, _ = io.Copy(io.Discard, page.Body)
	_ = page.Body.Close()
	picked, err := browser.PostForm(issuer+"/login", url.Values{"id": {page.Request.URL.Query().Get("id")}, "person": {person}}) //nolint:noctx // as a browser
	if err != nil {
		return "", err
	}
	_ = picked.Body.Close()
	to, err := picked.Location()
	if err != nil {
		return "", fmt.Errorf("%s: %w", picked.Status, err)
	}
	tokens, err := config.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		return "", err
	}
	return "Authorization: Bearer " + tokens.AccessToken, nil
}

// seen is a comment as its author or a moderator sees it.
type seen struct {
	comment
	AuthorID, Receipt string
}

// TestModeratorsDecideWhatReadersSee has a guest and a person comment, and a moderator decide.
func TestModeratorsDecideWhatReadersSee(t *testing.T) {
	s := another(t, nil, built.binaries)
	issuer := issuerOf(s)
	moderator, reader := signIn(t, issuer, "moderator"), signIn(t, issuer, "reader")
	p := s.createPost(t, "moderated by people")
	comments, queue := s.url("comments", "/posts/"+p.ID+"/comments"), s.url("moderation", "/moderation/queue")

	// A new policy, live: people who are new are held.
	rules := want(t, 200, "GET", s.url("moderation", "/moderation/policy"), "", moderator)
	want(t, 401, "GET", queue, "")
	want(t, 403, "GET", queue, "", reader)
	policy := `{"words":[{"text":"orange","match":"part","action":"reject"}],"newcomers":{"comments":1,"action":"hold"}}`
	want(t, 200, "PUT", s.url("moderation", "/moderation/policy"), policy, moderator, "If-Match: "+rules.header.Get("ETag"))
	want(t, 412, "PUT", s.url("moderation", "/moderation/policy"), string(rules.body), moderator, "If-Match: "+rules.header.Get("ETag"))

	var guests, persons seen
	shows := func(c seen, status string, hasText bool) {
		t.Helper()
		eventually(t, func() error {
			for _, target := range []string{s.url("query", "/posts/"+p.ID), s.url("client", "/posts/"+p.ID)} {
				r, err := do("GET", target, "")
				if err != nil {
					return err
				}
				all := decode[post](t, r.body).Comments
				at := slices.IndexFunc(all, func(other comment) bool { return other.ID == c.ID })
				if at < 0 || all[at].Status != status || (all[at].Content == c.Content) != hasText {
					return fmt.Errorf("%s shows %s, want %s", target, r, status)
				}
				if !hasText && strings.Contains(string(r.body), c.Content) {
					t.Errorf("%s shows %s", target, r)
				}
			}
			return nil
		})
	}
	// Every replica reads the policy again after a second, so the first ones may be approved yet.
	eventually(t, func() error {
		guests = decode[seen](t, want(t, 201, "POST", comments, `{"content":"A guest's text.","author":"Gus"}`).body)
		return system.Until(t.Context(), soon/10, func() error {
			return settled(s.App("query"), p.ID, map[string]string{guests.ID: "held"})
		})
	})
	persons = decode[seen](t, want(t, 201, "POST", comments, `{"content":"A person's text.","author":"Somebody else"}`, reader).body)
	if persons.Author != "Rita Reader" || persons.AuthorID == "" || persons.Receipt != "" || guests.Receipt == "" {
		t.Errorf("the person's is %+v, the guest's %+v", persons, guests)
	}
	shows(guests, "held", false)
	shows(persons, "held", false)
	for _, c := range []seen{guests, persons} { // the author sees it, at the client's host, too
		for _, at := range []string{"comments", "client"} {
			header := web.Receipt + ": " + c.Receipt
			if c.Receipt == "" {
				header = reader
			}
			if own := decode[seen](t, want(t, 200, "GET", s.url(at, "/posts/"+p.ID+"/comments/"+c.ID), "", header).body); own.Content != c.Content || own.Status != "held" {
				t.Errorf("its author sees %+v", own)
			}
		}
	}

	// The queue, a decision, and its undo.
	eventually(t, func() error {
		held := decode[[]seen](t, want(t, 200, "GET", queue, "", moderator).body)
		if n := len(held); n < 2 || held[n-2].Content != guests.Content || held[n-1].AuthorID != persons.AuthorID {
			return fmt.Errorf("the queue has %+v", held)
		}
		return nil
	})
	decide := func(c seen, what, body string) seen {
		t.Helper()
		return decode[seen](t, want(t, 200, "POST", s.url("moderation", "/moderation/comments/"+c.ID+what), body, moderator).body)
	}
	if decided := decide(guests, "", `{"decision":"reject","reason":"Off the topic."}`); decided.Status != "rejected" || decided.Revision != 3 || decided.DecidedBy == "" {
		t.Errorf("decided: %+v", decided)
	}
	shows(guests, "rejected", false)
	eventually(t, func() error {
		r := want(t, 200, "GET", comments+"/"+guests.ID, "", web.Receipt+": "+guests.Receipt)
		if own := decode[seen](t, r.body); own.Reason != "Off the topic." || own.DecidedBy != "" {
			return fmt.Errorf("its author sees %s", r)
		}
		return nil
	})
	if decided := decide(guests, "/undo", `{"revision":3}`); decided.Status != "held" || decided.Revision != 4 {
		t.Errorf("undone: %+v", decided)
	}
	decide(guests, "", `{"decision":"approve"}`)
	decide(persons, "", `{"decision":"approve"}`)
	shows(guests, "approved", true)
	shows(persons, "approved", true)

	// A closed post, and a person who is blocked.
	forbidden := func(name string, authorization ...string) {
		t.Helper()
		eventually(t, func() error {
			r, err := do("POST", comments, `{"content":"One more."}`, authorization...)
			if err == nil && r.status != http.StatusForbidden {
				err = fmt.Errorf("%s: %s", name, r)
			}
			return err
		})
	}
	allowed := func(authorization ...string) {
		t.Helper()
		eventually(t, func() error {
			r, err := do("POST", comments, `{"content":"One more."}`, authorization...)
			if err == nil && r.status != http.StatusCreated {
				err = fmt.Errorf("%s", r)
			}
			return err
		})
	}
	closing := s.url("moderation", "/moderation/posts/"+p.ID)
	commenting := func(openness string) {
		t.Helper()
		want(t, 200, "POST", closing, fmt.Sprintf(`{"comments":%q}`, openness), moderator)
		eventually(t, func() error {
			r, err := do("GET", s.url("query", "/posts/"+p.ID), "")
			if err == nil && !strings.Contains(r.String(), fmt.Sprintf(`"commenting":%q`, openness)) {
				err = fmt.Errorf("readers are not shown that comments are %s: %s", openness, r)
			}
			return err
		})
	}
	commenting("closed")
	forbidden("closed", reader)
	forbidden("closed")
	commenting("open")
	allowed()
	blocking := s.url("moderation", "/moderation/people/"+persons.AuthorID)
	want(t, 200, "POST", blocking, `{"blocked":true}`, moderator)
	forbidden("blocked", reader)
	allowed()
	want(t, 200, "POST", blocking, `{"blocked":false}`, moderator)
	allowed(reader)
}

// TestTooMuchIsRefused has a guest write more than is allowed, directly and at the client's host.
func TestTooMuchIsRefused(t *testing.T) {
	s, err := start(t.Context(), folderOf(t), built.binaries, nil, "LIMITS=comment=3/1h,post=off,read=off")
	s.ofTest(t, err)
	p := s.createPost(t, "much is written")
	for i, at := range []string{"comments", "client", "comments", "client", "comments"} {
		// A header of one's own makes nobody somebody else.
		r, err := do("POST", s.url(at, "/posts/"+p.ID+"/comments"), `{"content":"More."}`, "X-Forwarded-For: 192.0.2."+fmt.Sprint(i), web.ClientHeader+": 192.0.2."+fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if isAllowed := i < 3; isAllowed != (r.status == http.StatusCreated) || !isAllowed && (r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "") {
			t.Errorf("request %d, at %s: %s", i, at, r)
		}
	}
	want(t, 200, "GET", s.url("query", "/posts/"+p.ID), "")
}
