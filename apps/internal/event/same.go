package event

import (
	"crypto/sha256"
	"encoding/hex"
)

// Contradicts reports whether two events cannot both be true. They carry versions of one
// entity that differ in a field that no revision changes, or in any field at the same
// revision.
func Contradicts(a, b Event) bool {
	switch {
	case a.Post != nil && b.Post != nil:
		return a.Post.Contradicts(*b.Post)
	case a.Comment != nil && b.Comment != nil:
		return a.Comment.Contradicts(*b.Comment)
	case a.Policy != nil && b.Policy != nil:
		return a.Policy.Contradicts(*b.Policy)
	case a.Commenting != nil && b.Commenting != nil:
		return a.Commenting.Contradicts(*b.Commenting)
	case a.Blocking != nil && b.Blocking != nil:
		return a.Blocking.Contradicts(*b.Blocking)
	}
	return false
}

// SameRequest reports whether two events that begin an entity, PostCreated or
// CommentCreated, answer the same request. They have the same type and agree in all that
// the client chose. The spacing and order of the client's JSON do not matter.
func SameRequest(a, b Event) bool {
	switch {
	case a.Type != b.Type:
		return false
	case a.Post != nil && b.Post != nil:
		return a.Post.chosen() == b.Post.chosen()
	case a.Comment != nil && b.Comment != nil:
		return a.Comment.chosen() == b.Comment.chosen()
	}
	return false
}

// Digest is the SHA-256 of an entity's encoded form, in hexadecimal, for stores that do
// not need the entity itself. Two versions with the same revision contradict each other
// exactly if their digests differ.
func Digest[Entity Post | Comment](entity *Entity) (string, error) {
	encoded, err := Marshal(entity)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}
