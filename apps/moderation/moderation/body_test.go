package moderation

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// A sidecar passes an empty body on without saying that it is empty.
func TestABodyThatSaysNothingIsNone(t *testing.T) {
	engine := web.NewEngine()
	engine.POST("/", func(c *gin.Context) {
		if err := noBody(c); err != nil {
			web.Fail(c, err)
		}
	})
	for _, test := range []struct {
		body, contentType string
		want              int
	}{
		{"", "", 200}, {"{}", "application/json", 200}, {"{}", "text/plain", 415}, {"x", "application/json", 400},
		{`{"a":1}`, "application/json", 400}, {strings.Repeat(" ", web.MaxBody+1), "application/json", 413},
	} {
		for _, isLengthKnown := range []bool{true, false} {
			var body io.Reader = strings.NewReader(test.body)
			if !isLengthKnown {
				body = struct{ io.Reader }{body}
			}
			req, res := httptest.NewRequest(http.MethodPost, "/", body), httptest.NewRecorder()
			req.Header.Set("Content-Type", test.contentType)
			if engine.ServeHTTP(res, req); res.Code != test.want {
				t.Errorf("%.20q as %s, its length known: %v: got %d %s, want %d", test.body, test.contentType, isLengthKnown, res.Code, res.Body, test.want)
			}
		}
	}
}
