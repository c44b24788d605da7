package moderation

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/revised"
	"github.com/postbus/postbus/apps/moderation/policy"
)

const (
	// policyKey has the policy, an event.Policy. Without it the default stands.
	policyKey = "policy"
	// policyMaxAge bounds how old the policy of a decision is. It is read again after that,
	// because the event of a change reaches one replica alone.
	policyMaxAge = time.Second
	// defaultVersion is the version of the default policy.
	defaultVersion = 1
)

// policies knows the policy that stands. It is safe for concurrent use.
type policies struct {
	documents *revised.Documents[event.Policy]
	otherwise policy.Rules
	scorer    *policy.Scorer
	now       func() time.Time

	mu      sync.Mutex
	current *policy.Policy
	source  string // the rules that it was made of, as the store has them
	readAt  time.Time
}

func newPolicies(c Config) *policies {
	return &policies{
		documents: &revised.Documents[event.Policy]{
			Store: c.Store,
			Of:    func(e event.Event) (string, event.Policy) { return policyKey, *e.Policy },
		},
		otherwise: c.Default, scorer: c.Scorer, now: c.Now,
	}
}

// get returns the policy that stands. The error is the store's. Nothing is locked while the
// store is read: a delivery must not wait for another one's read longer than its own time.
func (p *policies) get(ctx context.Context) (*policy.Policy, error) {
	now := p.now() // before the read, so that the age is not taken for less than it is
	if current := p.fresh(now); current != nil {
		return current, nil
	}
	rules, stands, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.readAt.After(now) {
		return p.current, nil // another delivery has read it later
	}
	if p.current == nil || p.current.Version != stands.Revision || p.source != string(stands.Rules) {
		p.current, p.source = policy.New(rules, stands.Revision, p.scorer), string(stands.Rules)
	}
	p.readAt = now
	return p.current, nil
}

// fresh returns the policy as it was read last, or nil if that is too long ago.
func (p *policies) fresh(now time.Time) *policy.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := now.Sub(p.readAt); 0 <= age && age < policyMaxAge {
		return p.current
	}
	return nil
}

// read returns the rules that stand, and the policy that has them.
func (p *policies) read(ctx context.Context) (rules policy.Rules, stands event.Policy, err error) {
	stored, err := p.documents.Get(ctx, policyKey)
	if err != nil {
		return rules, stands, fmt.Errorf("the policy: %w", err)
	}
	if stored == nil {
		stands.Revision = defaultVersion
		stands.Rules, err = event.Marshal(p.otherwise)
		return p.otherwise, stands, err
	}
	if err := jsonv2.Unmarshal(stored.Rules, &rules); err != nil { // members of a newer version are passed over
		return rules, stands, fmt.Errorf("policy %d: %w", stored.Revision, err)
	}
	return rules, *stored, nil
}

// hasRules reports whether a policy has these rules, in whatever order it names them.
func hasRules(p event.Policy, rules policy.Rules) (bool, error) {
	var has policy.Rules
	if err := jsonv2.Unmarshal(p.Rules, &has); err != nil {
		return false, fmt.Errorf("policy %d: %w", p.Revision, err)
	}
	one, err := event.Marshal(has)
	if err != nil {
		return false, err
	}
	other, err := event.Marshal(rules)
	return bytes.Equal(one, other), err
}

// forget has the policy read again by the next decision of this replica.
func (p *policies) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readAt = time.Time{}
}
