package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
	"github.com/postbus/postbus/apps/internal/state"
)

const (
	// commentsPerPost is how many comments there are for one post.
	commentsPerPost = 50
	// pageOfPosts is how many posts the first page has.
	pageOfPosts = 20
	// postsCommented is how many of the newest posts are commented at any time, at most.
	postsCommented = 1000
	// inFlight is how many comments are under way at any time, so that the events of
	// comments mix in the log.
	inFlight = 100
	// fillAtOnce segments are written by one call, fillParallel calls at a time.
	fillAtOnce, fillParallel = 16, 3
)

// filler writes events straight into the event log's store, as another replica of
// eventlog would. It writes full segments only, so the log's length stays a multiple of
// theirs.
type filler struct {
	store    state.Store
	query    state.Store // of query's snapshots
	origin   eventlog.Origin
	segments int
	posts    []string
	comments int
	goal     int // of comments
	turn     int // of the newest posts: which was commented last
	// following are the next events of the comments in flight, the oldest first.
	following []follows
	random    uint64
}

// follows is an event of a comment that is still to be made.
type follows struct {
	what    event.Type
	comment event.Comment
	trace   string
}

func newFiller(ctx context.Context, s *stack) (*filler, error) {
	store, err := storeOf(ctx, s, "eventlog")
	if err != nil {
		return nil, err
	}
	query, err := storeOf(ctx, s, "query")
	if err != nil {
		return nil, err
	}
	items, err := store.Get(ctx, eventlog.OriginKey)
	if err != nil {
		return nil, err
	}
	origin, err := eventlog.ParseOrigin(items[0].Value)
	if err != nil {
		return nil, err
	}
	return &filler{store: store, query: query, origin: origin, random: 1}, nil
}

// shown waits until query shows the written events and has saved its snapshot, so that no
// snapshot is saved during a measurement.
func (f *filler) shown(ctx context.Context, s *stack) error {
	if err := s.awaitSequence(ctx, f.events(), 2*time.Minute); err != nil {
		return err
	}
	return s.awaitSnapshot(ctx, f.query, f.events())
}

// events is the number of written events.
func (f *filler) events() uint64 { return uint64(f.segments) * eventlog.SegmentSize } //nolint:gosec // never negative

// fill writes until there are at least that many comments.
func (f *filler) fill(ctx context.Context, comments int) error {
	f.goal = comments
	return f.write(ctx, func() bool { return f.comments >= comments })
}

// fillEvents writes until there are at least that many events.
func (f *filler) fillEvents(ctx context.Context, events uint64) error {
	f.goal = int(events / eventsPerComment) //nolint:gosec // far from the bound
	return f.write(ctx, func() bool { return f.events() >= events })
}

func (f *filler) write(ctx context.Context, done func() bool) error {
	said := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillParallel)
	for !done() && ctx.Err() == nil {
		var items []state.Item
		for len(items) < fillAtOnce && !done() {
			value, err := f.segment()
			if err != nil {
				return err
			}
			items = append(items, state.Item{Key: f.origin.Key(f.segments), Value: value})
			f.segments++
		}
		g.Go(func() error { return f.store.Swap(ctx, items...) })
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			say("  filling the log: %d comments", f.comments)
		}
	}
	return g.Wait()
}

// segment makes the next segment's value.
func (f *filler) segment() ([]byte, error) {
	events := make([]event.Event, eventlog.SegmentSize)
	for i := range events {
		var err error
		if events[i], err = f.event(); err != nil {
			return nil, err
		}
	}
	full, _, err := (&eventlog.Segment{Number: f.segments}).With(events)
	if err != nil {
		return nil, err
	}
	return full.Encode(), nil
}

// event makes the next event: a post, or one of the three events of a comment, as the
// services publish them (apps/comments, apps/moderation).
func (f *filler) event() (event.Event, error) {
	now := time.Now().UTC()
	if len(f.following) >= inFlight {
		next := f.following[0]
		f.following = f.following[1:]
		if next.what == event.CommentUpdated {
			return event.OfComment(next.what, "comments", next.comment, next.comment.CreatedAt, next.trace)
		}
		next.comment.Status, next.comment.Revision = event.Approved, 2
		f.following = append(f.following, follows{event.CommentUpdated, next.comment, next.trace})
		return event.OfComment(next.what, "moderation", next.comment, next.comment.CreatedAt, next.trace)
	}
	if len(f.posts) < f.postsDue() {
		p := event.Post{ID: event.NewID(), Title: "Post " + strconv.Itoa(len(f.posts)), CreatedAt: now, Revision: 1}
		f.posts = append(f.posts, p.ID)
		return event.OfPost(event.PostCreated, "posts", p, now, f.trace())
	}
	c := event.Comment{ID: event.NewID(), PostID: f.somePost(), Content: text, Status: event.Pending, CreatedAt: now, Revision: 1}
	f.comments++
	trace := f.trace()
	f.following = append(f.following, follows{event.CommentModerated, c, trace})
	return event.OfComment(event.CommentCreated, "comments", c, now, trace)
}

// ending reports whether the rest of the comments goes to the newest 20 posts, so that
// the first page has the same length at every size.
func (f *filler) ending() bool { return f.goal-f.comments <= pageOfPosts*commentsPerPost }

// postsDue is the number of posts before the next comment.
func (f *filler) postsDue() int {
	if f.ending() {
		return max(pageOfPosts, f.goal/commentsPerPost)
	}
	return max(pageOfPosts, f.comments/commentsPerPost+1)
}

// somePost returns each of the newer half of the posts in turn, at most 1,000. So two
// successive comments are never on one post, and the older half gets no more comments.
func (f *filler) somePost() string {
	newest := max(pageOfPosts, min(postsCommented, len(f.posts)/2))
	if f.ending() {
		newest = pageOfPosts
	}
	f.turn = (f.turn + 1) % newest
	return f.posts[len(f.posts)-1-f.turn]
}

// next is Knuth's MMIX generator. It gives the same numbers in every run.
func (f *filler) next() uint64 {
	f.random = f.random*6364136223846793005 + 1442695040888963407
	return f.random
}

// trace is a traceparent (W3C Trace Context, section 3.2), which hardly compresses. All
// events of one comment have the same one.
func (f *filler) trace() string {
	return fmt.Sprintf("00-%016x%016x-%016x-00", f.next(), f.next(), f.next())
}
