package world

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

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

// startReading has some readers look at posts and comments now and then.
func (u *users) startReading() {
	for i := range readersCount {
		u.done.Go(func() { u.readNowAndThen(i) })
	}
	u.done.Go(u.commentOnNothing)
	u.done.Go(u.listComments)
	u.done.Go(u.watchNowAndThen)
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

// commentOnNothing has somebody comment on a post that never was. It must not be accepted.
func (u *users) commentOnNothing() {
	d := newDice(u.world.plan.Seed, "nothing")
	path := "/posts/" + uuid.Must(uuid.NewV7()).String() + "/comments"
	for range 3 {
		time.Sleep(d.between(0, lastCommand))
		header := http.Header{"Content-Type": {"application/json"}}
		res := u.request(d, comments, http.MethodPost, path, header, []byte(`{"content":"Nobody asked for this."}`), nil)
		if res != nil && res.status != http.StatusServiceUnavailable && res.status != http.StatusNotFound {
			u.mu.Lock()
			u.fail("a comment on no post is answered %d: %s", res.status, res.body.Bytes())
			u.mu.Unlock()
		}
	}
}

// listComments has somebody read the comments of a post at the service of the comments.
func (u *users) listComments() {
	d := newDice(u.world.plan.Seed, "lists")
	for range readsEach {
		time.Sleep(d.between(0, 2*mended/readsEach))
		post, known := u.somePost(d)
		if !known {
			continue
		}
		path := "/posts/" + post + "/comments"
		res := u.request(d, comments, http.MethodGet, path, http.Header{}, nil, nil)
		if res == nil || res.status == http.StatusServiceUnavailable {
			continue
		}
		var list []entity
		err := json.Unmarshal(res.body.Bytes(), &list)
		u.mu.Lock()
		if res.status != http.StatusOK || err != nil {
			u.fail("GET %s is answered %d: %s", path, res.status, res.body.Bytes())
		}
		u.lists = append(u.lists, list...)
		u.mu.Unlock()
	}
}

// somePost is the id of a post that was answered 201.
func (u *users) somePost(d dice) (id string, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []string
	for _, c := range u.world.plan.Commands {
		if id, ok := u.ids[c.ID]; ok && c.On < 0 {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return "", false
	}
	return pick(d, ids...), true
}

// frame is a change that a stream shows.
type frame struct {
	at          logformat.Position
	event, data string
}

// parseFrames returns the changes in a stream, as far as they are whole, and the last id.
func parseFrames(body, lastID string) (frames []frame, _ string, err error) {
	parts := strings.Split(body, "\n\n")
	for _, part := range parts[:len(parts)-1] { // the last one is cut off, or empty
		var f frame
		for line := range strings.SplitSeq(part, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "id":
				lastID = value
				if f.at, err = logformat.ParsePosition(value); err != nil {
					return nil, "", err
				}
			case "event":
				f.event = value
			case "data":
				f.data = value
			}
		}
		if f.event != "" {
			frames = append(frames, f)
		}
	}
	return frames, lastID, nil
}

// watchNowAndThen has a reader follow the stream of all changes from the log's beginning.
// The stream is cut off again and again.
func (u *users) watchNowAndThen() {
	d := newDice(u.world.plan.Seed, "stream")
	u.lastID = "0"
	for range readsEach {
		time.Sleep(d.between(0, mended/readsEach))
		u.watch(d, d.between(100*time.Millisecond, 2*mended/readsEach), d.chance(0.5))
	}
}

// watch follows the stream for a while, at any of query's processes. If the stream is cut
// off, not all of it arrives.
func (u *users) watch(d dice, long time.Duration, isCut bool) {
	p := u.world.services[query].choose(d)
	if p == nil {
		return
	}
	req := newRequest(long, http.MethodGet, "/posts", http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {u.lastID}}, nil)
	defer req.cancel()
	res, err := p.watch(req.Request)
	if err != nil || res.status == http.StatusServiceUnavailable {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	body := res.body.String()
	if res.status != http.StatusOK {
		u.fail("the stream after %s is answered %d: %s", u.lastID, res.status, body)
		return
	}
	if isCut {
		body = body[:d.IntN(len(body)+1)]
	}
	frames, lastID, err := parseFrames(body, u.lastID)
	if err != nil {
		u.fail("the stream after %s: %v", u.lastID, err)
		return
	}
	u.frames, u.lastID = append(u.frames, frames...), lastID
}
