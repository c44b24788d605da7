package host

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

const script = "/assets/index-Bx3_k-1a.js"

func builtSite() fstest.MapFS {
	content := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return fstest.MapFS{
		"web/dist.txt":                 content("no part of it"),
		"web/dist/index.html":          content("<html>plain page"),
		"web/dist/index.html.br":       content("<html>br"),
		"web/dist/index.html.gz":       content("<html>gzip"),
		"web/dist/favicon.svg":         content("<svg>"),
		"web/dist/favicon.svg.br":      content("as large"[:5]),
		"web/dist" + script:            content("plain script"),
		"web/dist" + script + ".br":    content("br"),
		"web/dist" + script + ".gz":    content("gzip"),
		"web/dist/assets/f-1.woff2":    content("font"),
		"web/dist/assets/_shared-1.js": content("shared"),
	}
}

// engineOf serves what is in web/dist.
func engineOf(t *testing.T, build fstest.MapFS) *gin.Engine {
	t.Helper()
	dist, err := fs.Sub(build, "web/dist")
	if err != nil {
		t.Fatal(err)
	}
	e := web.NewEngine()
	if err := (&Host{Files: dist, SignIn: signInOf(t)}).Routes(e); err != nil {
		t.Fatal(err)
	}
	return e
}

// ask sends a request; headers are "Name: value".
func ask(e http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res := httptest.NewRecorder()
	e.ServeHTTP(res, req)
	return res
}

func TestThePageIsServedForTheClientsOwnRoutes(t *testing.T) {
	e := engineOf(t, builtSite())
	for _, target := range []string{"/", "/?x=1", "/p/01a20cc5-3c8e-7ebf-ab8b-ac3e01cfff63"} {
		res := ask(e, "GET", target)
		if res.Code != 200 || res.Body.String() != "<html>plain page" {
			t.Errorf("%s: %d %s", target, res.Code, res.Body)
		}
		if got := res.Header().Get("Content-Type"); got != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", target, got)
		}
		if got := res.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: Cache-Control %q", target, got)
		}
		etag := res.Header().Get("Etag")
		again := ask(e, "GET", target, "If-None-Match: "+etag)
		if again.Code != 304 || again.Body.Len() != 0 || again.Header().Get("Etag") != etag {
			t.Errorf("%s with its ETag: %d %s", target, again.Code, again.Body)
		}
		head := ask(e, "HEAD", target)
		if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != "16" {
			t.Errorf("HEAD %s: %d, %v", target, head.Code, head.Header())
		}
	}
}

func TestAssetsAreKeptForGood(t *testing.T) {
	e := engineOf(t, builtSite())
	for target, want := range map[string][3]string{
		script:                 {"plain script", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"/assets/_shared-1.js": {"shared", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"/assets/f-1.woff2":    {"font", "font/woff2", "public, max-age=31536000, immutable"},
		"/favicon.svg":         {"<svg>", "image/svg+xml", "no-cache"},
	} {
		res := ask(e, "GET", target)
		if got := [3]string{res.Body.String(), res.Header().Get("Content-Type"), res.Header().Get("Cache-Control")}; got != want || res.Code != 200 {
			t.Errorf("%s: %d %q, want %q", target, res.Code, got, want)
		}
	}
}

func TestTheBestVariantThatIsAcceptedIsSent(t *testing.T) {
	e := engineOf(t, builtSite())
	etags := map[string]string{}
	for accepted, want := range map[string]string{
		"":                        "",
		"identity":                "",
		"gzip":                    "gzip",
		"GZIP":                    "gzip",
		"br":                      "br",
		"gzip, deflate, br, zstd": "br",
		"gzip;q=1, br;q=0.1":      "br", // both are fine with the visitor, and it is smaller
		"gzip, br;q=0":            "gzip",
		"gzip;q=0, br; q=0.000":   "",
		"gzip;q=yes":              "",
		"*":                       "br",
		"*;q=0":                   "",
		"br;q=0, *":               "gzip",
		"brotli, x-gzip":          "",
	} {
		res := ask(e, "GET", script, "Accept-Encoding: "+accepted)
		if got := res.Header().Get("Content-Encoding"); got != want {
			t.Errorf("%q gets %q, want %q", accepted, got, want)
		}
		body := want
		if body == "" {
			body = "plain script"
		}
		if res.Body.String() != body || res.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
			t.Errorf("%q gets %s, %v", accepted, res.Body, res.Header())
		}
		if res.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: Vary %q", accepted, res.Header().Get("Vary"))
		}
		etags[want] = res.Header().Get("Etag")
	}
	if etags[""] == etags["br"] || etags["br"] == etags["gzip"] || !strings.HasPrefix(etags["br"], `"`) {
		t.Errorf("the variants' ETags are %v", etags)
	}
}

func TestAVariantThatIsNoSmallerIsNotSent(t *testing.T) {
	res := ask(engineOf(t, builtSite()), "GET", "/favicon.svg", "Accept-Encoding: br")
	if res.Body.String() != "<svg>" || res.Header().Get("Content-Encoding") != "" || res.Header().Get("Vary") != "" {
		t.Errorf("%s, %v", res.Body, res.Header())
	}
}

func TestWhatTheBuildHasNotMadeIsNotThere(t *testing.T) {
	e := engineOf(t, builtSite())
	for _, target := range []string{
		"/assets/index-old.js", "/assets", "/assets/", "/index.html", "/index.html.br", script + ".br", script + "/", "/dist.txt",
		"/p", "/p/", "/p/a/b", "/nothing", "//", "/../main.go", "/assets/../index.html", "/assets/%2e%2e/index.html", "/%2fetc/passwd",
	} {
		res := ask(e, "GET", target)
		if res.Code != 404 || res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", target, res.Code, res.Body)
		}
		if got := res.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", target, got)
		}
		// A browser that was sent there shows the client, which says the same.
		res = ask(e, "GET", target, "Accept: text/html,application/xhtml+xml")
		if res.Code != 404 || res.Body.String() != "<html>plain page" {
			t.Errorf("%s in a browser: %d %s", target, res.Code, res.Body)
		}
	}
	if res := ask(e, "POST", "/"); res.Code != 405 || !strings.Contains(res.Header().Get("Allow"), "GET") {
		t.Errorf("POST /: %d, %v", res.Code, res.Header())
	}
}

func TestWithoutABuildThePageSaysWhatToDo(t *testing.T) {
	for name, build := range map[string]fstest.MapFS{
		"nothing":     {"web/dist.txt": {}},
		"interrupted": {"web/dist.txt": {}, "web/dist/assets/x-1.js": {Data: []byte("x")}},
	} {
		e := engineOf(t, build)
		for _, target := range []string{"/", "/p/x"} {
			if res := ask(e, "GET", target); res.Code != 503 || !strings.Contains(res.Body.String(), "make run") {
				t.Errorf("%s, %s: %d %s", name, target, res.Code, res.Body)
			}
		}
		if res := ask(e, "GET", "/nothing"); res.Code != 404 {
			t.Errorf("%s: %d %s", name, res.Code, res.Body)
		}
	}
}

func TestABuildThatIsOnlyCompressedIsRefused(t *testing.T) {
	_, err := readSite(fstest.MapFS{"a.js.br": {}})
	if err == nil || !strings.Contains(err.Error(), "/a.js") {
		t.Errorf("got %v", err)
	}
}
