package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// page is the path of the file that is the client. It has no route of its own.
const page = "/index.html"

// codings are those in which the build makes files beside the plain ones, by their
// files' extensions.
var codings = map[string]string{".br": "br", ".gz": "gzip"}

// site is the files of the built client by path, each in its forms: the plain one, and
// then those compressed by Brotli and gzip. It is ours because vearutop/statigz sends
// encodings that Accept-Encoding gives a weight of 0 (no issue found).
type site map[string][]form

type form struct {
	coding  string
	content []byte
	etag    string
}

// readSite reads the folder that the client was built into, if it exists.
func readSite(build fs.FS) (site, error) {
	s := site{}
	return s, fs.WalkDir(build, ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == "." {
			return fs.SkipAll
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(build, name)
		if err != nil {
			return err
		}
		name = "/" + name
		coding := codings[path.Ext(name)]
		if coding != "" {
			name = strings.TrimSuffix(name, path.Ext(name))
			plain := s[name] // WalkDir comes to x, x.br and x.gz in this order
			if plain == nil {
				return fmt.Errorf("%s is there only compressed", name)
			}
			if len(content) >= len(plain[0].content) {
				return nil // small files can be larger when compressed
			}
		}
		sum := sha256.Sum256(content)
		s[name] = append(s[name], form{coding, content, strconv.Quote(hex.EncodeToString(sum[:16]))})
		return nil
	})
}

func (s site) routes(r *gin.Engine) {
	read := []string{http.MethodGet, http.MethodHead}
	for _, address := range []string{"/", "/p/:id", "/moderate", "/moderate/policy", "/moderate/people"} { // routes of the client
		r.Match(read, address, func(c *gin.Context) { s.servePage(c, http.StatusOK) })
	}
	for name := range s {
		if name == page {
			continue
		}
		caching := "no-cache"
		if strings.HasPrefix(name, "/assets/") { // these names contain a hash of the content
			caching = "public, max-age=31536000, immutable"
		}
		r.Match(read, name, func(c *gin.Context) { s.serve(c, name, caching) })
	}
	r.NoRoute(func(c *gin.Context) {
		c.Header("Cache-Control", "no-store")
		if c.Request.Method == http.MethodGet && web.Accepts(c.Request, "application/problem+json", "text/html") == "text/html" {
			s.servePage(c, http.StatusNotFound)
			return
		}
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is nothing at "+c.Request.URL.Path+"."))
	})
}

// servePage answers with the client, which reads the address by itself.
func (s site) servePage(c *gin.Context, status int) {
	index, exists := s[page]
	switch {
	case !exists:
		c.String(http.StatusServiceUnavailable, notBuilt)
	case status != http.StatusOK:
		c.Data(status, "text/html; charset=utf-8", index[0].content)
	default:
		s.serve(c, page, "no-cache")
	}
}

const notBuilt = `This host was built without the client. The API works; for the pages, do one of

    make run        builds the client and the host, and runs everything
    npm ci && npm run build   in apps/client/web, and then build and start the host again

Either needs Node.js 20.19 or later.
`

// serve answers with the form of a file that the request prefers. net/http handles its
// type, conditional requests and ranges.
func (s site) serve(c *gin.Context, name, caching string) {
	best, compressed := s[name][0], s[name][1:]
	if len(compressed) > 0 {
		c.Header("Vary", "Accept-Encoding")
	}
	for _, f := range compressed {
		if web.AcceptsEncoding(c.Request, f.coding) {
			c.Header("Content-Encoding", f.coding)
			best = f
			break
		}
	}
	c.Header("Cache-Control", caching)
	c.Header("Etag", best.etag)
	http.ServeContent(c.Writer, c.Request, name, time.Time{}, bytes.NewReader(best.content))
}
