package main

import (
	"encoding/json"
	"testing"

	"github.com/postbus/postbus/apps/internal/event"
)

// What is compared over size are pages of one length: at each size the first page
// is full, and so is the one in the middle.
func TestTheComparedPagesAreFullAtEverySize(t *testing.T) {
	f := &filler{random: 1}
	commented := map[string]int{}
	for _, goal := range []int{fewComments, 10_000, 20_000} {
		f.goal = goal
		for f.comments < goal {
			value, err := f.segment()
			if err != nil {
				t.Fatal(err)
			}
			f.segments++
			count(t, value, commented)
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

// count counts a segment's comments by post.
func count(t *testing.T, segment []byte, commented map[string]int) {
	t.Helper()
	events, err := eventsOf(segment)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Type != event.CommentCreated {
			continue
		}
		var c event.Comment
		if err := json.Unmarshal(e.Data, &c); err != nil {
			t.Fatal(err)
		}
		commented[c.PostID]++
	}
}
