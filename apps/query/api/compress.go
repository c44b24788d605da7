package api

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/postbus/postbus/apps/internal/web"
)

const (
	// leastCompressed is the size of the smallest page that is compressed, in bytes: below
	// it there is nothing to win, since it fits into a packet.
	leastCompressed = 1 << 10
	// maxForms bounds the compressed pages that are kept, in bytes.
	maxForms = 16 << 20
	// flushEvery is after how many bytes of a page its reader can decompress what has come. On a
	// slow line the reader would otherwise see nothing of a block of 128 KB until all of it is there.
	flushEvery = 32 << 10
)

// coding is a content coding (RFC 9110, section 8.4.1). Its encoders are used again.
type coding struct {
	name     string
	encoders sync.Pool
}

type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(to io.Writer)
}

// compressing bounds how many pages are compressed at once: each takes a core.
var compressing = make(chan struct{}, runtime.GOMAXPROCS(0))

// codings are those of pages, the preferred one first: zstd takes a fifth of the CPU of the
// others. Its window is below the 8 MB that browsers have to know (RFC 9659).
var codings = []*coding{
	newCoding("zstd", func() (encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	}),
	newCoding("br", func() (encoder, error) { return brotli.NewWriterLevel(nil, 4), nil }),
	newCoding("gzip", func() (encoder, error) { return gzip.NewWriterLevel(nil, 5) }),
}

func newCoding(name string, encode func() (encoder, error)) *coding {
	return &coding{name, sync.Pool{New: func() any {
		e, err := encode()
		if err != nil {
			panic(err) // its settings are constants
		}
		return e
	}}}
}

// codingFor returns the coding of an answer of that size, or nil for none.
func codingFor(r *http.Request, bytes int) *coding {
	if bytes < leastCompressed {
		return nil
	}
	for _, c := range codings {
		if web.AcceptsEncoding(r, c.name) {
			return c
		}
	}
	return nil
}

// tag is the entity tag of a page in this coding: other bytes need another one.
func (c *coding) tag(plain string) string {
	if c == nil {
		return plain
	}
	return strings.TrimSuffix(plain, `"`) + "-" + c.name + `"`
}

func (c *coding) compress(parts [][]byte) []byte {
	compressing <- struct{}{}
	defer func() { <-compressing }()
	var to bytes.Buffer
	e := c.encoders.Get().(encoder) //nolint:errcheck,forcetypeassert // nothing else is put there
	defer c.encoders.Put(e)
	e.Reset(&to)
	for _, part := range parts {
		for piece := range slices.Chunk(part, flushEvery) {
			_, _ = e.Write(piece) // a buffer takes everything
			if len(piece) == flushEvery {
				_ = e.Flush()
			}
		}
	}
	_ = e.Close()
	return bytes.Clone(to.Bytes()) // of just its size: it may be kept
}

// forms are the compressed pages that were sent last, by their entity tags. Readers who ask
// for one at once share the making of it.
type forms struct {
	mu          sync.Mutex
	kept        *simplelru.LRU[string, []byte]
	bytes, most int
	making      singleflight.Group
}

func newForms(most int) *forms {
	f := &forms{most: most}
	f.kept, _ = simplelru.NewLRU(math.MaxInt, func(_ string, body []byte) { f.bytes -= len(body) }) // refuses only a size of 0
	return f
}

// of returns the page that consists of parts, compressed.
func (f *forms) of(coding *coding, tag string, parts [][]byte) []byte {
	if body, ok := f.get(tag); ok {
		return body
	}
	made, _, _ := f.making.Do(tag, func() (any, error) {
		body := coding.compress(parts)
		f.keep(tag, body)
		return body, nil
	})
	return made.([]byte) //nolint:errcheck,forcetypeassert // as above
}

func (f *forms) get(tag string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept.Get(tag)
}

// keep keeps a form, and forgets those that were not used for longest.
func (f *forms) keep(tag string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(body) > f.most || f.kept.Contains(tag) {
		return
	}
	f.kept.Add(tag, body)
	for f.bytes += len(body); f.bytes > f.most; {
		f.kept.RemoveOldest()
	}
}

func size(parts [][]byte) (bytes int) {
	for _, part := range parts {
		bytes += len(part)
	}
	return bytes
}
