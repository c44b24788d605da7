package web

import (
	"context"
	"regexp"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
)

// RequestID is the header of a request's id, for finding it in the logs. A service
// makes one unless the request comes with one of up to 128 letters, digits, dots,
// hyphens and underscores.
const RequestID = "X-Request-Id"

var validRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

type requestIDKey struct{}

// identified sets the request's id: on the request, on the answer, and in the context,
// from which TraceLog takes it.
func identified(c *gin.Context) {
	id := c.GetHeader(RequestID)
	if !validRequestID.MatchString(id) {
		id = uuid.NewString()
	}
	c.Request.Header.Set(RequestID, id) // in place of all that came
	c.Header(RequestID, id)
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey{}, id))
}
