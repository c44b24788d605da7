package web

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"
)

// Number is a query parameter that is a number from least to most, or otherwise
// where it isn't given. The error is a 400 that names the bounds.
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
