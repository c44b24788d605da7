package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/google/uuid"

	"github.com/postbus/postbus/apps/query/model"
)

// chunkBytes is the size at which a chunk is complete. Its last record may exceed it.
const chunkBytes = 1 << 20

// A chunk consists of records: a post, and after it whether its comments are open, its
// comments, its early comments and its stale numbers. A record has a kind (one byte), the
// entity's id (16 bytes), its event's number, its revision and the length of its JSON
// (varints), and the JSON. If a post's records go on in the next chunk, that chunk begins
// with the post again.
//
// Commit 3b4f435 knows only posts and comments. It ignores a snapshot with others, which are
// rare, and replays the log.
const (
	postRecord       = 'P'
	commentingRecord = 'O' // is there once a moderator has decided
	commentRecord    = 'C'
	earlyRecord      = 'E' // has only the id, of the comment
	staleRecord      = 'S' // has only the number
)

var errCutOff = errors.New("a record is cut off")

// encode calls write with the records of the posts, a chunk at a time.
func encode(posts []model.Post, write func(chunk []byte)) {
	var chunk []byte
	for _, p := range posts {
		chunk = appendRecord(chunk, postRecord, p.Entry)
		for kind, e := range recordsOf(p) {
			if len(chunk) >= chunkBytes {
				write(chunk)
				chunk = appendRecord(nil, postRecord, p.Entry)
			}
			chunk = appendRecord(chunk, kind, e)
		}
		if len(chunk) >= chunkBytes {
			write(chunk)
			chunk = nil
		}
	}
	if len(chunk) > 0 {
		write(chunk)
	}
}

// recordsOf are the records that follow a post's own, by kind.
func recordsOf(p model.Post) iter.Seq2[byte, model.Entry] {
	return func(yield func(byte, model.Entry) bool) {
		if p.Commenting.Revision > 0 && !yield(commentingRecord, p.Commenting) {
			return
		}
		for _, c := range p.Comments {
			if !yield(commentRecord, c) {
				return
			}
		}
		for _, id := range p.Early {
			if !yield(earlyRecord, model.Entry{ID: id}) {
				return
			}
		}
		for _, sequence := range p.Stale {
			if !yield(staleRecord, model.Entry{Sequence: sequence}) {
				return
			}
		}
	}
}

func appendRecord(b []byte, kind byte, e model.Entry) []byte {
	b = append(b, kind)
	b = append(b, e.ID[:]...)
	b = binary.AppendUvarint(b, e.Sequence)
	b = binary.AppendUvarint(b, uint64(e.Revision)) //nolint:gosec // never negative
	b = binary.AppendUvarint(b, uint64(len(e.JSON)))
	return append(b, e.JSON...)
}

// decode returns the posts of a chunk. Their JSON shares the chunk's memory.
func decode(chunk []byte) ([]model.Post, error) {
	var posts []model.Post
	for len(chunk) > 0 {
		kind := chunk[0]
		entry, rest, err := readEntry(chunk[1:])
		if err != nil {
			return nil, err
		}
		chunk = rest
		if kind == postRecord {
			posts = append(posts, model.Post{Entry: entry})
			continue
		}
		if len(posts) == 0 {
			return nil, fmt.Errorf("a record of kind %q before any post", kind)
		}
		p := &posts[len(posts)-1]
		switch kind {
		case commentingRecord:
			p.Commenting = entry
		case commentRecord:
			p.Comments = append(p.Comments, entry)
		case earlyRecord:
			p.Early = append(p.Early, entry.ID)
		case staleRecord:
			p.Stale = append(p.Stale, entry.Sequence)
		default:
			return nil, fmt.Errorf("a record of kind %q", kind)
		}
	}
	return posts, nil
}

func readEntry(b []byte) (e model.Entry, rest []byte, err error) {
	if len(b) < len(uuid.UUID{}) {
		return e, nil, errCutOff
	}
	e.ID, b = uuid.UUID(b[:16]), b[16:]
	var numbers [3]uint64
	for i := range numbers {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			return e, nil, errCutOff
		}
		numbers[i], b = n, b[used:]
	}
	size := numbers[2]
	if size > uint64(len(b)) {
		return e, nil, errCutOff
	}
	e.Sequence, e.Revision, e.JSON = numbers[0], int(numbers[1]), b[:size:size] //nolint:gosec // as it was written
	return e, b[size:], nil
}
