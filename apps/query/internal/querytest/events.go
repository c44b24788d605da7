// Package querytest has what the tests of query's packages share: events and logs of them,
// what readers can see of a model, and a server that plays the event log.
package querytest

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Main runs a package's tests: none may leave a goroutine behind. They make the code warn
// a lot, on purpose, which is shown where LOG_LEVEL is set.
func Main(m *testing.M) {
	if os.Getenv("LOG_LEVEL") == "" {
		slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	}
	goleak.VerifyTestMain(m)
}

// UUID7 is the ith of the UUIDv7s that the tests use; they sort like i.
func UUID7(i int) string {
	at := int64(0x0190_0000_0000) + int64(i)
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", at>>16, at&0xffff, i)
}

// IDs are the UUID7s of the numbers.
func IDs(numbers ...int) []string {
	all := []string{}
	for _, i := range numbers {
		all = append(all, UUID7(i))
	}
	return all
}

var someTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// PostOf is the PostCreated of the ith post at a revision.
func PostOf(i, revision int, title string) event.Event {
	e, err := event.OfPost(event.PostCreated, "posts", event.Post{ID: UUID7(i), Title: title, CreatedAt: someTime, Revision: revision}, someTime, "")
	if err != nil {
		panic(err)
	}
	return e
}

// CommentOf is an event of comment i of a post. The status follows from the type and the
// revision, as it does in the contract.
func CommentOf(t event.Type, i, post, revision int, content string) event.Event {
	c := event.Comment{ID: UUID7(i), PostID: UUID7(post), Content: content, Status: event.Pending, CreatedAt: someTime, Revision: revision}
	if t != event.CommentCreated {
		c.Status = event.Approved
	}
	e, err := event.OfComment(t, "comments", c, someTime, "")
	if err != nil {
		panic(err)
	}
	return e
}

// Posted is the PostCreated of the ith post.
func Posted(i int) event.Event { return PostOf(i, 1, "post "+strconv.Itoa(i)) }

// Commented is the CommentCreated of comment i of a post.
func Commented(i, post int) event.Event {
	return CommentOf(event.CommentCreated, i, post, 1, "comment "+strconv.Itoa(i))
}

// Approved is the CommentUpdated that follows Commented.
func Approved(i, post int) event.Event {
	return CommentOf(event.CommentUpdated, i, post, 2, "comment "+strconv.Itoa(i))
}

// Moderated is the CommentModerated that comes between the two.
func Moderated(i, post int) event.Event {
	return CommentOf(event.CommentModerated, i, post, 2, "comment "+strconv.Itoa(i))
}

// Quarantined is e, a CommentUpdated, with a status that this version does not know.
func Quarantined(e event.Event) event.Event { return Withheld(e, "quarantined") }

// Withheld is e, a CommentUpdated, with a status that is not approved.
func Withheld(e event.Event, status event.Status) event.Event {
	c := *e.Comment
	c.Status, c.Reason = status, "a word"
	held, err := event.OfComment(e.Type, "comments", c, someTime, "")
	if err != nil {
		panic(err)
	}
	return held
}

// Decided is the PostCommentingChanged of the ith post at a revision. At odd revisions its
// comments are closed.
func Decided(i, revision int) event.Event {
	c := event.Commenting{PostID: UUID7(i), Comments: event.Open, Revision: revision, DecidedBy: "a-moderator", DecidedAt: someTime}
	if revision%2 == 1 {
		c.Comments = event.Closed
	}
	e, err := event.OfCommenting("moderation", c, "")
	if err != nil {
		panic(err)
	}
	return e
}

// UnknownOf is an event of a type that this version does not know, about e's entity, as a
// reader of the log gets it.
func UnknownOf(e event.Event) event.Event {
	e.ID, e.Type, e.Post, e.Comment, e.Commenting = event.NewID(), "Reported", nil, nil, nil
	return e
}

// WithRepeats draws a log that has the events of another in the same order, and after each
// some repeats of earlier ones and events of a type that this version does not know. It
// returns after how many events of that log each event of the first one comes, and last how
// many there are.
func WithRepeats(r *rapid.T, log []event.Event) (events []event.Event, before []int) {
	for i := range log {
		before = append(before, len(events))
		events = append(events, log[i])
		for range rapid.IntRange(0, 2).Draw(r, "more") {
			more := log[rapid.IntRange(0, i).Draw(r, "which")]
			if rapid.Bool().Draw(r, "unknown") {
				more = UnknownOf(more)
			}
			events = append(events, more)
		}
	}
	return Numbered(0, events...), append(before, len(events))
}

// Posts are the PostCreated of the posts from, from+1, ... to-1.
func Posts(from, to int) []event.Event {
	var events []event.Event
	for i := from; i < to; i++ {
		events = append(events, Posted(i))
	}
	return events
}

// Numbered are the events as a log that goes on after the number has them.
func Numbered(after int, events ...event.Event) []event.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].Sequence = event.Sequence(after + i + 1) //nolint:gosec // never negative
	}
	return events
}

// SomeLog is a small log with everything in it: posts, comments of all states, and
// comments whose post did not come (yet).
func SomeLog() []event.Event {
	return Numbered(
		0,
		Posted(1), Commented(101, 1), Posted(2), Moderated(101, 1), Approved(101, 1),
		Commented(301, 3), // its post does not come
		Posted(4), Commented(102, 1), Commented(401, 4), Commented(103, 1), Approved(401, 4),
		Commented(501, 5), Posted(5), // its post comes later
		Approved(601, 6), // its post does not come
		Posted(7),
	)
}

// AnyLog draws a log in which entities come in any order and at any revision, also more
// than one event at the same.
func AnyLog(r *rapid.T) []event.Event {
	const posts, comments = 4, 8
	n := rapid.IntRange(0, 40).Draw(r, "events")
	events := make([]event.Event, n)
	for i := range events {
		text, revision := fmt.Sprintf("text <%d>", i), rapid.IntRange(1, 3).Draw(r, "revision")
		switch t := rapid.SampledFrom([]event.Type{event.PostCreated, event.CommentCreated, event.CommentModerated, event.CommentUpdated, event.PostCommentingChanged}).Draw(r, "type"); t {
		case event.PostCreated:
			events[i] = PostOf(rapid.IntRange(0, posts-1).Draw(r, "post"), revision, text)
		case event.PostCommentingChanged:
			events[i] = Decided(rapid.IntRange(0, posts-1).Draw(r, "post"), revision)
		default:
			c := rapid.IntRange(0, comments-1).Draw(r, "comment")
			events[i] = CommentOf(t, 100+c, c%posts, revision, text)
		}
	}
	return Numbered(0, events...)
}

// OneLog is the id of a log.
var OneLog = UUID7(9001)

// OtherLog is the id of another log.
var OtherLog = UUID7(9002)

// OtherEvents are a log with nothing of SomeLog.
func OtherEvents(n int) []event.Event { return Numbered(0, Posts(5000, 5000+n)...) }

// PositionIn is the position of the event with the number in a log.
func PositionIn(id string, log []event.Event, number int) eventlog.Position {
	p := eventlog.Position{Sequence: uint64(number), Log: id} //nolint:gosec // never negative
	if number > 0 {
		p.Event = log[number-1].ID
	}
	return p
}
