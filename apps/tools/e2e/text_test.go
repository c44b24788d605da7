package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestACommentIsModeratedAsAReaderSeesIt(t *testing.T) {
	p := shared.createPost(t, "seen")
	statuses, contents := map[string]string{}, map[string]string{}
	for content, status := range map[string]string{
		"or\range":             "rejected", // a carriage return is shown as nothing
		"or\fange":             "rejected",
		"or\u180eange":         "rejected",
		"or\u2065ange":         "rejected",
		"\u202eegnaro":         "rejected", // shown from right to left
		"\u2067\u202eegnaro":   "rejected",
		"0range":               "rejected",
		"\u043er\u0430nge":     "rejected", // Cyrillic
		"vorangegangener Fall": "rejected", // a part of a word, as in the NodeJS example
		"or\u2800ange":         "approved", // shown with a gap
		"egnaro":               "approved",
		"שלום עולם":            "approved",
		"👨‍👩‍👧 🇳🇱 ❤️":          "approved",
	} {
		c := shared.createComment(t, p.ID, content)
		if c.Content != content {
			t.Errorf("%+q became %+q", content, c.Content)
		}
		statuses[c.ID], contents[c.ID] = status, content
	}
	eventually(t, func() error { return settled(shared.App("query"), p.ID, statuses) })
	for _, c := range decode[post](t, want(t, 200, "GET", shared.url("query", "/posts/"+p.ID), "").body).Comments {
		shown := contents[c.ID]
		if statuses[c.ID] == "rejected" {
			shown = ""
		}
		if c.Reason != "" || c.Content != shown {
			t.Errorf("%+q is shown as %+v", contents[c.ID], c)
		}
	}
}

func TestTextThatShowsNothingIsNoText(t *testing.T) {
	p := shared.createPost(t, "👩‍🚀 \u200f שלום \u200b")
	if p.Title != "👩‍🚀 \u200f שלום \u200b" {
		t.Errorf("the title is %+q", p.Title)
	}
	comments := shared.url("comments", "/posts/"+p.ID+"/comments")
	for _, blank := range []string{"\u200b", "\u00ad", "   ", "\u2800", "\u3164", "\u202e\u2066", "\x01", "\ufe0f"} {
		for field, r := range map[string]response{
			"title":   want(t, 422, "POST", shared.url("posts", "/posts/create"), jsonOf(t, map[string]string{"title": blank, "body": "x"})),
			"content": want(t, 422, "POST", comments, jsonOf(t, map[string]string{"content": blank})),
		} {
			if !strings.Contains(string(r.body), "must not be empty") || !strings.Contains(string(r.body), field) {
				t.Errorf("%s %+q: %s", field, blank, r)
			}
		}
		r := want(t, 201, "POST", comments, jsonOf(t, map[string]string{"content": "by nobody", "author": blank}))
		var members map[string]any
		if err := json.Unmarshal(r.body, &members); err != nil {
			t.Fatal(err)
		}
		if author, given := members["author"]; given {
			t.Errorf("author %+q: there is one, %+q", blank, author)
		}
		body := decode[post](t, want(t, 201, "POST", shared.url("posts", "/posts/create"), jsonOf(t, map[string]string{"title": "x", "body": blank})).body).Body
		if body != "" {
			t.Errorf("body %+q: there is one, %+q", blank, body)
		}
	}
}

// Version 3b4f435 accepts such texts, and runs beside a new version during an upgrade.
// Their events must be handled like any others.
func TestAnEventWithTextThatShowsNothingIsTaken(t *testing.T) {
	raw := func(topic string, edit func(data map[string]any)) (message, id string) {
		var event map[string]any
		if err := json.Unmarshal([]byte(rawEvent(t, topic)), &event); err != nil {
			t.Fatal(err)
		}
		data, _ := event["data"].(map[string]any)
		edit(data)
		return jsonOf(t, event), fmt.Sprint(data["id"])
	}
	message, postID := raw("PostCreated", func(data map[string]any) { data["title"], data["body"] = "\u200b", "\u2800" })
	shared.put(t, "PostCreated", message)
	message, commentID := raw("CommentCreated", func(data map[string]any) {
		data["postId"], data["content"], data["author"] = postID, "\u00ad", "  "
	})
	shared.put(t, "CommentCreated", message)
	eventually(t, func() error { return settled(shared.App("query"), postID, map[string]string{commentID: "approved"}) })
	p := decode[post](t, want(t, 200, "GET", shared.url("query", "/posts/"+postID), "").body)
	if p.Title != "\u200b" || p.Body != "\u2800" || p.Comments[0].Content != "\u00ad" || p.Comments[0].Author != "  " {
		t.Errorf("they are shown as %+v", p)
	}
}
