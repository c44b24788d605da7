package comments

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/identity"
	"github.com/postbus/postbus/apps/internal/state"
	"github.com/postbus/postbus/apps/internal/web"
)

const (
	receiptKeyKey  = "receipt-key"
	receiptKeySize = 32
	// receiptKeyFor is how long the key is not read again, also after a read that failed. Another
	// replica, which has just started, makes a new one if the store has lost it.
	receiptKeyFor = time.Minute
)

// receipts make and check what shows that a guest wrote a comment: the HMAC-SHA256 of the
// comment's id, by a key that the replicas share in the store. So a repeated request gets the
// receipt again. If the store loses the key, a process that knows it gives it back. If none does, no
// comment is lost: its guest then sees of it what all readers see.
type receipts struct {
	store state.Store
	now   func() time.Time

	mu sync.Mutex
	// key is the value in the store as it was last read, or nil.
	key    receiptKey
	readAt time.Time
}

type receiptKey []byte

// receipt is that of a comment.
func (k receiptKey) receipt(id string) string {
	mac := hmac.New(sha256.New, k)
	_, _ = mac.Write([]byte(id)) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sharedKey returns the key. A key that is known is read again by one request in receiptKeyFor; the
// others go on with it, and so does that one while the store can't be asked.
func (r *receipts) sharedKey(ctx context.Context) (receiptKey, error) {
	r.mu.Lock()
	known, isRecent := r.key, r.now().Sub(r.readAt) < receiptKeyFor
	if known != nil && !isRecent {
		r.readAt = r.now()
	}
	r.mu.Unlock()
	if isRecent {
		return known, nil
	}
	key := known
	if key == nil {
		key = newReceiptKey()
	}
	kept := state.Keep(ctx, r.store, state.Item{Key: receiptKeyKey, Value: key})[receiptKeyKey]
	switch {
	case kept.Err != nil && known == nil:
		return nil, kept.Err
	case kept.Err != nil:
		slog.WarnContext(ctx, "the key of receipts can't be read again", "error", kept.Err)
		return known, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key, r.readAt = kept.Value, r.now()
	return r.key, nil
}

// newReceiptKey makes a key at random, as a JSON string.
func newReceiptKey() receiptKey {
	key := make([]byte, receiptKeySize)
	_, _ = rand.Read(key) // never fails
	return receiptKey(`"` + base64.StdEncoding.EncodeToString(key) + `"`)
}

// isAuthor says whether a request is its author's: of the person who is signed in, or with the
// receipt of a guest.
func (s *Service) isAuthor(ctx context.Context, c *gin.Context, comment *event.Comment) (bool, error) {
	if comment.AuthorID != "" {
		return comment.AuthorID == identity.Of(c).Subject, nil
	}
	given := c.GetHeader(web.Receipt)
	if given == "" {
		return false, nil
	}
	key, err := s.receipts.sharedKey(ctx)
	return err == nil && hmac.Equal([]byte(given), []byte(key.receipt(comment.ID))), err
}
