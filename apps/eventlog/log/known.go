package log

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/web"
)

// Known returns those of the ids that this log recognises. The replica reads on first, to
// see what the others have appended.
func (l *Log) Known(ctx context.Context, ids []string) ([]string, error) {
	if err := l.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer l.turn.Release(1)
	if err := l.Ready(); err != nil {
		return nil, err
	}
	if err := l.readOn(ctx, 1); err != nil {
		return nil, err
	}
	known := []string{}
	for _, id := range ids {
		if isKnown, _ := l.seen.find(identity{ID: id}); isKnown {
			known = append(known, id)
		}
	}
	return known, nil
}

// ServeKnown answers which of the ids in ?ids= the log recognises (eventlog.KnownPath).
func ServeKnown(log *Log) gin.HandlerFunc {
	return func(c *gin.Context) {
		ids := strings.Split(c.Query("ids"), ",")
		if len(ids) > eventlog.MaxKnown {
			web.Fail(c, web.NewProblem(http.StatusBadRequest, fmt.Sprintf("The query names %d events, more than %d.", len(ids), eventlog.MaxKnown)))
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), refreshTimeout)
		defer cancel()
		known, err := log.Known(ctx, ids)
		if err != nil {
			fail(c, err)
			return
		}
		c.JSON(http.StatusOK, eventlog.KnownAnswer{Known: known})
	}
}
