package moderation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/internal/command"
	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/limit"
	"github.com/postbus/postbus/apps/internal/web"
	"github.com/postbus/postbus/apps/moderation/policy"
)

// Bounds of a page of the queue, and of the list of the blocked people.
const (
	defaultLimit = 20
	maxLimit     = 100
	maxBlocked   = 500
)

// longTimeout bounds a page of the queue, each of whose comments is read in the log, and the
// requests that may ask the scorer.
const longTimeout = 5 * time.Second

// Routes adds the service's API, which is for moderators alone, to r.
func (s *Service) Routes(r gin.IRoutes) {
	for _, route := range []struct {
		method, path string
		answer       func(*gin.Context) (any, error)
		within       time.Duration
	}{
		{http.MethodGet, "/moderation/queue", s.serveQueue, longTimeout},
		{http.MethodGet, "/moderation/policy", s.servePolicy, command.Deadline},
		{http.MethodPut, "/moderation/policy", s.putPolicy, command.Deadline},
		{http.MethodPost, "/moderation/policy/apply", s.applyPolicy, longTimeout},
		{http.MethodPost, "/moderation/policy/try", s.tryPolicy, longTimeout},
		{http.MethodGet, "/moderation/comments/:id", s.serveComment, command.Deadline},
		{http.MethodPost, "/moderation/comments/:id", s.decideComment, command.Deadline},
		{http.MethodPost, "/moderation/comments/:id/undo", s.undoComment, command.Deadline},
		{http.MethodPost, "/moderation/posts/:id", s.decidePost, command.Deadline},
		{http.MethodGet, "/moderation/people", s.servePeople, command.Deadline},
		{http.MethodPost, "/moderation/people/:subject", s.decidePerson, command.Deadline},
	} {
		r.Handle(route.method, route.path, s.Guard.Identify, s.Guard.Allow(identity.Moderate), s.Limits.Of(limit.Moderate), func(c *gin.Context) {
			ctx, cancel := context.WithTimeout(c.Request.Context(), route.within)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
			answer, err := route.answer(c)
			if err != nil {
				web.Fail(c, err)
				return
			}
			c.PureJSON(http.StatusOK, answer)
		})
	}
}

// serveQueue answers with a page of the comments of one status, oldest first.
func (s *Service) serveQueue(c *gin.Context) (any, error) {
	if !s.queue.IsReady() {
		return nil, errNotReady()
	}
	limit, err := web.Number(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	after, err := cursor(c)
	if err != nil {
		return nil, err
	}
	status := event.Status(c.DefaultQuery("status", string(event.Held)))
	if !slices.Contains(event.Statuses, status) {
		return nil, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("status is %.40q; it is one of %v.", status, event.Statuses))
	}
	entries, isMore := s.queue.After(after, status, limit)
	page, err := s.page(c.Request.Context(), entries, status)
	if err == nil && isMore {
		c.Header("Link", fmt.Sprintf(`</moderation/queue?status=%s&limit=%d&cursor=%s>; rel="next"`, status, limit, entries[len(entries)-1].ID))
	}
	return page, err
}

// cursor is the id in the request's cursor, or the lowest one without a cursor.
func cursor(c *gin.Context) (uuid.UUID, error) {
	text, given := c.GetQuery("cursor")
	if !given {
		return uuid.Nil, nil
	}
	if _, isID := event.IDTime(text); !isID {
		return uuid.Nil, web.NewProblem(http.StatusBadRequest, "This cursor is none that the service gave.")
	}
	return uuid.MustParse(text), nil
}

func (s *Service) serveComment(c *gin.Context) (any, error) {
	ctx := c.Request.Context()
	comment, _, err := s.find(ctx, c.Param("id"))
	if err != nil {
		return nil, err
	}
	d, err := s.document(ctx, comment)
	if err != nil {
		return nil, err
	}
	return d.current(comment), nil
}

func (s *Service) decideComment(c *gin.Context) (any, error) {
	var in struct {
		Decision policy.Action `json:"decision"`
		Reason   string        `json:"reason"`
		Revision int           `json:"revision"`
	}
	if _, err := web.Decode(c, &in); err != nil {
		return nil, err
	}
	if _, ok := in.Decision.Status(); !ok {
		return nil, &event.FieldError{Field: "decision", Detail: fmt.Sprintf("is %.40q; it is approve, reject or hold", in.Decision)}
	}
	if err := event.ValidateReason(in.Reason); err != nil {
		return nil, err
	}
	by := identity.Of(c).Subject
	stands, _, err := s.moderate(c.Request.Context(), c.Param("id"), by, choose(in.Decision, in.Reason, by, in.Revision))
	return stands, err
}

func (s *Service) undoComment(c *gin.Context) (any, error) {
	var in struct {
		Revision int `json:"revision"`
	}
	if _, err := web.Decode(c, &in); err != nil {
		return nil, err
	}
	if in.Revision < event.FirstByModerator {
		return nil, &event.FieldError{Field: "revision", Detail: fmt.Sprintf("is %d; it is that of the moderator's decision that stands", in.Revision)}
	}
	stands, _, err := s.moderate(c.Request.Context(), c.Param("id"), identity.Of(c).Subject, undo(in.Revision))
	return stands, err
}

