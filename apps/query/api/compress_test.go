package api

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/postbus/postbus/apps/query/internal/querytest"
)

// decoder decompresses the body of an answer by the libraries' readers.
func decoder(t testing.TB, res *httptest.ResponseRecorder) io.Reader {
	t.Helper()
	switch coding := res.Header().Get("Content-Encoding"); coding {
	case "zstd":
		d, err := zstd.NewReader(res.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	case "br":
		return brotli.NewReader(res.Body)
	case "gzip":
		d, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return d
	case "":
	default:
		t.Fatalf("the answer is in %q", coding)
	}
	return res.Body
}

func plain(t testing.TB, res *httptest.ResponseRecorder) string {
	t.Helper()
	body, err := io.ReadAll(decoder(t, res))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPagesAreCompressedAsTheirReadersAccept(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posts(1, 31)...)))
	want := get(t, h, "/posts").Body.String()
	tags := map[string]string{}
	for accepted, coding := range map[string]string{
		"":                        "",
		"identity":                "",
		"gzip":                    "gzip",
		"gzip, deflate, br":       "br",
		"gzip, deflate, br, zstd": "zstd",
		"zstd;q=0, br;q=0, *":     "gzip",
		"br;q=0":                  "",
		"compress":                "",
		"*":                       "zstd",
	} {
		for range 2 { // as it is made, and as it is kept
			res := get(t, h, "/posts", "Accept-Encoding", accepted)
			if got := res.Header().Get("Content-Encoding"); res.Code != http.StatusOK || got != coding {
				t.Fatalf("%q gets %d in %q, want %q", accepted, res.Code, got, coding)
			}
			if got, length := res.Body.Len(), res.Header().Get("Content-Length"); length != strconv.Itoa(got) || coding != "" && got >= len(want)/4 {
				t.Errorf("%q gets %d bytes of %d, and Content-Length %s", accepted, got, len(want), length)
			}
			if got := plain(t, res); got != want {
				t.Errorf("%q gets %s", accepted, got)
			}
			if vary := res.Header().Get("Vary"); vary != "Accept, Accept-Encoding" {
				t.Errorf("%q: Vary is %q", accepted, vary)
			}
			tags[coding] = res.Header().Get("Etag")
		}
	}
	if plainTag := strings.Trim(tags[""], `"`); tags["gzip"] != `"`+plainTag+`-gzip"` || tags["br"] != `"`+plainTag+`-br"` || tags["zstd"] != `"`+plainTag+`-zstd"` {
		t.Errorf("the tags are %v", tags)
	}
	for coding, tag := range tags {
		res := get(t, h, "/posts", "Accept-Encoding", coding, "If-None-Match", tag)
		if res.Code != http.StatusNotModified || res.Body.Len() > 0 || res.Header().Get("Etag") != tag || res.Header().Get("Content-Encoding") != "" {
			t.Errorf("a reader who has the page in %q gets %d, %v", coding, res.Code, res.Header())
		}
		// The bytes are others in another coding (RFC 9110, section 8.8.3).
		if res := get(t, h, "/posts", "Accept-Encoding", "deflate, gzip;q=0.5", "If-None-Match", tag); (res.Code == http.StatusNotModified) != (coding == "gzip") {
			t.Errorf("a reader of gzip who has the page in %q gets %d", coding, res.Code)
		}
	}
}

func TestSmallAnswersAndProblemsAreNotCompressed(t *testing.T) {
	h := serve(querytest.ModelOf(t, querytest.Numbered(0, querytest.Posted(1))))
	for path, status := range map[string]int{"/posts": 200, "/posts/" + querytest.UUID7(2): 404, "/posts?limit=x": 400} {
		res := get(t, h, path, "Accept-Encoding", "gzip, br, zstd")
		if res.Code != status || res.Header().Get("Content-Encoding") != "" || !json.Valid(res.Body.Bytes()) {
			t.Errorf("%s: %d %v %s", path, res.Code, res.Header(), res.Body)
		}
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	if codingFor(req, leastCompressed-1) != nil || codingFor(req, leastCompressed) == nil {
		t.Errorf("pages are not compressed from %d bytes on", leastCompressed)
	}
}

func TestACompressedPageIsTheOneThatNowStands(t *testing.T) {
	m := querytest.ModelOf(t, querytest.Numbered(0, querytest.Posts(1, 31)...))
	h := serve(m)
	for _, path := range []string{"/posts", "/posts?comments=0", "/posts?limit=30"} {
		before := plain(t, get(t, h, path, "Accept-Encoding", "br"))
		if err := m.Apply("", querytest.Numbered(int(querytest.At(m)), querytest.Commented(500+int(querytest.At(m)), 30))); err != nil { //nolint:gosec // small
			t.Fatal(err)
		}
		after := plain(t, get(t, h, path, "Accept-Encoding", "br"))
		if after == before || after != get(t, h, path).Body.String() {
			t.Errorf("%s is shown as %s after a change", path, after)
		}
	}
}

// On a slow line the parts of a page that have come are a sign of life.
func TestAReaderGetsTheBeginningOfAPageBeforeItsEnd(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // to be repeatable
	text := make([]byte, 200_000)
	for i := range text {
		text[i] = "0123456789abcdef"[random.IntN(16)] // half of it is left when it is compressed
	}
	for _, c := range codings {
		body := c.compress([][]byte{text})
		res := httptest.NewRecorder()
		res.Header().Set("Content-Encoding", c.name)
		res.Body.Write(body[:len(body)*6/10])
		got, err := io.ReadAll(decoder(t, res))
		if err == nil || len(got) < len(text)/3 || string(got) != string(text[:len(got)]) {
			t.Errorf("%s: of %d bytes there are %d after six tenths of it, error %v", c.name, len(text), len(got), err)
		}
	}
}

func TestFormsAreKeptUpToTheirBound(t *testing.T) {
	gz := codings[slices.IndexFunc(codings, func(c *coding) bool { return c.name == "gzip" })]
	text := [][]byte{[]byte("text")}
	size := len(gz.compress(text))
	f := newForms(2 * size)
	of := func(tag string) { f.of(gz, tag, text) }
	of("a")
	of("b")
	of("a") // is the younger one now
	of("c")
	for tag, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, kept := f.get(tag); kept != want {
			t.Errorf("%s is kept: %v", tag, kept)
		}
	}
	if f.bytes != 2*size {
		t.Errorf("%d bytes are kept, and counted as %d", 2*size, f.bytes)
	}
	large := newForms(size - 1)
	if got := large.of(gz, "a", text); len(got) != size || large.kept.Len() != 0 || large.bytes != 0 {
		t.Errorf("one larger than the bound has %d bytes, and %d are kept", len(got), large.kept.Len())
	}
}

// Every reader gets the whole page while forms are made, kept and forgotten.
func TestFormsAreWholeForEverybodyAtOnce(t *testing.T) {
	f := newForms(200)
	var readers sync.WaitGroup
	for reader := range 8 {
		readers.Go(func() {
			for i := range 200 {
				c := codings[(reader+i)%len(codings)]
				want := bytes.Repeat([]byte{byte('a' + i%5)}, 100)
				res := httptest.NewRecorder()
				res.Header().Set("Content-Encoding", c.name)
				res.Body.Write(f.of(c, c.tag(`"`+string(want[:1])+`"`), [][]byte{want[:50], want[50:]}))
				if got := plain(t, res); got != string(want) {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	readers.Wait()
}
