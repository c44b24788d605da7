package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/gin-gonic/gin"
)

// input is a struct that a handler would decode into.
type input struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

func decode(contentType string, body io.Reader) (input, []byte, error) {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodPost, "/", body)
	if contentType != "" {
		c.Request.Header.Set("Content-Type", contentType)
	}
	var in input
	raw, err := Decode(c, &in)
	return in, raw, err
}

// sized is a JSON object of n bytes.
func sized(n int) string {
	return `{"body":"` + strings.Repeat("x", n-len(`{"body":""}`)) + `"}`
}

func TestDecodeTakes(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want input
	}{
		"all members":               {`{"title":"a","body":"b"}`, input{"a", "b"}},
		"no members":                {`{}`, input{}},
		"white space around it":     {" \r\n\t{\"title\":\"a\"}\n ", input{Title: "a"}},
		"null for a member":         {`{"title":null}`, input{}},
		"65,536 bytes":              {sized(65_536), input{Body: strings.Repeat("x", 65_536-11)}},
		"an emoji":                  {`{"title":"😀"}`, input{Title: "😀"}},
		"an escaped emoji":          {`{"title":"\ud83d\ude00"}`, input{Title: "😀"}},
		"an emoji in capitals":      {`{"title":"\uD83D\uDE00"}`, input{Title: "😀"}},
		"the first pair":            {`{"title":"\ud800\udc00"}`, input{Title: "\U00010000"}},
		"the last pair":             {`{"title":"\udbff\udfff"}`, input{Title: "\U0010ffff"}},
		"two pairs":                 {`{"title":"\ud83d\ude00\ud83d\ude01"}`, input{Title: "😀😁"}},
		"a pair after a backslash":  {`{"title":"\\\ud83d\ude00"}`, input{Title: `\😀`}},
		"what only looks like half": {`{"title":"\\ud83d"}`, input{Title: `\ud83d`}},
		"two that only look it":     {`{"title":"\\\\ud83d \\udc00"}`, input{Title: `\\ud83d \udc00`}},
		"a backslash by its number": {`{"title":"\u005cud83d"}`, input{Title: `\ud83d`}},
		"below the surrogates":      {`{"title":"\ud7ff"}`, input{Title: "\ud7ff"}},
		"above the surrogates":      {`{"title":"\ue000"}`, input{Title: "\ue000"}},
		"a replacement character":   {`{"title":"\ufffd�"}`, input{Title: "��"}},
		"all the short escapes":     {`{"title":"\"\\\/\b\f\n\r\t"}`, input{Title: "\"\\/\b\f\n\r\t"}},
		"an escaped NUL":            {`{"title":"\u0000"}`, input{Title: "\x00"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, raw, err := decode("application/json", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if string(raw) != test.body {
				t.Errorf("the body comes back as %.80q", raw)
			}
		})
	}
}

