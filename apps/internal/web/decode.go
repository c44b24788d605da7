package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// MaxBody bounds the body of a request, in bytes.
const MaxBody = 64 << 10

// bodyTimeout is how long a client may take to send a body.
const bodyTimeout = 10 * time.Second

// ReadBody reads the request's body. The error is a *Problem: 413 for one over
// MaxBody, 400 for one that ends early or takes longer than bodyTimeout.
func ReadBody(c *gin.Context) ([]byte, error) {
	deadlines := http.NewResponseController(c.Writer)
	_ = deadlines.SetReadDeadline(time.Now().Add(bodyTimeout)) // a test's writer has none
	defer func() { _ = deadlines.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, MaxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d bytes.", MaxBody))
	}
	if err != nil {
		return nil, NewProblem(http.StatusBadRequest, "The body could not be read to its end.")
	}
	return body, nil
}

// Decode reads the request's JSON object into v, which must point to a struct,
// and returns the body as well. The error is a *Problem: 415 for a body that
// isn't declared to be JSON, 413 for one over MaxBody, 400 for one that is no
// JSON object or has members that v doesn't, 422 for text that is not Unicode.
func Decode(c *gin.Context, v any) ([]byte, error) {
	mediaType, _, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, NewProblem(http.StatusUnsupportedMediaType, "Send the body as Content-Type: application/json.")
	}
	body, err := ReadBody(c)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, NewProblem(http.StatusUnprocessableEntity, "The body is not valid UTF-8.")
	}
	if err := decodeStrictly(body, v); err != nil {
		return nil, NewProblem(http.StatusBadRequest, err.Error())
	}
	if hasLoneSurrogate(body) {
		return nil, NewProblem(http.StatusUnprocessableEntity, `The body has half of a surrogate pair (\ud800 to \udfff), which is no character.`)
	}
	return body, nil
}

func decodeStrictly(body []byte, v any) error {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return errors.New("The body is empty; a JSON object is expected.") //nolint:staticcheck,revive // read by people, as a sentence
	}
	if trimmed[0] != '{' {
		return errors.New("The body is not a JSON object.") //nolint:staticcheck,revive // as above
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("The body is not as expected: %s.", strings.TrimPrefix(err.Error(), "json: ")) //nolint:staticcheck,revive // as above
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("There is something after the JSON object.") //nolint:staticcheck,revive // as above
	}
	return nil
}

// hasLoneSurrogate finds what encoding/json would silently turn into U+FFFD.
// The body is known to be JSON, so that a backslash starts an escape.
func hasLoneSurrogate(body []byte) bool {
	const high, low = 0xd800, 0xdc00
	half := func(i int) uint64 { // the surrogate escaped at i, or 0
		if i+6 > len(body) || body[i] != '\\' || body[i+1] != 'u' {
			return 0
		}
		var u uint64
		if _, err := fmt.Sscanf(string(body[i+2:i+6]), "%04x", &u); err != nil || u&0xf800 != high {
			return 0
		}
		return u
	}
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		switch u := half(i); {
		case u == 0:
			i++ // skip what is escaped
		case u < low && half(i+6) >= low:
			i += 11
		default:
			return true
		}
	}
	return false
}
