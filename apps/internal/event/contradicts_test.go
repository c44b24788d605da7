package event

import (
	"reflect"
	"testing"
	"time"
)

// A field that is added to an entity is in one of two groups: a later revision may change
// it, or no revision may.
func TestVersionsContradictEachOtherInWhatNoRevisionChanges(t *testing.T) {
	revised := map[string]bool{
		"Post.Title": false, "Post.Body": false, "Post.CreatedAt": false, "Post.Revision": true,
		"Post.Author": false, "Post.AuthorID": false, "Comment.AuthorID": false,
		"Comment.PostID": false, "Comment.Author": false, "Comment.Content": false, "Comment.CreatedAt": false,
		"Comment.Status": true, "Comment.Reason": true, "Comment.Revision": true,
		"Comment.DecidedBy": true, "Comment.PolicyVersion": true,
	}
	check := func(name string, first, second, later Event) {
		t.Helper()
		mayChange, known := revised[name]
		if !known {
			t.Errorf("%s is new: may a later revision change it?", name)
		}
		if name != "Post.Revision" && name != "Comment.Revision" && (!Contradicts(first, second) || !Contradicts(second, first)) {
			t.Errorf("%s differs at one revision, and that is no contradiction", name)
		}
		if Contradicts(first, later) == mayChange || Contradicts(later, first) == mayChange {
			t.Errorf("%s differs at a later revision, and that is a contradiction: %v", name, !mayChange)
		}
	}
	for i := range reflect.TypeFor[Post]().NumField() {
		p := aPost()
		changeField(t, reflect.ValueOf(&p).Elem().Field(i))
		if p.ID != aPost().ID {
			continue // another post
		}
		first, later := aPost(), p
		later.Revision++
		check("Post."+reflect.TypeFor[Post]().Field(i).Name, Event{Post: &first}, Event{Post: &p}, Event{Post: &later})
	}
	for i := range reflect.TypeFor[Comment]().NumField() {
		c := aComment()
		changeField(t, reflect.ValueOf(&c).Elem().Field(i))
		if c.ID != aComment().ID {
			continue
		}
		first, later := aComment(), c
		later.Revision++
		check("Comment."+reflect.TypeFor[Comment]().Field(i).Name, Event{Comment: &first}, Event{Comment: &c}, Event{Comment: &later})
	}
}

func TestNoContradiction(t *testing.T) {
	p, c := aPost(), aComment()
	elsewhere, otherPost, otherComment := c, p, c
	elsewhere.CreatedAt = c.CreatedAt.In(time.FixedZone("", 3600))
	otherPost.ID, otherPost.Title = commentID, "other"
	otherComment.ID, otherComment.Content = postID, "other"
	for name, pair := range map[string][2]Event{
		"the same post":             {{Post: &p}, {Post: &p}},
		"two posts":                 {{Post: &p}, {Post: &otherPost}},
		"two comments":              {{Comment: &c}, {Comment: &otherComment}},
		"a post and a comment":      {{Post: &p}, {Comment: &c}},
		"the time in another zone":  {{Comment: &c}, {Comment: &elsewhere}},
		"two that carry no entity":  {{}, {}},
		"one that carries a post":   {{Post: &p}, {}},
		"events of different types": {{Type: CommentCreated, Comment: &c}, {Type: CommentUpdated, Comment: &c}},
	} {
		if Contradicts(pair[0], pair[1]) || Contradicts(pair[1], pair[0]) {
			t.Errorf("%s: taken for a contradiction", name)
		}
	}
}

// Stores keep these digests, and compare them with those of redelivered events.
func TestADigestIsThatOfTheEncodedEntity(t *testing.T) {
	p, c := aPost(), aComment()
	post, err := Digest(&p)
	if err != nil || post != "0a33bd23bf1f23e854810613d2f1db20a53363556e7b38576728561c5b1c7e9e" {
		t.Errorf("the post's is %s, error %v", post, err)
	}
	comment, err := Digest(&c)
	if err != nil || comment != "2484ce9aab3256008fef1dbec46c23f64481c9c6eb2b67ff0cabefcdf824b75e" {
		t.Errorf("the comment's is %s, error %v", comment, err)
	}
	c.CreatedAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	if got, err := Digest(&c); err == nil {
		t.Errorf("got %s of what can't be encoded", got)
	}
}

// Two decisions of moderators on one thing at one revision cannot both stand, in any field.
func TestDecisionsOfOneRevisionContradictEachOther(t *testing.T) {
	check := func(name string, first, second, later Event) {
		t.Helper()
		if Contradicts(first, first) || !Contradicts(first, second) || !Contradicts(second, first) {
			t.Errorf("%s differs at one revision, and that is no contradiction", name)
		}
		if Contradicts(first, later) || Contradicts(later, first) {
			t.Errorf("%s differs at a later revision, and that is a contradiction", name)
		}
	}
	for i := range reflect.TypeFor[Policy]().NumField() {
		first, second := aPolicy(), aPolicy()
		changeField(t, reflect.ValueOf(&second).Elem().Field(i))
		later := second
		if later.Revision++; second.Revision == first.Revision {
			check("Policy."+reflect.TypeFor[Policy]().Field(i).Name, Event{Policy: &first}, Event{Policy: &second}, Event{Policy: &later})
		}
	}
	for i := range reflect.TypeFor[Commenting]().NumField() {
		first, second := aCommenting(), aCommenting()
		changeField(t, reflect.ValueOf(&second).Elem().Field(i))
		later := second
		if later.Revision++; second.Revision == first.Revision && second.PostID == first.PostID {
			check("Commenting."+reflect.TypeFor[Commenting]().Field(i).Name, Event{Commenting: &first}, Event{Commenting: &second}, Event{Commenting: &later})
		}
	}
	for i := range reflect.TypeFor[Blocking]().NumField() {
		first, second := aBlocking(), aBlocking()
		changeField(t, reflect.ValueOf(&second).Elem().Field(i))
		later := second
		if later.Revision++; second.Revision == first.Revision && second.Subject == first.Subject {
			check("Blocking."+reflect.TypeFor[Blocking]().Field(i).Name, Event{Blocking: &first}, Event{Blocking: &second}, Event{Blocking: &later})
		}
	}
}
