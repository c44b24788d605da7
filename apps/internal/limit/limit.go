// Package limit bounds how often a person may do something. Each replica counts by itself, in
// memory: a request costs no call of a store, and with n replicas a person may do up to n times as
// much. Nothing that fails refuses anybody.
package limit

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/web"
)

// Group is a group of routes that share a limit.
type Group string

// The groups.
const (
	Post     Group = "post"     // creating posts
	Comment  Group = "comment"  // creating comments
	Read     Group = "read"     // reading pages and comments
	Moderate Group = "moderate" // what moderators do
	SignIn   Group = "sign-in"  // signing in and out, and asking who one is
)

// Rule is how many requests a person may send, and in what time. All of them may come at once.
type Rule struct {
	Requests int // at least 1
	Per      time.Duration
}

// Rules are those of the groups. A group without one has no limit.
type Rules map[Group]Rule

// Defaults returns the rules that a busy honest reader never meets.
func Defaults() Rules {
	return Rules{Post: {30, time.Minute}, Comment: {60, time.Minute}, Read: {1_200, time.Minute}, Moderate: {600, time.Minute}, SignIn: {120, time.Minute}}
}

// mostPeople bounds how many people are counted at once, for each group. Those seen longest ago
// are forgotten first. One takes about 200 bytes.
const mostPeople = 50_000

// Parse reads rules as a variable has them, "post=10/1m,comment=30/1m": what it does not name has
// the default, "off" no limit. Alone, "off" is for all. The error says what is wrong.
func Parse(text string) (Rules, error) {
	rules := Defaults()
	if text = strings.TrimSpace(text); text == "off" {
		return Rules{}, nil
	}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, _ := strings.Cut(part, "=")
		group := Group(name)
		if _, ok := Defaults()[group]; !ok {
			return nil, fmt.Errorf("%q is no group; the groups are %v", name, slices.Sorted(maps.Keys(Defaults())))
		}
		if value == "off" {
			delete(rules, group)
			continue
		}
		n, per, _ := strings.Cut(value, "/")
		requests, err := strconv.Atoi(n)
		period, timeErr := time.ParseDuration(per)
		if err != nil || timeErr != nil || requests < 1 || period <= 0 {
			return nil, fmt.Errorf("%q is no limit; one is like 30/1m, or off", value)
		}
		rules[group] = Rule{requests, period}
	}
	return rules, nil
}

// Limits bounds requests by rules. It is safe for concurrent use.
type Limits struct {
	rules Rules
	now   func() time.Time

	mu     sync.Mutex
	people map[Group]*lru.Cache[string, *rate.Limiter]
}

// New returns limits without any request yet.
func New(rules Rules, now func() time.Time) *Limits {
	return &Limits{rules: rules, now: now, people: map[Group]*lru.Cache[string, *rate.Limiter]{}}
}

// Of is the middleware for the routes of a group. It comes after identity.Guard.Identify. Somebody
// who is signed in is known by the subject, and a guest by web.ClientAddress, of IPv6 the /64,
// because one household has all of that. Who has no address is another service, and has no limit.
// Too many requests are refused with 429, and with when to come back. Nil has no limits.
func (l *Limits) Of(group Group) gin.HandlerFunc {
	if l == nil {
		return func(*gin.Context) {}
	}
	rule, isLimited := l.rules[group]
	return func(c *gin.Context) {
		who := whoIs(c)
		if !isLimited || who == "" {
			return
		}
		wait := l.take(group, rule, who)
		if wait == 0 {
			return
		}
		slog.InfoContext(c.Request.Context(), "too many requests", "group", group, "wait", wait)
		p := web.NewProblem(http.StatusTooManyRequests, fmt.Sprintf("That is too much at once: %d in %s are allowed here. This request was not looked at; try again later.", rule.Requests, rule.Per))
		c.Header("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		web.Fail(c, p)
	}
}

// whoIs is who is counted, or empty.
func whoIs(c *gin.Context) string {
	if person := identity.Of(c); !person.IsGuest() {
		return person.Subject
	}
	address, err := netip.ParseAddr(web.ClientAddress(c))
	if err != nil {
		return ""
	}
	if address = address.Unmap(); address.Is6() {
		if network, err := address.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

// take counts a request, and returns how long it would have to wait. One that has to is not
// counted.
func (l *Limits) take(group Group, rule Rule, who string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	people := l.people[group]
	if people == nil {
		people, _ = lru.New[string, *rate.Limiter](mostPeople) // it fails for a size of 0 alone
		l.people[group] = people
	}
	person, ok := people.Get(who)
	if !ok {
		person = rate.NewLimiter(rate.Limit(float64(rule.Requests)/rule.Per.Seconds()), rule.Requests)
		people.Add(who, person)
	}
	now := l.now()
	reserved := person.ReserveN(now, 1)
	wait := reserved.DelayFrom(now)
	if wait > 0 {
		reserved.CancelAt(now)
	}
	return wait
}
