package repairs_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/repairs"
)

// served are the counts as GET /repairs answers.
func served(t *testing.T, c *repairs.Counts) map[string]int {
	t.Helper()
	engine := gin.New()
	engine.GET(repairs.Path, c.Serve)
	res := httptest.NewRecorder()
	engine.ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/repairs", http.NoBody))
	var counts map[string]int
	if err := json.Unmarshal(res.Body.Bytes(), &counts); err != nil || res.Code != http.StatusOK {
		t.Fatalf("answered %d %s (error %v)", res.Code, res.Body, err)
	}
	return counts
}

// An operator sees that nothing was repaired, and not that nothing is known.
func TestEveryKindIsServedFromZeroOn(t *testing.T) {
	c := repairs.New()
	want := map[string]int{"published-again": 0, "adopted": 0, "given-up": 0, "effect": 0, "reaction": 0, "given-back": 0, "dead-lettered": 0}
	if got := served(t, c); !reflect.DeepEqual(got, want) {
		t.Errorf("served are %v", got)
	}
	c.Add(repairs.Adopted, 2)
	c.Add(repairs.Effect, 1)
	c.Add(repairs.Adopted, 3)
	want["adopted"], want["effect"] = 5, 1
	if got := served(t, c); !reflect.DeepEqual(got, want) {
		t.Errorf("served are %v", got)
	}
}

func TestRepairsAreCountedConcurrently(t *testing.T) {
	c := repairs.New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				c.Add(repairs.Reaction, 1)
				_ = c.All()
			}
		})
	}
	all.Wait()
	if got := c.All()[repairs.Reaction]; got != 800 {
		t.Errorf("%d repairs", got)
	}
}
