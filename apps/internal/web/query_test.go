package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

func TestANumberIsTakenWithinItsBounds(t *testing.T) {
	for query, want := range map[string]int{"": 7, "n=2": 2, "n=9": 9, "n=05": 5, "m=3": 7} {
		if got, err := numberOf(query); err != nil || got != want {
			t.Errorf("%q is %d (error %v), want %d", query, got, err, want)
		}
	}
	for _, query := range []string{"n=", "n=1", "n=10", "n=-2", "n=2.5", "n=x", "n=+3", "n=99999999999999999999", "n=9223372036854775808"} {
		_, err := numberOf(query)
		var p *Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, "from 2 to 9") {
			t.Errorf("%q: error %v", query, err)
		}
	}
}

func numberOf(query string) (int, error) {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodGet, "/?"+query, nil)
	return Number(c, "n", 7, 2, 9)
}