// noBody refuses a body that says something: an empty one, or an empty object, says nothing. Behind
// a sidecar nobody knows how long a body is before it is read (daprd 1.18.2 sends no
// Content-Length).
func noBody(c *gin.Context) error {
	body, err := web.ReadBody(c)
	if err != nil || len(body) == 0 {
		return err
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	_, err = web.Decode(c, &struct{}{})
	return err
}

func (s *Service) decidePost(c *gin.Context) (any, error) {
	var in struct {
		Comments event.Openness `json:"comments"`
	}
	if _, err := web.Decode(c, &in); err != nil {
		return nil, err
	}
	if in.Comments != event.Open && in.Comments != event.Closed {
		return nil, &event.FieldError{Field: "comments", Detail: fmt.Sprintf("is %.40q; it is open or closed", in.Comments)}
	}
	if _, isID := event.IDTime(c.Param("id")); !isID {
		return nil, web.NewProblem(http.StatusNotFound, "There is no post with this id.")
	}
	if err := s.isWhole(c.Request.Context()); err != nil {
		return nil, err
	}
	return s.setCommenting(c.Request.Context(), c.Param("id"), in.Comments, identity.Of(c).Subject)
}

func (s *Service) decidePerson(c *gin.Context) (any, error) {
	var in struct {
		Blocked *bool `json:"blocked"`
	}
	if _, err := web.Decode(c, &in); err != nil {
		return nil, err
	}
	if in.Blocked == nil {
		return nil, &event.FieldError{Field: "blocked", Detail: "is missing; it is true or false"}
	}
	if err := event.ValidateSubject(c.Param("subject")); err != nil {
		return nil, web.NewProblem(http.StatusNotFound, "There is nobody with this subject.")
	}
	if err := s.isWhole(c.Request.Context()); err != nil {
		return nil, err
	}
	return s.setBlocking(c.Request.Context(), c.Param("subject"), *in.Blocked, identity.Of(c).Subject)
}

// servePeople answers with the people who are blocked, newest decision first.
func (s *Service) servePeople(*gin.Context) (any, error) {
	if !s.queue.IsReady() {
		return nil, errNotReady()
	}
	return struct {
		People []event.Blocking `json:"people"`
	}{s.queue.Blocked(maxBlocked)}, nil
}

// isWhole returns a 503 while the store does not have what the log says.
func (s *Service) isWhole(ctx context.Context) error {
	if err := s.checkStore(ctx); err != nil {
		return storeProblem(ctx, err)
	}
	return nil
}

// servePolicy answers with the policy that stands, and its version as the ETag.
func (s *Service) servePolicy(c *gin.Context) (any, error) {
	ctx := c.Request.Context()
	if err := s.isWhole(ctx); err != nil {
		return nil, err
	}
	rules, stands, err := s.policies.read(ctx)
	if err != nil {
		return nil, storeProblem(ctx, err)
	}
	c.Header("ETag", policyTag(stands.Revision))
	return rules, nil
}

func policyTag(version int) string { return strconv.Quote(strconv.Itoa(version)) }

// putPolicy changes the policy to the one in the body, if the one that stands has the
// ETag in If-Match.
func (s *Service) putPolicy(c *gin.Context) (any, error) {
	ctx := c.Request.Context()
	match := strings.TrimSpace(c.GetHeader("If-Match"))
	if match == "" {
		return nil, web.NewProblem(http.StatusPreconditionRequired, "Send the ETag of the policy that you have changed as If-Match.")
	}
	var rules policy.Rules
	if _, err := web.Decode(c, &rules); err != nil {
		return nil, err
	}
	if err := rules.ValidateWith(s.Scorer); err != nil {
		return nil, err
	}
	if err := s.isWhole(ctx); err != nil {
		return nil, err
	}
	_, had, err := s.policies.read(ctx)
	if err != nil {
		return nil, storeProblem(ctx, err)
	}
	switch match {
	case policyTag(had.Revision):
		return s.changePolicy(c, rules, had.Revision+1)
	case policyTag(had.Revision - 1): // an earlier try of this request may stand
		return settled(c, rules, had)
	}
	return nil, changed(c, had.Revision)
}

// settled answers the moderator whose rules stand, and refuses all others with a 412.
func settled(c *gin.Context, rules policy.Rules, stands event.Policy) (any, error) {
	isTheirs, err := hasRules(stands, rules)
	switch {
	case err != nil:
		return nil, err
	case !isTheirs || stands.ChangedBy != identity.Of(c).Subject:
		return nil, changed(c, stands.Revision)
	}
	c.Header("ETag", policyTag(stands.Revision))
	return rules, nil
}

// changed is the 412 for a policy that somebody else has changed to that version.
func changed(c *gin.Context, version int) error {
	c.Header("ETag", policyTag(version))
	return web.NewProblem(http.StatusPreconditionFailed, fmt.Sprintf("The policy was changed: its version is %d. Get it, and change that one.", version))
}

func (s *Service) changePolicy(c *gin.Context, rules policy.Rules, version int) (any, error) {
	ctx := c.Request.Context()
	encoded, err := event.Marshal(rules)
	if err != nil {
		return nil, err
	}
	made := event.Policy{Rules: encoded, Revision: version, ChangedBy: identity.Of(c).Subject, ChangedAt: s.Now().UTC()}
	e, err := event.OfPolicy(s.Source, made, web.TraceParent(ctx))
	if err != nil {
		return nil, err
	}
	stands, err := s.commit(ctx, e, s.policies.documents.Put)
	if err != nil {
		return nil, err
	}
	s.policies.forget()
	return settled(c, rules, *stands.Policy)
}

func (s *Service) applyPolicy(c *gin.Context) (any, error) {
	if err := noBody(c); err != nil {
		return nil, err
	}
	if !s.queue.IsReady() {
		return nil, errNotReady()
	}
	after, err := cursor(c)
	if err != nil {
		return nil, err
	}
	return s.apply(c.Request.Context(), after, identity.Of(c).Subject)
}
