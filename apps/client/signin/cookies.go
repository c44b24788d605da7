package signin

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/securecookie"
)

const (
	// partSize bounds the value of one cookie, in bytes. Browsers take 4,096 with the name and the
	// attributes (RFC 6265, section 6.1).
	partSize = 3_800
	// maxParts bounds the cookies of one value: all header fields of a request together have 8 KiB.
	maxParts = 2
)

// errTooLarge is the error of a value that no browser would send back.
var errTooLarge = fmt.Errorf("it has more than %d bytes when it is sealed", maxParts*partSize)

// errUnreadable is the error of a cookie that was changed, cut, or sealed by another key.
var errUnreadable = errors.New("the cookie can't be opened")

// jar seals values into cookies and opens them. They are encrypted and authenticated, each for
// its own name. The times for which they are good are in the values: a browser may keep a cookie
// for longer.
type jar struct {
	codecs   []securecookie.Codec
	isSecure bool
}

func newJar(keys [][]byte, isSecure bool) (*jar, error) {
	j := &jar{isSecure: isSecure}
	for _, key := range keys {
		sign, err := hkdf.Key(sha256.New, key, nil, "postbus cookie signature", sha256.Size)
		if err != nil {
			return nil, err
		}
		encrypt, err := hkdf.Key(sha256.New, key, nil, "postbus cookie encryption", sha256.Size)
		if err != nil {
			return nil, err
		}
		j.codecs = append(j.codecs, securecookie.New(sign, encrypt).SetSerializer(securecookie.JSONEncoder{}).MaxAge(0).MaxLength(0))
	}
	return j, nil
}

// full is the name of a cookie as browsers have it. With TLS its prefix has them take it from this
// host alone, and not from one beside it (RFC 6265bis, section 4.1.3.2).
func (j *jar) full(name string) string {
	if j.isSecure {
		return "__Host-" + name
	}
	return name
}

// put seals a value into a cookie that lives so long. A long value takes several cookies, of
// which the first has their number. The error is an errTooLarge.
func (j *jar) put(c *gin.Context, name string, value any, lives time.Duration) error {
	sealed, err := securecookie.EncodeMulti(name, value, j.codecs[0])
	if err != nil {
		return err
	}
	parts := (len(sealed) + partSize - 1) / partSize
	if parts > maxParts {
		return errTooLarge
	}
	for i := range parts {
		part := sealed[i*partSize : min(len(sealed), (i+1)*partSize)]
		if i == 0 {
			part = strconv.Itoa(parts) + "." + part
		}
		j.set(c, partName(name, i), part, lives)
	}
	j.dropFrom(c, name, parts)
	return nil
}

// get opens the cookie of a request into a value. The error is http.ErrNoCookie, or an
// errUnreadable.
func (j *jar) get(r *http.Request, name string, into any) error {
	first, err := r.Cookie(j.full(name))
	if err != nil {
		return err
	}
	number, sealed, _ := strings.Cut(first.Value, ".")
	parts, err := strconv.Atoi(number)
	if err != nil || parts > maxParts {
		return errUnreadable
	}
	for i := 1; i < parts; i++ {
		part, err := r.Cookie(j.full(partName(name, i)))
		if err != nil {
			return errUnreadable
		}
		sealed += part.Value
	}
	if securecookie.DecodeMulti(name, sealed, into, j.codecs...) != nil {
		return errUnreadable
	}
	return nil
}

// drop has the browser forget a cookie.
func (j *jar) drop(c *gin.Context, name string) { j.dropFrom(c, name, 0) }

// dropFrom has the browser forget the parts of a cookie from that one on, if it has sent them.
func (j *jar) dropFrom(c *gin.Context, name string, part int) {
	for i := part; i < maxParts; i++ {
		if _, err := c.Request.Cookie(j.full(partName(name, i))); err == nil {
			j.set(c, partName(name, i), "", -1)
		}
	}
}

func partName(name string, part int) string {
	if part == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(part)
}

// set sets a cookie that no script reads, and that no other site's requests have but its links.
func (j *jar) set(c *gin.Context, name, value string, lives time.Duration) {
	cookie := &http.Cookie{ //nolint:gosec // Secure is set where browsers reach the host by TLS
		Name: j.full(name), Value: value, Path: "/", MaxAge: int(lives / time.Second),
		HttpOnly: true, Secure: j.isSecure, SameSite: http.SameSiteLaxMode,
	}
	if lives < 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(c.Writer, cookie)
}
