package web

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/gin-gonic/gin"
)

// NewEngine returns a gin engine. Its own errors (no such path, wrong method, a panic)
// are problem documents. It gives each request an id, and sets the security headers.
func NewEngine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.RemoteIPHeaders = []string{"X-Forwarded-For"} // not what a proxy passes on without looking
	_ = e.SetTrustedProxies(nil)                    // gin trusts everybody; it fails for an address that is none
	e.Use(traced(), identified, secured, recovered, unread)
	e.NoRoute(func(c *gin.Context) {
		Fail(c, NewProblem(http.StatusNotFound, "There is nothing at "+c.Request.URL.Path+"."))
	})
	e.NoMethod(func(c *gin.Context) {
		Fail(c, NewProblem(http.StatusMethodNotAllowed, fmt.Sprintf("%s does not take %s; it takes %s.",
			c.Request.URL.Path, c.Request.Method, c.Writer.Header().Get("Allow"))))
	})
	return e
}

func recovered(c *gin.Context) {
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
			panic(p) // the handler cuts off its answer on purpose
		}
		if p != nil {
			slog.ErrorContext(c.Request.Context(), "handler panicked", "panic", p, "stack", string(debug.Stack()))
			if c.Writer.Written() {
				panic(http.ErrAbortHandler) // so that the client sees that the answer is cut off
			}
			Fail(c, fmt.Errorf("panic: %v", p))
		}
	}()
	c.Next()
}
