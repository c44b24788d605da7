package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/web"
)

// encodings are those that the build makes beside the files, the best first, with
// their files' extensions.
var encodings = []struct{ name, ext string }{{"br", ".br"}, {"gzip", ".gz"}}

// site is the built client. What the build has not made is not there.
type site struct {
	files map[string]file // by path, without index.html
	index file            // no forms when nothing was built
}

// file is a file's forms by content encoding; "" is the file as it is.
type file struct {
	contentType string
	forms       map[string]form
}

type form struct {
	content []byte
	etag    string
}

// newSite reads the client that was built into dir, if one was.
func newSite(build fs.FS, dir string) (*site, error) {
	s := &site{files: map[string]file{}}
	err := fs.WalkDir(build, dir, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == dir {
			return fs.SkipAll
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(build, name)
		if err != nil {
			return err
		}
		address, encoding := strings.TrimPrefix(name, dir), ""
		for _, e := range encodings {
			if plain, found := strings.CutSuffix(address, e.ext); found {
				address, encoding = plain, e.name
			}
		}
		f, ok := s.files[address]
		if !ok {
			f = file{contentType: mime.TypeByExtension(path.Ext(address)), forms: map[string]form{}}
			s.files[address] = f
		}
		sum := sha256.Sum256(content)
		f.forms[encoding] = form{content, strconv.Quote(hex.EncodeToString(sum[:16]))}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for address, f := range s.files {
		plain, ok := f.forms[""]
		if !ok {
			return nil, fmt.Errorf("%s is there only compressed", address)
		}
		maps.DeleteFunc(f.forms, func(encoding string, f form) bool { // as happens to small files
			return encoding != "" && len(f.content) >= len(plain.content)
		})
	}
	s.index = s.files["/index.html"]
	delete(s.files, "/index.html")
	return s, nil
}

func (s *site) routes(r *gin.Engine) {
	read := []string{http.MethodGet, http.MethodHead}
	for _, address := range []string{"/", "/p/:id"} { // the client's own
		r.Match(read, address, func(c *gin.Context) { s.page(c, http.StatusOK) })
	}
	for address, f := range s.files {
		caching := "no-cache"
		if strings.HasPrefix(address, "/assets/") { // the names have a hash of the content
			caching = "public, max-age=31536000, immutable"
		}
		r.Match(read, address, func(c *gin.Context) {
			c.Header("Cache-Control", caching)
			f.serve(c.Writer, c.Request)
		})
	}
	r.NoRoute(func(c *gin.Context) {
		c.Header("Cache-Control", "no-store")
		if c.Request.Method == http.MethodGet && web.Accepts(c.Request, "application/problem+json", "text/html") == "text/html" {
			s.page(c, http.StatusNotFound)
			return
		}
		web.Fail(c, web.NewProblem(http.StatusNotFound, "There is nothing at "+c.Request.URL.Path+"."))
	})
}

// page answers with the client, which looks at the address by itself.
func (s *site) page(c *gin.Context, status int) {
	if s.index.forms == nil {
		c.String(http.StatusServiceUnavailable, notBuilt)
		return
	}
	if status != http.StatusOK {
		c.Data(status, s.index.contentType, s.index.forms[""].content)
		return
	}
	c.Header("Cache-Control", "no-cache")
	s.index.serve(c.Writer, c.Request)
}

const notBuilt = `This host was built without the client. The API works; for the pages, do one of

    make run        builds the client and the host, and runs everything
    npm ci && npm run build   in apps/client/web, and then build and start the host again

Either needs Node.js 20.19 or later.
`

// serve sends the form that the request takes best; net/http sees to conditional
// requests and ranges.
func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h, best := w.Header(), f.forms[""]
	if len(f.forms) > 1 {
		h.Add("Vary", "Accept-Encoding")
	}
	for _, e := range encodings {
		if form, ok := f.forms[e.name]; ok && web.AcceptsEncoding(r, e.name) {
			h.Set("Content-Encoding", e.name)
			best = form
			break
		}
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Etag", best.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(best.content))
}
