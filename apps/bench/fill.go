package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state"
)

// What eventlog keeps (apps/eventlog/segment.go): full segments of 128 events, an
// event a line, compressed.
const segmentSize = 128

// Neither fails for these options.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0))
)

func segmentKey(number int) string { return fmt.Sprintf("segment-%08d", number) }

const (
	// commentsPerPost is how many comments there are for one post.
	commentsPerPost = 50
	// pageOfPosts is how many posts the first page has.
	pageOfPosts = 20
	// fillAtOnce segments are written by one call, fillParallel calls at a time.
	fillAtOnce, fillParallel = 16, 3
)

// filler writes events straight into the event log's store, as another replica of
// eventlog would. Only full segments: the log's length stays a multiple of theirs.
type filler struct {
	store    *state.Store
	segments int
	posts    []string
	comments int
	goal     int // of comments
	random   uint64
}

func newFiller(ctx context.Context, s *stack) (*filler, error) {
	store, err := storeOf(ctx, s, "eventlog")
	return &filler{store: store, random: 1}, err
}

// events is how many events were written.
func (f *filler) events() uint64 { return uint64(f.segments) * segmentSize } //nolint:gosec // never negative

// fill writes until there are at least that many comments.
func (f *filler) fill(ctx context.Context, comments int) error {
	f.goal = comments
	said := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillParallel)
	for f.comments < comments && ctx.Err() == nil {
		var items []state.Item
		for len(items) < fillAtOnce && f.comments < comments {
			value, err := f.segment()
			if err != nil {
				return err
			}
			items = append(items, state.Item{Key: segmentKey(f.segments), Value: value})
			f.segments++
		}
		g.Go(func() error { return f.store.Swap(ctx, items...) })
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			say("  filling the log: %d of %d comments", f.comments, comments)
		}
	}
	return g.Wait()
}

// segment makes the next segment's value: a post, and its share of comments on it
// and on others.
func (f *filler) segment() ([]byte, error) {
	var lines [][]byte
	for i := range segmentSize {
		var e event.Event
		var err error
		now := time.Now().UTC()
		if len(f.posts) < pageOfPosts || f.comments >= len(f.posts)*commentsPerPost {
			p := event.Post{ID: event.NewID(), Title: "Post " + strconv.Itoa(len(f.posts)), CreatedAt: now, Revision: 1}
			f.posts = append(f.posts, p.ID)
			e, err = event.OfPost(event.PostCreated, "posts", p, now, f.trace())
		} else {
			c := event.Comment{ID: event.NewID(), PostID: f.somePost(), Content: text, Status: event.Pending, CreatedAt: now, Revision: 1}
			f.comments++
			e, err = event.OfComment(event.CommentCreated, "comments", c, now, f.trace())
		}
		if err != nil {
			return nil, err
		}
		if e.Data, err = asPublished(e.Data); err != nil {
			return nil, err
		}
		e.Sequence = event.Sequence(f.events() + uint64(i) + 1) //nolint:gosec // never negative
		line, err := event.Marshal(e)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return packer.EncodeAll(bytes.Join(lines, []byte(",\n")), nil), nil
}

// asPublished is the data as a sidecar encodes it anew when it publishes an event:
// its members sorted.
func asPublished(data []byte) ([]byte, error) {
	members := map[string]any{}
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

// somePost is one of the newest 1,000 posts, so that comments come in no order; but
// of the newest 20 in the end, so that the first page is as large as any.
func (f *filler) somePost() string {
	if last := 3 * pageOfPosts * commentsPerPost; f.goal-f.comments <= last {
		recent := f.posts[max(0, len(f.posts)-pageOfPosts):]
		return recent[f.comments%len(recent)]
	}
	recent := f.posts[max(0, len(f.posts)-1000):]
	return recent[(f.next()>>33)%uint64(len(recent))]
}

// next is Knuth's MMIX generator: the same at every run.
func (f *filler) next() uint64 {
	f.random = f.random*6364136223846793005 + 1442695040888963407
	return f.random
}

// trace is a traceparent (W3C Trace Context, section 3.2), which every event has
// and which hardly compresses.
func (f *filler) trace() string {
	return fmt.Sprintf("00-%016x%016x-%016x-00", f.next(), f.next(), f.next())
}