func TestDecodeTakesJSONWithParameters(t *testing.T) {
	for _, contentType := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", " application/json ;charset=UTF-8"} {
		if _, _, err := decode(contentType, strings.NewReader("{}")); err != nil {
			t.Errorf("%q: %v", contentType, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const isJSON = "application/json"
	for name, test := range map[string]struct {
		contentType, body string
		status            int
	}{
		"no content type":                {"", "{}", 415},
		"a form":                         {"application/x-www-form-urlencoded", "title=a", 415},
		"plain text":                     {"text/plain", "{}", 415},
		"another kind of JSON":           {"application/problem+json", "{}", 415},
		"a list of types":                {"application/json, text/plain", "{}", 415},
		"a broken content type":          {"application/json; charset", "{}", 415},
		"a large body of another type":   {"text/plain", sized(65_537), 415},
		"65,537 bytes":                   {isJSON, sized(65_537), 413},
		"65,537 bytes with white space":  {isJSON, sized(65_536) + " ", 413},
		"65,537 bytes of no JSON":        {isJSON, strings.Repeat("\xff", 65_537), 413},
		"an empty body":                  {isJSON, "", 400},
		"a blank body":                   {isJSON, " \n", 400},
		"null":                           {isJSON, "null", 400},
		"an array":                       {isJSON, `[{"title":"a"}]`, 400},
		"a string":                       {isJSON, `"a"`, 400},
		"a number":                       {isJSON, "7", 400},
		"no JSON":                        {isJSON, "title=a", 400},
		"what is cut off":                {isJSON, `{"title":"a"`, 400},
		"a byte order mark":              {isJSON, "\ufeff{}", 400},
		"a space that JSON doesn't know": {isJSON, "\u00a0{}", 400},
		"a raw newline in a string":      {isJSON, "{\"title\":\"a\nb\"}", 400},
		"a trailing comma":               {isJSON, `{"title":"a",}`, 400},
		"single quotes":                  {isJSON, `{'title':'a'}`, 400},
		"a comment":                      {isJSON, `{} // so`, 400},
		"an unknown member":              {isJSON, `{"title":"a","id":"b"}`, 400},
		"an unknown nested member":       {isJSON, `{"x":{"title":"a"}}`, 400},
		"a member in capitals":           {isJSON, `{"TITLE":"a"}`, 400},
		"a member with a capital":        {isJSON, `{"title":"a","Body":"b"}`, 400},
		"a member twice":                 {isJSON, `{"title":"a","title":"b"}`, 400},
		"a member twice, once escaped":   {isJSON, `{"title":"a","titl\u0065":"b"}`, 400},
		"half a pair and unknown":        {isJSON, `{"title":"\ud83d","id":"b"}`, 400},
		"half a pair and cut off":        {isJSON, `{"title":"\ud83d"`, 400},
		"a number for a text":            {isJSON, `{"title":7}`, 400},
		"an object for a text":           {isJSON, `{"title":{}}`, 400},
		"a second object":                {isJSON, `{} {}`, 400},
		"a letter after it":              {isJSON, `{}x`, 400},
		"a bracket after it":             {isJSON, `{}}`, 400},
		"deep nesting":                   {isJSON, `{"title":` + strings.Repeat("[", 60_000), 400},
		"deep nesting to the end":        {isJSON, strings.Repeat(`{"title":`, 5_000) + "1" + strings.Repeat("}", 5_000), 400},
		"a bad escape":                   {isJSON, `{"title":"\x41"}`, 400},
		"an escape that is cut off":      {isJSON, `{"title":"\ud83"}`, 400},
		"invalid UTF-8":                  {isJSON, "{\"title\":\"\xff\"}", 422},
		"invalid UTF-8 in no JSON":       {isJSON, "\xff", 422},
		"a surrogate in UTF-8":           {isJSON, "{\"title\":\"\xed\xa0\x80\"}", 422},
		"an overlong form":               {isJSON, "{\"title\":\"\xc0\xaf\"}", 422},
		"UTF-8 that is cut off":          {isJSON, "{\"title\":\"\xf0\x9f\x98\"}", 422},
		"half a pair":                    {isJSON, `{"title":"\ud83d"}`, 422},
		"half a pair in capitals":        {isJSON, `{"title":"\uD83D"}`, 422},
		"half a pair before a letter":    {isJSON, `{"title":"\ud83dx"}`, 422},
		"half a pair before an escape":   {isJSON, `{"title":"\ud83d\n"}`, 422},
		"half a pair before a letter's":  {isJSON, `{"title":"\ud83d\u0041"}`, 422},
		"the second half alone":          {isJSON, `{"title":"\ude00"}`, 422},
		"the halves the wrong way round": {isJSON, `{"title":"\ude00\ud83d"}`, 422},
		"the first half twice":           {isJSON, `{"title":"\ud83d\ud83d\ude00"}`, 422},
		"half a pair after a pair":       {isJSON, `{"title":"\ud83d\ude00\ude00"}`, 422},
		"half a pair after a backslash":  {isJSON, `{"title":"\\\ud83d"}`, 422},
		"half a pair in another member":  {isJSON, `{"title":"\ud83d\ude00","body":"\ud83d"}`, 422},
	} {
		t.Run(name, func(t *testing.T) {
			_, raw, err := decode(test.contentType, strings.NewReader(test.body))
			var p *Problem
			if !errors.As(err, &p) {
				t.Fatalf("error %v, want a problem", err)
			}
			if p.Status != test.status {
				t.Errorf("status %d (%s), want %d", p.Status, p.Detail, test.status)
			}
			if p.Detail == "" || p.Title != http.StatusText(test.status) {
				t.Errorf("title %q and detail %q", p.Title, p.Detail)
			}
			if raw != nil {
				t.Errorf("a body of %d bytes comes with the error", len(raw))
			}
		})
	}
}

// The message names the member, and no type of Go.
func TestDecodeSaysWhatIsWrong(t *testing.T) {
	for body, want := range map[string]string{
		`{"titel":"a"}`: `unknown field "titel".`,
		`{"Title":"a"}`: `unknown field "Title".`,
		`{"` + strings.Repeat("x", 60_000) + `":1}`: `unknown field "` + strings.Repeat("x", 100) + `".`,
		`{"title":"a","title":"b"}`:                 `"title"`,
		`{"title":7}`:                               `"title" is not a string.`,
		`{"title":"a","body":{"title":"b"}}`:        `"body" is not a string.`,
		`{"title":[]}`:                              `"title" is not a string.`,
		`{"title":true}`:                            `"title" is not a string.`,
		`{"title":tru}`:                             `title`,
	} {
		var p *Problem
		_, _, err := decode("application/json", strings.NewReader(body))
		if !errors.As(err, &p) || !strings.Contains(p.Detail, want) || strings.Contains(p.Detail, "Go ") || strings.Contains(p.Detail, "struct") {
			t.Errorf("%.80q: error %.200v, want %.200s", body, err, want)
		}
	}
}

func TestABodyThatBreaksOffIsABadRequest(t *testing.T) {
	_, _, err := decode("application/json", io.MultiReader(strings.NewReader(`{"title":`), iotest.ErrReader(errors.New("reset"))))
	var p *Problem
	if !errors.As(err, &p) || p.Status != http.StatusBadRequest {
		t.Errorf("error %v, want a 400", err)
	}
}

func TestABodyWithTheIdentityCodingIsRead(t *testing.T) {
	for _, codings := range [][]string{nil, {""}, {"identity"}, {"Identity, identity"}, {"identity", ","}} {
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		c.Request.Header["Content-Encoding"] = codings
		if _, err := ReadBody(c); err != nil {
			t.Errorf("%q: %v", codings, err)
		}
	}
}

func TestBodiesThatAreReadAtOnceAreBounded(t *testing.T) {
	post := func(body io.Reader) *httptest.ResponseRecorder {
		res := httptest.NewRecorder()
		c, _ := gin.CreateTestContext(res)
		c.Request = httptest.NewRequest(http.MethodPost, "/", body)
		if _, err := ReadBody(c); err != nil {
			Fail(c, err)
		}
		return res
	}
	var slow sync.WaitGroup
	var ends []*io.PipeWriter
	for range maxReading {
		body, end := io.Pipe()
		ends = append(ends, end)
		slow.Go(func() { post(body) })
		if _, err := end.Write([]byte("{")); err != nil { // so it is being read
			t.Fatal(err)
		}
	}
	res := post(strings.NewReader("{}"))
	wantProblem(t, res, http.StatusServiceUnavailable)
	if res.Header().Get("Retry-After") == "" {
		t.Error("it does not say when to come again")
	}
	for _, end := range ends {
		_ = end.Close()
	}
	slow.Wait()
	if res := post(strings.NewReader("{}")); res.Code != http.StatusOK {
		t.Errorf("after they have come: %d", res.Code)
	}
}

func TestALargeBodyIsNotReadOn(t *testing.T) {
	body := &counted{}
	_, _, err := decode("application/json", body)
	var p *Problem
	if !errors.As(err, &p) || p.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("error %v, want a 413", err)
	}
	if body.n > 2*MaxBody {
		t.Errorf("%d bytes were read", body.n)
	}
}

// counted is an endless body.
type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	c.n += len(p)
	return len(p), nil
}

// The decoded text is the characters of the body: none became U+FFFD.
func FuzzDecode(f *testing.F) {
	for _, title := range []string{`a`, `\ud83d\ude00`, `\ud83d`, `\\ud83d`, `\\\ud83d`, `\u005c\ud83d`, "😀"} {
		f.Add(fmt.Sprintf(`{"title":"%s"}`, title))
	}
	f.Fuzz(func(t *testing.T, body string) {
		in, _, err := decode("application/json", strings.NewReader(body))
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Status < 400 || p.Status > 499 {
				t.Fatalf("error %v, want a problem of the client's", err)
			}
			return
		}
		replaced := strings.Count(in.Title+in.Body, "\ufffd")
		written := strings.Count(body, "\ufffd") + strings.Count(strings.ToLower(body), `\ufffd`)
		if replaced > written {
			t.Fatalf("%q became %+v", body, in)
		}
	})
}
