package moderation

import (
	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// trial is the answer to a request that tries rules.
type trial struct {
	Status event.Status `json:"status"`
	Reason string       `json:"reason,omitempty"`
	// Phase is the phase of the rules that decided. It is empty if none said anything.
	Phase string `json:"phase,omitempty"`
}

// tryPolicy answers with what rules that nobody has saved would decide on a comment that was
// written now. It writes nothing. What the rules ask of the past it reads there, as far as the
// policy that stands has it remembered.
func (s *Service) tryPolicy(c *gin.Context) (any, error) {
	var in struct {
		Policy  *policy.Rules `json:"policy"`
		Content string        `json:"content"`
		Author  string        `json:"author"`
		Subject string        `json:"subject"`
	}
	if _, err := web.Decode(c, &in); err != nil {
		return nil, err
	}
	if in.Policy == nil {
		return nil, &event.FieldError{Field: "policy", Detail: "is missing; {} has no phase"}
	}
	if err := in.Policy.ValidateWith(s.Scorer); err != nil {
		return nil, err
	}
	comment := event.Comment{ID: event.NewID(), AuthorID: in.Subject, Author: in.Author, Content: in.Content, CreatedAt: s.Now().UTC()}
	if err := comment.ValidateText(); err != nil {
		return nil, err
	}
	if in.Subject != "" {
		if err := event.ValidateSubject(in.Subject); err != nil {
			return nil, err
		}
	}
	comment.Author = event.EmptyIfBlank(comment.Author)
	verdict, err := s.verdict(c.Request.Context(), policy.New(*in.Policy, 0, s.Scorer), comment)
	if err != nil {
		return nil, err
	}
	status, _ := verdict.Action.Status()
	return trial{status, verdict.Reason, verdict.Phase}, nil
}
