package moderation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/moderation/policy"
)

const (
	// personTTL is how long a person is remembered after their last comment.
	personTTL = 180 * 24 * time.Hour
	// keptMentions bounds the comments that a document has, the youngest ones. It is more than
	// any rule asks for.
	keptMentions = 100
	// keptApproved bounds the approved comments that are counted.
	keptApproved = 20
)

// past is what the store knows of a text or of a person: "text-<digest>", which lives as long
// as the policy asks for it, and "past-<subject>". It is a hint, and not the truth: two
// replicas that decide at the same time do not see each other's comments, so each may let one
// more pass than the policy says. A lost store makes everybody new again. A comment that is
// delivered again counts once.
type past struct {
	Comments []policy.Mention `json:"comments,omitempty"`
	// Approved are the ids of a person's comments that were approved.
	Approved []string `json:"approved,omitempty"`
}

// add adds what other has.
func (p *past) add(other past) {
	for _, m := range other.Comments {
		if !slices.ContainsFunc(p.Comments, func(have policy.Mention) bool { return have.Comment == m.Comment }) {
			p.Comments = append(p.Comments, m)
		}
	}
	slices.SortFunc(p.Comments, func(a, b policy.Mention) int { return a.At.Compare(b.At) })
	p.Comments = p.Comments[max(0, len(p.Comments)-keptMentions):]
	for _, id := range other.Approved {
		if !slices.Contains(p.Approved, id) {
			p.Approved = append(p.Approved, id)
		}
	}
	p.Approved = p.Approved[max(0, len(p.Approved)-keptApproved):]
}

func personKey(subject string) string { return "past-" + subject }

func textKey(content string) string {
	sum := sha256.Sum256([]byte(policy.SameText(content)))
	return "text-" + hex.EncodeToString(sum[:16])
}

// pasts are what one delivery reads of the past, and what it adds to it.
type pasts struct {
	policy       *policy.Policy
	known, added map[string]*past
	ttl          map[string]time.Duration
}

// readPasts reads what a policy asks for about comments. Of most policies it reads nothing.
func (s *Service) readPasts(ctx context.Context, p *policy.Policy, comments []*event.Comment) (*pasts, error) {
	all := &pasts{policy: p, known: map[string]*past{}, added: map[string]*past{}, ttl: map[string]time.Duration{}}
	var keys []string
	for _, c := range comments {
		for _, key := range all.keysOf(c) {
			if key != "" && all.known[key] == nil {
				all.known[key], keys = &past{}, append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return all, nil
	}
	items, err := s.Store.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	stored, err := state.Decode[past](items...)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		*all.known[key] = stored[i]
	}
	return all, nil
}

// keysOf are the keys of the text and of the person of a comment, as far as they are asked
// for. The others are empty.
func (all *pasts) keysOf(c *event.Comment) [2]string {
	var keys [2]string
	if within, does := all.policy.AsksForText(); does {
		keys[0] = textKey(c.Content)
		all.ttl[keys[0]] = within + time.Minute // clocks differ
	}
	if all.policy.AsksForPerson() && c.AuthorID != "" {
		keys[1] = personKey(c.AuthorID)
		all.ttl[keys[1]] = personTTL
	}
	return keys
}

// caseOf is what is known when a comment is decided.
func (all *pasts) caseOf(c *event.Comment) *policy.Case {
	made, keys := &policy.Case{Comment: *c}, all.keysOf(c)
	if text := all.known[keys[0]]; text != nil {
		made.Same = text.Comments
	}
	if person := all.known[keys[1]]; person != nil {
		made.OfPerson, made.Approved = person.Comments, person.Approved
	}
	return made
}

// count adds a comment to the past, for those after it.
func (all *pasts) count(c *event.Comment) {
	mention := policy.Mention{Comment: c.ID, Person: c.AuthorID, At: c.CreatedAt}
	for _, key := range all.keysOf(c) {
		all.note(key, past{Comments: []policy.Mention{mention}})
	}
}

// approve adds to the past that a comment was approved.
func (all *pasts) approve(c *event.Comment) {
	all.note(all.keysOf(c)[1], past{Approved: []string{c.ID}})
}

func (all *pasts) note(key string, what past) {
	if key == "" {
		return
	}
	if all.added[key] == nil {
		all.added[key] = &past{}
	}
	all.known[key].add(what)
	all.added[key].add(what)
}

// write writes what was added.
func (s *Service) writePasts(ctx context.Context, all *pasts) error {
	if len(all.added) == 0 {
		return nil
	}
	var keys []string
	for key := range all.added {
		keys = append(keys, key)
	}
	return state.Update(ctx, s.Store, keys, func(items []state.Item) (writes []state.Item, err error) {
		stored, err := state.Decode[past](items...)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			stored[i].add(*all.added[item.Key])
			item.TTL = all.ttl[item.Key]
			if item.Value, err = event.Marshal(stored[i]); err != nil {
				return nil, err
			}
			writes = append(writes, item)
		}
		return writes, nil
	})
}

// take takes an approval away.
func (p *past) take(id string) {
	p.Approved = slices.DeleteFunc(p.Approved, func(have string) bool { return have == id })
}
