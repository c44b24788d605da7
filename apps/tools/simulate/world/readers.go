package world

import (
	"fmt"
	"net/http"
	"time"

	logformat "github.com/postbus/postbus/apps/internal/eventlog"
)

// Readers of a history.
const (
	readersCount = 2
	readsEach    = 6
	// allPosts is the path of a page that has all posts of a history.
	allPosts = "/posts?limit=100"
)

// read is a page that a reader got.
type read struct {
	at   logformat.Position
	page []byte
}

// startReading has some readers look at all posts now and then.
func (u *users) startReading() {
	for i := range readersCount {
		u.done.Go(func() { u.readNowAndThen(i) })
	}
}

func (u *users) readNowAndThen(reader int) {
	d := newDice(u.world.plan.Seed, fmt.Sprintf("reader %d", reader))
	var seen logformat.Position // what the reader saw last
	for range readsEach {
		time.Sleep(d.between(0, 2*mended/readsEach))
		path := allPosts
		if seen.Sequence > 0 && d.chance(0.7) {
			path += fmt.Sprintf("&min_sequence=%s", seen)
		}
		res := u.request(d, query, http.MethodGet, path, http.Header{}, nil, nil)
		if res == nil || res.status == http.StatusServiceUnavailable {
			continue
		}
		at, err := logformat.FromHeaders(res.header)
		u.mu.Lock()
		switch {
		case res.status != http.StatusOK:
			u.fail("GET %s is answered %d: %s", path, res.status, res.body.Bytes())
		case err != nil:
			u.fail("GET %s: %v", path, err)
		case path != allPosts && at.Sequence < seen.Sequence:
			u.fail("GET %s goes back to %s", path, at)
		default:
			u.reads = append(u.reads, &read{at, res.body.Bytes()})
			seen = at
		}
		u.mu.Unlock()
	}
}
