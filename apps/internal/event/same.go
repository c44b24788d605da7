package event

// SameRequest says whether two events that begin an entity, PostCreated or
// CommentCreated, answer the same request: whether they have the same type and agree
// in all that the client chose. How the client's JSON was written is in neither.
func SameRequest(a, b Event) bool {
	switch {
	case a.Type != b.Type:
		return false
	case a.Post != nil && b.Post != nil:
		return a.Post.Title == b.Post.Title && a.Post.Body == b.Post.Body
	case a.Comment != nil && b.Comment != nil:
		return a.Comment.PostID == b.Comment.PostID && a.Comment.Author == b.Comment.Author && a.Comment.Content == b.Comment.Content
	}
	return false
}
