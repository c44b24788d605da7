// Package repairs counts what a service mends: what the bus lost, what an emptied store lacks,
// and what a service that is far behind has not received. On a healthy bus, with a store that
// loses nothing and a service that keeps up, all counts are 0.
package repairs

import (
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"
)

// Path is the route of the counts, on the app channel.
const Path = "/repairs"

// Kind is a kind of repair.
type Kind string

// The kinds of repairs.
const (
	// PublishedAgain counts events of commands that the log did not get from the bus, and that
	// were put there and published again.
	PublishedAgain Kind = "published-again"
	// Adopted counts events in the journals of dead processes that another process took
	// over, and that the log did not have.
	Adopted Kind = "adopted"
	// GivenUp counts events of commands that eventlog refused. Each is a dead letter.
	GivenUp Kind = "given-up"
	// Effect counts events in the log whose effect was not in the store.
	Effect Kind = "effect"
	// Reaction counts events in the log whose reaction was not in the log.
	Reaction Kind = "reaction"
	// GivenBack counts events of the log that its store had lost, and that eventlog, or the service
	// that had published them, gave back from its memory.
	GivenBack Kind = "given-back"
	// DeadLettered counts events in the log that the service can never take.
	DeadLettered Kind = "dead-lettered"
)

var kinds = []Kind{PublishedAgain, Adopted, GivenUp, Effect, Reaction, GivenBack, DeadLettered}

// Counts are the repairs of one process since it started. They are safe for concurrent
// use.
type Counts struct {
	mu    sync.Mutex
	kinds map[Kind]int
}

// New returns counts of 0.
func New() *Counts { return &Counts{kinds: map[Kind]int{}} }

// Add counts n repairs.
func (c *Counts) Add(kind Kind, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[kind] += n
}

// All returns every kind with its count.
func (c *Counts) All() map[Kind]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[Kind]int, len(kinds))
	for _, kind := range kinds {
		all[kind] = c.kinds[kind]
	}
	return all
}

// Serve answers with the counts as JSON.
func (c *Counts) Serve(g *gin.Context) { g.JSON(http.StatusOK, c.All()) }
