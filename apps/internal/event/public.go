package event

import "time"

// PublicComment is a comment as its readers may see it. Of one that is not approved it has
// the id and the status, and nothing else: its text, its author's name and why it was
// rejected are its author's business alone. Who decided is never in it.
type PublicComment struct {
	ID       string `json:"id"`
	PostID   string `json:"postId,omitempty"`
	Author   string `json:"author,omitempty"`
	AuthorID string `json:"authorId,omitempty"` // empty for a guest, who chose the name
	Content  string `json:"content,omitempty"`
	Status   Status `json:"status"`
	// Reason is why it was rejected or held. Only its author sees that.
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	// Revision is that of the comment, or 0.
	Revision int `json:"revision,omitzero"`
}

// Public is the comment as its readers may see it.
func (c Comment) Public() PublicComment {
	if c.Status != Approved {
		return PublicComment{ID: c.ID, Status: c.Status}
	}
	c.Reason = ""
	return c.ForAuthor()
}

// ForAuthor is the comment as its own author may see it, whatever was decided.
func (c Comment) ForAuthor() PublicComment {
	return PublicComment{
		ID: c.ID, PostID: c.PostID, Author: c.Author, AuthorID: c.AuthorID, Content: c.Content, Status: c.Status,
		Reason: c.Reason, CreatedAt: c.CreatedAt, Revision: c.Revision,
	}
}
