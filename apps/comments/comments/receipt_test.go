package comments

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/state/statetest"
	"github.com/postbus/postbus/apps/internal/web"
)

// written is what somebody gets who has written a comment.
type written struct {
	event.Comment
	Receipt string
}

// write has somebody comment, and then moderation reject it.
func (s *site) write(t *testing.T, token, post, key string) (w written) {
	t.Helper()
	res := s.doAs(token, post, key, `{"content":"the text","author":"Ann"}`)
	if err := json.Unmarshal(res.Body.Bytes(), &w); err != nil || res.Code != http.StatusCreated {
		t.Fatalf("answered %d %s", res.Code, res.Body)
	}
	rejected := w.Comment
	rejected.Status, rejected.Reason, rejected.Revision, rejected.DecidedBy = event.Rejected, "a word", 3, "a-moderator"
	e, err := event.OfComment(event.CommentModerated, "moderation", rejected, time.Now().UTC(), "")
	if err != nil {
		t.Fatal(err)
	}
	wantErrors(t, s.merge(t.Context(), []event.Event{e}), nil)
	return w
}

// read reads a comment as somebody, who may have a receipt.
func (s *site) read(w written, token, receipt string) *httptest.ResponseRecorder {
	req, res := httptest.NewRequest(http.MethodGet, "/posts/"+w.PostID+"/comments/"+w.ID, nil), httptest.NewRecorder()
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if receipt != "" {
		req.Header.Set(web.Receipt, receipt)
	}
	s.handler.ServeHTTP(res, req)
	return res
}

func TestItsAuthorAloneSeesWhatWasRejected(t *testing.T) {
	post := event.NewID()
	s := newSite(t, post)
	guests, other, persons := s.write(t, "", post, ""), s.write(t, "", post, ""), s.write(t, "reader", post, "")
	if persons.Receipt != "" || guests.Receipt == "" || guests.Receipt == other.Receipt {
		t.Errorf("the receipts are %q, %q and %q", persons.Receipt, guests.Receipt, other.Receipt)
	}
	for name, test := range map[string]struct {
		of             written
		token, receipt string
		isSeen         bool
	}{
		"a guest with the receipt":              {guests, "", guests.Receipt, true},
		"somebody signed in, with the receipt":  {guests, "reader", guests.Receipt, true}, // who has signed in since
		"a guest without it":                    {guests, "", "", false},
		"a guest with that of another comment":  {guests, "", other.Receipt, false},
		"a guest with a part of it":             {guests, "", guests.Receipt[:20], false},
		"a moderator":                           {guests, "moderator", "", false}, // moderation answers them
		"its author":                            {persons, "reader", "", true},
		"somebody else":                         {persons, "author", "", false},
		"a guest":                               {persons, "", "", false},
		"a guest with any receipt for a person": {persons, "", guests.Receipt, false},
	} {
		res := s.read(test.of, test.token, test.receipt)
		body := res.Body.String()
		isSeen := strings.Contains(body, "the text") && strings.Contains(body, `"reason":"a word"`)
		if res.Code != http.StatusOK || isSeen != test.isSeen || strings.Contains(body, "a-moderator") {
			t.Errorf("%s: answered %d %s", name, res.Code, body)
		}
		if !isSeen && (strings.Contains(body, "text") || strings.Contains(body, "Ann") || strings.Contains(body, "word")) {
			t.Errorf("%s sees %s", name, body)
		}
		if vary, cache := res.Header().Get("Vary"), res.Header().Get("Cache-Control"); vary != "Authorization, Receipt" || cache != map[bool]string{true: "private, no-store", false: "no-cache"}[isSeen] {
			t.Errorf("%s: Vary is %q, and Cache-Control %q", name, vary, cache)
		}
	}
}

// A repeat has the receipt of the first request, at whatever replica.
func TestARepeatHasTheReceiptAgain(t *testing.T) {
	post := event.NewID()
	s := newSite(t, post)
	first := s.write(t, "", post, "key")
	s.start(t, s.journal, post)
	if again := s.write(t, "", post, "key"); again.ID != first.ID || again.Receipt != first.Receipt {
		t.Errorf("the first has %q, the repeat %q", first.Receipt, again.Receipt)
	}
}

// withoutReceiptKey has the store refuse calls for the key of receipts.
func withoutReceiptKey(_ context.Context, c statetest.Call) error {
	if slices.Contains(c.Keys(), receiptKeyKey) {
		return errors.New("away")
	}
	return nil
}

// A 201 without one would differ from that of its repeat.
func TestAGuestsCommentThatCanHaveNoReceiptIsNotCommitted(t *testing.T) {
	post := event.NewID()
	s := newSite(t, post)
	s.store.Before(withoutReceiptKey)
	if res := s.doAs("", post, "key", `{"content":"the text"}`); res.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
	if left := s.journal.Events(); len(left) > 0 {
		t.Errorf("committed %v", left)
	}
	persons := s.write(t, "reader", post, "")
	s.store.Before(nil)
	guests := s.write(t, "", post, "key")
	s.start(t, s.journal, post) // does not know the key of receipts
	s.store.Before(withoutReceiptKey)
	for _, w := range []written{persons, guests} {
		if res := s.read(w, "", "any"); (res.Code == http.StatusServiceUnavailable) != (w.AuthorID == "") {
			t.Errorf("answered %d %s", res.Code, res.Body)
		}
	}
	s.store.Before(nil)
	if res := s.read(guests, "", guests.Receipt); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "the text") {
		t.Errorf("answered %d %s", res.Code, res.Body)
	}
}

// An emptied store gets the key back, and the replicas agree on one within a minute.
func TestTheKeyOfReceiptsIsReadAgain(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	of := func(r *receipts) string {
		t.Helper()
		key, err := r.sharedKey(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return key.receipt("id")
	}
	one := &receipts{store: statetest.New(), now: clock}
	first := of(one)
	one.store = statetest.New()
	now = now.Add(receiptKeyFor)
	if of(one) != first || of(&receipts{store: one.store, now: clock}) != first {
		t.Error("the emptied store did not get the key back")
	}
	away := statetest.New()
	away.Before(withoutReceiptKey)
	one.store = away
	if now = now.Add(receiptKeyFor); of(one) != first {
		t.Error("a key that was known is not, while the store can't be asked")
	}
	one.store = statetest.New()
	other := of(&receipts{store: one.store, now: clock}) // has just started, and was faster
	if now = now.Add(receiptKeyFor - 1); of(one) != first {
		t.Error("the key is read too often")
	}
	if now = now.Add(1); of(one) != other {
		t.Error("the key is not read again")
	}
}
