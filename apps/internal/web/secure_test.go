package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestEveryAnswerBindsTheBrowser(t *testing.T) {
	routes := func(e *gin.Engine) {
		e.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "ok") })
		e.GET("/panics", func(*gin.Context) { panic("x") })
	}
	silenced(t)
	for _, request := range []string{"GET /", "GET /nothing", "POST /", "GET /panics"} {
		method, target, _ := strings.Cut(request, " ")
		h := serve(method, target, nil, routes).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy": "no-referrer", "Content-Security-Policy": APIPolicy,
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", request, name, got)
			}
		}
		if len(h.Get(RequestID)) != 36 {
			t.Errorf("%s: the request's id is %q", request, h.Get(RequestID))
		}
	}
	if !strings.Contains(APIPolicy, "frame-ancestors 'none'") {
		t.Error("an answer can be framed")
	}
}

func TestARequestHasAnID(t *testing.T) {
	routes := func(e *gin.Engine) { e.GET("/", func(c *gin.Context) { c.Status(http.StatusNoContent) }) }
	for _, sent := range []string{"abc-1.2_3", strings.Repeat("x", 128)} {
		if got := serve(http.MethodGet, "/", http.Header{RequestID: {sent}}, routes).Header().Get(RequestID); got != sent {
			t.Errorf("%q becomes %q", sent, got)
		}
	}
	var reached []string
	several := func(e *gin.Engine) {
		e.GET("/", WellFormedHead, func(c *gin.Context) { reached = c.Request.Header[RequestID] })
	}
	serve(http.MethodGet, "/", http.Header{RequestID: {"a", "\xfc" + strings.Repeat("x", 2*MaxHead)}}, several)
	if len(reached) != 1 || reached[0] != "a" {
		t.Errorf("of two ids %.20q go on", reached)
	}
	made := map[string]bool{}
	for _, sent := range []string{"", "a b", "a\tb", `"`, "é", "<script>", strings.Repeat("x", 129)} {
		got := serve(http.MethodGet, "/", http.Header{RequestID: {sent}}, routes).Header().Get(RequestID)
		if len(got) != 36 || made[got] {
			t.Errorf("%q becomes %q", sent, got)
		}
		made[got] = true
	}
}

func TestWhatAWebPageSendsIsRefused(t *testing.T) {
	routes := func(e *gin.Engine) {
		e.Use(RefuseBrowsers)
		e.POST("/", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	}
	for _, name := range []string{"Origin", "Sec-Fetch-Site"} {
		for _, value := range []string{"http://evil.example", "null", "none", "same-origin", ""} {
			wantProblem(t, serve(http.MethodPost, "/", http.Header{name: {value}}, routes), http.StatusForbidden)
			wantProblem(t, serve(http.MethodPost, "/nothing", http.Header{name: {value}}, routes), http.StatusForbidden)
		}
	}
	if res := serve(http.MethodPost, "/", nil, routes); res.Code != http.StatusNoContent {
		t.Errorf("a program is refused: %d", res.Code)
	}
}

func TestOnlyThisMachinesNamesAreAnswered(t *testing.T) {
	engine := NewEngine()
	engine.Use(OnlyHosts("blog.example"))
	engine.GET("/", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	for host, status := range map[string]int{
		"localhost": 204, "localhost:3000": 204, "LOCALHOST:3000": 204, "localhost.": 204, "blog.localhost:3000": 204,
		"127.0.0.1": 204, "127.0.0.1:4000": 204, "127.9.9.9:1": 204, "[::1]:3000": 204, "[::1]": 204, "": 204,
		"blog.example": 204, "Blog.Example:80": 204, "blog.example.": 204,
		"evil.example": 421, "evil.example:3000": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"10.0.0.1": 421, "0.0.0.0": 421, "[::]:3000": 421, "evil.blog.example": 421, "notlocalhost": 421,
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Host = host
		res := httptest.NewRecorder()
		engine.ServeHTTP(res, req)
		if res.Code != status {
			t.Errorf("Host %q is answered %d, want %d", host, res.Code, status)
		}
	}
}
