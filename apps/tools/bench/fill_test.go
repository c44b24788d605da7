package main

import (
	"strconv"
	"testing"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// Rates over the size of the log are compared for pages of one length. So the first page
// and the middle page must be full, however large the log is.
func TestTheComparedPagesAreFull(t *testing.T) {
	f := &filler{}
	commented := map[string]int{}
	for _, goal := range []int{fewComments, 10_000, 100_000, manyComments} {
		f.goal = goal
		for f.comments < goal+eventlog.SegmentSize/eventsPerComment { // the last segment is filled, too
			if len(f.posts) < f.postsDue() {
				f.posts = append(f.posts, strconv.Itoa(len(f.posts)))
				continue
			}
			commented[f.somePost()]++
			f.comments++
		}
		if want := goal / commentsPerPost; len(f.posts) != want {
			t.Errorf("%d comments are on %d posts, not %d", goal, len(f.posts), want)
		}
		pages := map[string][]string{"first": f.posts[len(f.posts)-pageOfPosts:], "middle": f.posts[len(f.posts)/2-pageOfPosts/2 : len(f.posts)/2]}
		for page, posts := range pages {
			for _, post := range posts {
				if commented[post] < commentsPerPost {
					t.Errorf("with %d comments, a post of the %s page has %d, not %d", goal, page, commented[post], commentsPerPost)
				}
			}
		}
	}
}
