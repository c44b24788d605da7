package event

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// changeField changes the value of a field.
func changeField(t *testing.T, f reflect.Value) {
	t.Helper()
	switch v := f.Addr().Interface().(type) {
	case *string:
		*v += "x"
	case *Status:
		*v += "x"
	case *Openness:
		*v += "x"
	case *json.RawMessage:
		*v = json.RawMessage(`{"x":` + string(append(*v, '1')) + `}`)
	case *int:
		*v++
	case *bool:
		*v = !*v
	case *time.Time:
		*v = v.Add(time.Hour)
	default:
		t.Fatalf("a %s: say here how it is changed", f.Type())
	}
}

// A field that is added to an entity is in one of two groups: fields that the client
// chooses are compared, fields that the service sets are not.
func TestTheSameRequestAgreesInEveryFieldThatTheClientChose(t *testing.T) {
	post := func(p Post) Event { return Event{Type: PostCreated, Post: &p} }
	comment := func(c Comment) Event { return Event{Type: CommentCreated, Comment: &c} }
	chosen := map[string]bool{
		"Post.Title": true, "Post.Body": true, "Post.ID": false, "Post.CreatedAt": false, "Post.Revision": false,
		"Post.Author": false, "Post.AuthorID": true, "Comment.AuthorID": true,
		"Comment.PostID": true, "Comment.Author": true, "Comment.Content": true,
		"Comment.ID": false, "Comment.Status": false, "Comment.Reason": false, "Comment.CreatedAt": false, "Comment.Revision": false,
		"Comment.DecidedBy": false, "Comment.PolicyVersion": false,
	}
	check := func(name string, first, second Event) {
		t.Helper()
		byClient, known := chosen[name]
		if !known {
			t.Errorf("%s is new: who chooses it?", name)
		}
		if SameRequest(first, second) == byClient || SameRequest(second, first) == byClient {
			t.Errorf("%s differs, and the request is taken for the same: %v", name, byClient)
		}
	}
	for i := range reflect.TypeFor[Post]().NumField() {
		p := aPost()
		changeField(t, reflect.ValueOf(&p).Elem().Field(i))
		check("Post."+reflect.TypeFor[Post]().Field(i).Name, post(aPost()), post(p))
	}
	for i := range reflect.TypeFor[Comment]().NumField() {
		c := aComment()
		changeField(t, reflect.ValueOf(&c).Elem().Field(i))
		check("Comment."+reflect.TypeFor[Comment]().Field(i).Name, comment(aComment()), comment(c))
	}
}

// The name of a signed-in person is the issuer's. It may change between two tries of a request.
func TestTheSameRequestMayComeFromAPersonWhoseNameHasChanged(t *testing.T) {
	is := func(author, id string) Event {
		c := aComment()
		c.Author, c.AuthorID = author, id
		return Event{Type: CommentCreated, Comment: &c}
	}
	if !SameRequest(is("Ann", "a1"), is("Ann Lee", "a1")) {
		t.Error("the person's new name makes it another request")
	}
	for name, other := range map[string]Event{"another person": is("Ann", "b2"), "a guest": is("Ann", "")} {
		if SameRequest(is("Ann", "a1"), other) {
			t.Errorf("%s makes the same request", name)
		}
	}
}

// The envelope may differ: it says when and by which service the request was answered.
func TestTheSameRequestMayBeAnsweredByAnotherEvent(t *testing.T) {
	a, err := OfPost(PostCreated, "posts", aPost(), noon, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	later := aPost()
	later.ID, later.CreatedAt = commentID, noon.Add(time.Minute)
	b, err := OfPost(PostCreated, "posts-2", later, noon.Add(time.Minute), "")
	if err != nil {
		t.Fatal(err)
	}
	if !SameRequest(a, b) {
		t.Error("it is taken for another")
	}
}

func TestEventsOfTwoTypesAnswerTwoRequests(t *testing.T) {
	p, c := aPost(), aComment()
	for name, pair := range map[string][2]Event{
		"a post and a comment": {{Type: PostCreated, Post: &p}, {Type: CommentCreated, Comment: &c}},
		"two of one comment":   {{Type: CommentCreated, Comment: &c}, {Type: CommentUpdated, Comment: &c}},
		"without an entity":    {{Type: PostCreated}, {Type: PostCreated}},
		"one without entity":   {{Type: PostCreated, Post: &p}, {Type: PostCreated}},
	} {
		if SameRequest(pair[0], pair[1]) || SameRequest(pair[1], pair[0]) {
			t.Errorf("%s: taken for the same", name)
		}
	}
}
