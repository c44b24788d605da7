package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxBody bounds the body of a request, in bytes.
const MaxBody = 64 << 10

const (
	// maxReading bounds how many bodies a process reads at once, and so the memory of
	// slow bodies. While a body is read, each of its bytes takes about two.
	maxReading = 512
	// readingWait bounds how long a further body waits.
	readingWait = time.Second
)

// reading holds a value for each body that is being read.
var reading = make(chan struct{}, maxReading)

// ReadBody reads the request's body. The error is a *Problem: 415 for a body in a content
// coding (RFC 9110, section 15.5.16), 413 for one over MaxBody, 400 for one that ends
// early or misses the server's read deadline, 503 while too many others are being read.
func ReadBody(c *gin.Context) ([]byte, error) {
	for _, coding := range listed(c.Request.Header.Values("Content-Encoding")) {
		if !strings.EqualFold(coding, "identity") {
			c.Header("Accept-Encoding", "identity")
			return nil, NewProblem(http.StatusUnsupportedMediaType, fmt.Sprintf("Send the body as it is, without Content-Encoding: %.40s.", coding))
		}
	}
	select {
	case reading <- struct{}{}:
		defer func() { <-reading }()
	case <-time.After(readingWait):
		return nil, Unavailable(fmt.Sprintf("%d other requests are being read. Try again.", maxReading))
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, MaxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes.", MaxBody))
	}
	if err != nil {
		return nil, NewProblem(http.StatusBadRequest, "The body could not be read to its end.")
	}
	c.Set(bodyRead, true)
	return body, nil
}

// Decode reads the request's JSON object into v, a pointer to a struct, and
// returns the body as well. The error is a *Problem: 415 for a body that is not declared
// as JSON, 413 for one over MaxBody, 400 for one that is no JSON object, has a member
// twice, or has one that v lacks (names match exactly), 422 for text that is not Unicode.
func Decode(c *gin.Context, v any) ([]byte, error) {
	if !HasMediaType(c.Request.Header, "application/json") {
		return nil, NewProblem(http.StatusUnsupportedMediaType, "Send the body as Content-Type: application/json.")
	}
	body, err := ReadBody(c)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, NewProblem(http.StatusUnprocessableEntity, "The body is not valid UTF-8.")
	}
	switch trimmed := bytes.TrimSpace(body); {
	case len(trimmed) == 0:
		return nil, NewProblem(http.StatusBadRequest, "The body is empty; a JSON object is expected.")
	case trimmed[0] != '{': // else null would decode
		return nil, NewProblem(http.StatusBadRequest, "The body is not a JSON object.")
	}
	strict := jsonv2.RejectUnknownMembers(true)
	if err := jsonv2.Unmarshal(body, v, strict); err != nil {
		// The bytes are valid UTF-8, so this option admits only half of a surrogate pair.
		if jsonv2.Unmarshal(body, v, strict, jsontext.AllowInvalidUTF8(true)) == nil {
			return nil, NewProblem(http.StatusUnprocessableEntity, `The body has half of a surrogate pair (\ud800 to \udfff), which is no character.`)
		}
		return nil, NewProblem(http.StatusBadRequest, "The body is not as expected: "+whatIsWrong(err)+".")
	}
	return body, nil
}

// whatIsWrong explains to the client why its JSON was refused. (The error itself may name
// Go's types.)
func whatIsWrong(err error) string {
	var semantic *jsonv2.SemanticError
	switch {
	case !errors.As(err, &semantic):
		return strings.TrimPrefix(err.Error(), "jsontext: ")
	case errors.Is(err, jsonv2.ErrUnknownName):
		return fmt.Sprintf("unknown field %.100q", semantic.JSONPointer.LastToken())
	default:
		return fmt.Sprintf("%q is not %s", semantic.JSONPointer.LastToken(), kindOf(semantic.GoType))
	}
}

// kindOf says in JSON's words what is expected where a Go value is read.
func kindOf(t reflect.Type) string {
	if t == nil {
		return "as expected"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}

// Number is a numeric query parameter from least to most, or otherwise if it is missing.
// The error is a 400 that names the bounds.
func Number[N int | uint64](c *gin.Context, name string, otherwise, least, most N) (N, error) {
	text, given := c.GetQuery(name)
	if !given {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || N(n) < least || N(n) > most { //nolint:gosec // 63 bits fit into both
		return 0, NewProblem(http.StatusBadRequest, fmt.Sprintf("%s is %q; a number from %d to %d is expected.", name, text, least, most))
	}
	return N(n), nil //nolint:gosec // as above
}
