package limit

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/identity/identitytest"
	"github.com/postbus/postbus/apps/internal/web"
)

// limited is a site on which everybody may comment twice a minute.
type limited struct {
	engine *gin.Engine
	now    time.Time
}

func newLimited(t *testing.T, rules Rules) *limited {
	t.Helper()
	s := &limited{engine: web.NewEngine(), now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)}
	if err := s.engine.SetTrustedProxies([]string{"10.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	limits := New(rules, func() time.Time { return s.now })
	s.engine.Use(identitytest.Open().Identify)
	s.engine.GET("/comment", limits.Of(Comment))
	s.engine.GET("/read", limits.Of(Read))
	return s
}

// ask asks from an address, which a proxy may have said, as somebody.
func (s *limited) ask(path, from, forwarded, token string) *httptest.ResponseRecorder {
	req, res := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
	req.RemoteAddr = from
	if forwarded != "" {
		req.Header.Set("X-Forwarded-For", forwarded)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	s.engine.ServeHTTP(res, req)
	return res
}

func (s *limited) want(t *testing.T, status int, path, from, forwarded, token string) {
	t.Helper()
	if res := s.ask(path, from, forwarded, token); res.Code != status {
		t.Errorf("%s from %s (%s) as %q is answered %d, want %d: %s", path, from, forwarded, token, res.Code, status, res.Body)
	}
}

func TestTooManyRequestsAreRefusedUntilTheyAreNotTooMany(t *testing.T) {
	s := newLimited(t, Rules{Comment: {2, time.Minute}})
	const home = "192.0.2.1:999"
	s.want(t, 200, "/comment", home, "", "")
	s.want(t, 200, "/comment", home, "", "")
	res := s.ask("/comment", home, "", "")
	if res.Code != http.StatusTooManyRequests || res.Header().Get("Retry-After") != "30" || !strings.Contains(res.Body.String(), "2 in 1m0s") ||
		res.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answered %d %v %s", res.Code, res.Header(), res.Body)
	}
	s.now = s.now.Add(30*time.Second - time.Millisecond)
	s.want(t, 429, "/comment", home, "", "") // a refused one counts for nothing
	s.now = s.now.Add(time.Millisecond)
	s.want(t, 200, "/comment", home, "", "")
	s.want(t, 429, "/comment", home, "", "")
	for range 10 {
		s.want(t, 200, "/read", home, "", "") // it has no rule
	}
}

func TestEverybodyIsCountedAlone(t *testing.T) {
	const proxy = "10.0.0.1:999"
	for name, test := range map[string]struct{ first, second [3]string }{ // address, forwarded for, token
		"guests of other addresses":          {[3]string{"192.0.2.1:1"}, [3]string{"192.0.2.2:1"}},
		"guests behind a proxy":              {[3]string{proxy, "192.0.2.1"}, [3]string{proxy, "192.0.2.2"}},
		"a guest and a person":               {[3]string{"192.0.2.1:1"}, [3]string{"192.0.2.1:1", "", "reader"}},
		"persons of one address":             {[3]string{"192.0.2.1:1", "", "author"}, [3]string{"192.0.2.1:1", "", "reader"}},
		"guests of other networks":           {[3]string{"[2001:db8::1]:1"}, [3]string{"[2001:db8:0:1::1]:1"}},
		"what the proxy adds counts":         {[3]string{proxy, "192.0.2.9, 192.0.2.1"}, [3]string{proxy, "192.0.2.9, 192.0.2.2"}},
		"a proxy's guest, and one like it":   {[3]string{proxy, "192.0.2.1"}, [3]string{"192.0.2.7:1", "192.0.2.1"}},
		"addresses of IPv4 as IPv6 has them": {[3]string{"[::ffff:192.0.2.1]:1"}, [3]string{"[::ffff:192.0.2.2]:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLimited(t, Rules{Comment: {1, time.Minute}})
			s.want(t, 200, "/comment", test.first[0], test.first[1], test.first[2])
			s.want(t, 429, "/comment", test.first[0], test.first[1], test.first[2])
			s.want(t, 200, "/comment", test.second[0], test.second[1], test.second[2])
		})
	}
}

// Nobody gets more by saying something else.
func TestNobodyIsCountedAsTwo(t *testing.T) {
	for name, test := range map[string]struct{ first, second [3]string }{
		"another port":                         {[3]string{"192.0.2.1:1"}, [3]string{"192.0.2.1:2"}},
		"a header of one's own":                {[3]string{"192.0.2.1:1", "192.0.2.8"}, [3]string{"192.0.2.1:1", "192.0.2.9"}},
		"a header of one's own at a proxy":     {[3]string{"10.0.0.1:1", "192.0.2.8, 192.0.2.1"}, [3]string{"10.0.0.1:1", "192.0.2.9, 192.0.2.1"}},
		"another address of one's network":     {[3]string{"[2001:db8::1]:1"}, [3]string{"[2001:db8::ffff:1]:1"}},
		"a person at another address":          {[3]string{"192.0.2.1:1", "", "reader"}, [3]string{"192.0.2.2:1", "", "reader"}},
		"a link-local address":                 {[3]string{"[fe80::1%eth0]:1"}, [3]string{"[fe80::1%eth0]:2"}},
		"a header that no proxy sets":          {[3]string{"10.0.0.1:1", "unknown"}, [3]string{"10.0.0.1:1", "unknown"}},
		"an address that is written otherwise": {[3]string{"[::ffff:192.0.2.1]:1"}, [3]string{"192.0.2.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLimited(t, Rules{Comment: {1, time.Minute}})
			s.want(t, 200, "/comment", test.first[0], test.first[1], test.first[2])
			s.want(t, 429, "/comment", test.second[0], test.second[1], test.second[2])
		})
	}
}

// Who comes from very many addresses makes the process forget, and not grow.
func TestWhoIsCountedIsBounded(t *testing.T) {
	l := New(Rules{Comment: {1, time.Minute}}, time.Now)
	for n := range 2 * mostPeople {
		if l.take(Comment, Rule{1, time.Minute}, fmt.Sprint(n)) != 0 {
			t.Fatal("somebody new is refused")
		}
	}
	if n := l.people[Comment].Len(); n != mostPeople {
		t.Errorf("%d people are counted", n)
	}
}

func TestRulesAreParsed(t *testing.T) {
	but := func(group Group, rule Rule) Rules {
		rules := Defaults()
		if delete(rules, group); rule.Requests > 0 {
			rules[group] = rule
		}
		return rules
	}
	for text, want := range map[string]Rules{
		"":                          Defaults(),
		"off":                       {},
		"comment=5/10s":             but(Comment, Rule{5, 10 * time.Second}),
		" post=1/1h, comment=60/1m": but(Post, Rule{1, time.Hour}),
		"read=off":                  but(Read, Rule{}),
	} {
		if got, err := Parse(text); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q is %v, error %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"on", "comment", "comment=", "comment=5", "comment=0/1m", "comment=-1/1m", "comment=5/0s", "comment=5/m", "comments=5/1m", "comment=5/1m/1m"} {
		if rules, err := Parse(text); err == nil {
			t.Errorf("%q is %v", text, rules)
		}
	}
}
