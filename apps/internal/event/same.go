package event

import (
	"crypto/sha256"
	"encoding/hex"
)

// Contradicts says whether two events can't both be true: they carry versions of one
// entity that differ in what no revision changes, or in anything at the same revision.
func Contradicts(a, b Event) bool {
	switch {
	case a.Post != nil && b.Post != nil:
		return a.Post.Contradicts(*b.Post)
	case a.Comment != nil && b.Comment != nil:
		return a.Comment.Contradicts(*b.Comment)
	}
	return false
}

// SameRequest says whether two events that begin an entity, PostCreated or
// CommentCreated, answer the same request: whether they have the same type and agree
// in all that the client chose. How the client's JSON was written is in neither.
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
// not need the entity itself. Two versions with one revision contradict each other
// exactly if their digests differ.
func Digest[Entity Post | Comment](entity *Entity) (string, error) {
	encoded, err := Marshal(entity)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}
