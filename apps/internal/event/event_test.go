package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Two ids as services make them, the post's a millisecond older.
const (
	postID    = "01936f5e-7a00-7abc-8def-0123456789ab"
	commentID = "01936f5e-7a01-7abc-8def-0123456789ab"
)

var noon = time.Date(2024, 11, 27, 12, 0, 0, 123456789, time.UTC)

func aPost() Post {
	return Post{ID: postID, Title: "A title", Body: "A body", CreatedAt: noon, Revision: 1}
}

func aComment() Comment {
	return Comment{ID: commentID, PostID: postID, Author: "Ann", Content: "Hello", Status: Pending, CreatedAt: noon, Revision: 1}
}

func moderated() Comment {
	c := aComment()
	c.Status, c.Revision = Approved, 2
	return c
}

func aPolicy() Policy {
	return Policy{Rules: json.RawMessage(`{"links":{"action":"hold","most":2}}`), Revision: 2, ChangedBy: "a-moderator", ChangedAt: noon}
}

func aCommenting() Commenting {
	return Commenting{PostID: postID, Comments: Closed, Revision: 1, DecidedBy: "a-moderator", DecidedAt: noon}
}

func aBlocking() Blocking {
	return Blocking{Subject: "a-person", Blocked: true, Revision: 1, DecidedBy: "a-moderator", DecidedAt: noon}
}

// decisions are the events of moderators on anything but a comment.
func decisions(t testing.TB) []Event {
	t.Helper()
	policy, err := OfPolicy("moderation", aPolicy(), "00-a-b-01")
	commenting, err2 := OfCommenting("moderation", aCommenting(), "")
	blocking, err3 := OfBlocking("moderation", aBlocking(), "")
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return []Event{policy, commenting, blocking}
}

// wire is an encoded event. members are set, or removed if nil. Those that start with
// "data." are members of the data.
func wire(t testing.TB, typ Type, members map[string]any) []byte {
	t.Helper()
	var e Event
	var err error
	switch typ {
	case PostCreated:
		e, err = OfPost(typ, "posts", aPost(), noon, "")
	case CommentCreated:
		e, err = OfComment(typ, "comments", aComment(), noon, "")
	case PolicyChanged:
		e, err = OfPolicy("moderation", aPolicy(), "")
	case PostCommentingChanged:
		e, err = OfCommenting("moderation", aCommenting(), "")
	case PersonBlocked:
		e, err = OfBlocking("moderation", aBlocking(), "")
	default:
		e, err = OfComment(typ, "moderation", moderated(), noon, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		of := whole
		if inner, ok := strings.CutPrefix(name, "data."); ok {
			of, name = whole["data"].(map[string]any), inner
		}
		if value == nil {
			delete(of, name)
		} else {
			of[name] = value
		}
	}
	raw, err = json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseTakesWhatServicesPublish(t *testing.T) {
	post, err := OfPost(PostCreated, "posts", aPost(), noon, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	events := []Event{post}
	for typ, c := range map[Type]Comment{CommentCreated: aComment(), CommentModerated: moderated(), CommentUpdated: moderated()} {
		e, err := OfComment(typ, "comments", c, noon, "")
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	events = append(events, decisions(t)...)
	for _, want := range events {
		raw, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(want.Type, raw)
		if err != nil {
			t.Errorf("%s: %v", want.Type, err)
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s came back as\n%+v, not\n%+v", want.Type, got, want)
		}
		entities := 0
		for _, is := range []bool{got.Post != nil, got.Comment != nil, got.Policy != nil, got.Commenting != nil, got.Blocking != nil} {
			if is {
				entities++
			}
		}
		if entities != 1 {
			t.Errorf("%s: %d entities; exactly one is expected", want.Type, entities)
		}
	}
}

// The names on the wire are the contract: other readers of the bus rely on them.
func TestTheWireFormatIsCloudEventsJSON(t *testing.T) {
	e, err := OfComment(CommentModerated, "moderation", moderated(), noon, "00-a-b-01")
	if err != nil {
		t.Fatal(err)
	}
	e.Sequence = 7
	raw, err := Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"` + IDOf(CommentModerated, commentID, 2) + `","source":"/moderation","type":"CommentModerated",` +
		`"subject":"` + commentID + `","time":"2024-11-27T12:00:00.123456789Z","datacontenttype":"application/json",` +
		`"sequence":"00000000000000000007","traceparent":"00-a-b-01","data":{"author":"Ann","content":"Hello","createdAt":"2024-11-27T12:00:00.123456789Z","id":"` + commentID + `",` +
		`"postId":"` + postID + `","revision":2,"status":"approved"}}`
	if string(raw) != want {
		t.Errorf("got\n%s, want\n%s", raw, want)
	}
	for i, data := range []string{
		`{"changedAt":"2024-11-27T12:00:00.123456789Z","changedBy":"a-moderator","revision":2,"rules":{"links":{"action":"hold","most":2}}}`,
		`{"comments":"closed","decidedAt":"2024-11-27T12:00:00.123456789Z","decidedBy":"a-moderator","postId":"` + postID + `","revision":1}`,
		`{"blocked":true,"decidedAt":"2024-11-27T12:00:00.123456789Z","decidedBy":"a-moderator","revision":1,"subject":"a-person"}`,
	} {
		if e := decisions(t)[i]; string(e.Data) != data || e.Subject != []string{PolicyID, postID, "a-person"}[i] {
			t.Errorf("%s of %s has\n%s, want\n%s", e.Type, e.Subject, e.Data, data)
		}
	}
	c := moderated()
	c.Status, c.Revision, c.DecidedBy, c.PolicyVersion = Held, FirstByModerator, "a-moderator", 4
	if e, err = OfComment(CommentModerated, "moderation", c, noon, ""); err != nil || !strings.Contains(string(e.Data), `,"decidedBy":"a-moderator",`) || !strings.Contains(string(e.Data), `,"policyVersion":4,`) {
		t.Errorf("a moderator's decision has\n%s, error %v", e.Data, err)
	}
}

func TestParseRefuses(t *testing.T) {
	type members = map[string]any
	for name, test := range map[string]struct {
		typ     Type
		members members
		says    string
	}{
		"a specversion that is missing":         {PostCreated, members{"specversion": nil}, "specversion"},
		"another specversion":                   {PostCreated, members{"specversion": "0.3"}, "specversion"},
		"a type that is missing":                {PostCreated, members{"type": nil}, "no type"},
		"an unknown type":                       {PostCreated, members{"type": "PostDeleted"}, "unknown type"},
		"a type in another case":                {PostCreated, members{"type": "postcreated"}, "unknown type"},
		"another topic's type":                  {CommentModerated, members{"type": "CommentUpdated"}, "on topic"},
		"an id that is missing":                 {PostCreated, members{"id": nil}, "id of 0 bytes"},
		"an empty id":                           {PostCreated, members{"id": ""}, "id of 0 bytes"},
		"an id of 256 bytes":                    {PostCreated, members{"id": strings.Repeat("x", 256)}, "id of 256 bytes"},
		"an id of 128 characters in 256 bytes":  {PostCreated, members{"id": strings.Repeat("é", 128)}, "id of 256 bytes"},
		"an id that is a number":                {PostCreated, members{"id": 7}, "not a CloudEvent"},
		"a source that is missing":              {PostCreated, members{"source": nil}, "no source"},
		"a time that is missing":                {PostCreated, members{"time": nil}, "no time"},
		"a time that is none":                   {PostCreated, members{"time": "yesterday"}, "not a CloudEvent"},
		"the zero time":                         {PostCreated, members{"time": "0001-01-01T00:00:00Z"}, "no time"},
		"a sequence that is a number":           {PostCreated, members{"sequence": 7}, "sequence"},
		"a subject that is missing":             {PostCreated, members{"subject": nil}, "subject"},
		"another post as subject":               {PostCreated, members{"subject": commentID}, "subject"},
		"a comment's post as its subject":       {CommentCreated, members{"subject": postID}, "subject"},
		"data that is missing":                  {PostCreated, members{"data": nil}, "data"},
		"data that is a string":                 {PostCreated, members{"data": "{}"}, "data"},
		"data that is an array":                 {PostCreated, members{"data": []int{}}, "data"},
		"data that is empty":                    {PostCreated, members{"data": members{}}, "data: id"},
		"a post's id that is a UUIDv4":          {PostCreated, members{"data.id": "8c5f0f1e-58a5-4a0a-9a55-3d8c8b1f6b11"}, "UUIDv7"},
		"a post without title":                  {PostCreated, members{"data.title": nil}, "title"},
		"a blank title":                         {PostCreated, members{"data.title": " \t"}, "title"},
		"a title of 201 characters":             {PostCreated, members{"data.title": strings.Repeat("x", 201)}, "201 characters"},
		"a post without createdAt":              {PostCreated, members{"data.createdAt": nil}, "createdAt"},
		"a post without revision":               {PostCreated, members{"data.revision": nil}, "revision"},
		"a revision below 1":                    {PostCreated, members{"data.revision": -1}, "revision"},
		"a revision that is no whole number":    {PostCreated, members{"data.revision": 1.5}, "data"},
		"a comment's id in upper case":          {CommentCreated, members{"data.id": strings.ToUpper(commentID), "subject": strings.ToUpper(commentID)}, "UUIDv7"},
		"a comment without postId":              {CommentCreated, members{"data.postId": nil}, "postId"},
		"a postId that is no UUID":              {CommentCreated, members{"data.postId": "1"}, "postId"},
		"content of 10,001 characters":          {CommentCreated, members{"data.content": strings.Repeat("x", 10_001)}, "10001 characters"},
		"a status that is missing":              {CommentCreated, members{"data.status": nil}, "status"},
		"a status that is no word":              {CommentModerated, members{"data.status": "may be"}, "status"},
		"an unknown status of a new comment":    {CommentCreated, members{"data.status": "quarantined"}, "status"},
		"a CommentCreated that is held":         {CommentCreated, members{"data.status": "held"}, "status"},
		"a policy without rules":                {PolicyChanged, members{"data.rules": nil}, "rules"},
		"a policy whose rules are a list":       {PolicyChanged, members{"data.rules": []int{}}, "rules"},
		"a policy of nobody":                    {PolicyChanged, members{"data.changedBy": nil}, "changedBy"},
		"a policy at no time":                   {PolicyChanged, members{"data.changedAt": nil}, "changedAt"},
		"a policy without revision":             {PolicyChanged, members{"data.revision": nil}, "revision"},
		"another policy":                        {PolicyChanged, members{"subject": "other"}, "subject"},
		"a post that is half open":              {PostCommentingChanged, members{"data.comments": "half"}, "comments"},
		"a closed post that is no UUID":         {PostCommentingChanged, members{"data.postId": "1", "subject": "1"}, "UUIDv7"},
		"a post that nobody has closed":         {PostCommentingChanged, members{"data.decidedBy": ""}, "decidedBy"},
		"a person without subject":              {PersonBlocked, members{"data.subject": "", "subject": ""}, "subject"},
		"a subject that is no key":              {PersonBlocked, members{"data.subject": "a||b", "subject": "a||b"}, "subject"},
		"a subject of 101 characters":           {PersonBlocked, members{"data.subject": strings.Repeat("x", 101), "subject": strings.Repeat("x", 101)}, "subject"},
		"a person whom nobody has blocked":      {PersonBlocked, members{"data.decidedBy": "Ann Other"}, "decidedBy"},
		"a CommentCreated that is approved":     {CommentCreated, members{"data.status": "approved"}, "status"},
		"a CommentCreated that is rejected":     {CommentCreated, members{"data.status": "rejected"}, "status"},
		"a CommentModerated that is pending":    {CommentModerated, members{"data.status": "pending"}, "status"},
		"a CommentUpdated that is pending":      {CommentUpdated, members{"data.status": "pending"}, "status"},
		"a post's event with a comment as data": {PostCreated, members{"data": members{"id": commentID, "content": "Hello"}, "subject": commentID}, "title"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Parse(test.typ, wire(t, test.typ, test.members))
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("took %+v with error %v, want ErrMalformed", e, err)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("says %q, which does not name %q", err, test.says)
			}
			if !reflect.ValueOf(e).IsZero() {
				t.Errorf("returns %+v beside its error", e)
			}
		})
	}
}

func TestParseRefusesWhatIsNoJSONObject(t *testing.T) {
	for _, raw := range []string{"", "null", "true", "7", `"x"`, "[]", "{", "{}", "{} {}", "\xff", "\x00"} {
		if e, err := Parse(PostCreated, []byte(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %+v and error %v, want ErrMalformed", raw, e, err)
		}
	}
}

func TestParseTakesEdges(t *testing.T) {
	type members = map[string]any
	for name, test := range map[string]struct {
		typ     Type
		members members
	}{
		"an id of 255 bytes":              {PostCreated, members{"id": strings.Repeat("x", 255)}},
		"an id that is not derived":       {PostCreated, members{"id": "anything"}},
		"attributes that it doesn't know": {PostCreated, members{"dataschema": "x", "pubsubname": "bus", "number": 7}},
		"members that it doesn't know":    {CommentCreated, members{"data.likes": 7}},
		"no datacontenttype":              {PostCreated, members{"datacontenttype": nil}},
		"a post without body":             {PostCreated, members{"data.body": nil}},
		"a rejection":                     {CommentModerated, members{"data.status": "rejected", "data.reason": "so"}},
		"one that is held":                {CommentModerated, members{"data.status": "held"}},
		"a moderator's decision":          {CommentModerated, members{"data.decidedBy": "a-moderator", "data.policyVersion": 3, "data.revision": 3}},
		"rules of a newer version":        {PolicyChanged, members{"data.rules": members{"unknown": 7}}},
		"a subject of 100 characters":     {PersonBlocked, members{"data.subject": strings.Repeat("x", 100), "subject": strings.Repeat("x", 100)}},
		"a person who is not blocked":     {PersonBlocked, members{"data.blocked": false}},
		"a late revision":                 {CommentUpdated, members{"data.revision": 9}},
		"a time with an offset":           {PostCreated, members{"time": "2024-11-27T13:00:00+01:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(test.typ, wire(t, test.typ, test.members)); err != nil {
				t.Error(err)
			}
		})
	}
}

// padded returns raw with white space up to n bytes.
func padded(raw []byte, n int) []byte {
	return append(raw, bytes.Repeat([]byte(" "), n-len(raw))...)
}

func TestParseTakesMaxBytesAndNotOneMore(t *testing.T) {
	raw := wire(t, PostCreated, nil)
	if _, err := Parse(PostCreated, padded(raw, MaxBytes)); err != nil {
		t.Errorf("%d bytes: %v", MaxBytes, err)
	}
	if _, err := Parse(PostCreated, padded(raw, MaxBytes+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d bytes: error %v, want ErrMalformed", MaxBytes+1, err)
	}
}

// The largest entity of a command's 64 KiB must fit in an event with its number, however
// JSON encodes its characters.
func TestTheLargestEntityFitsInAnEvent(t *testing.T) {
	for name, char := range map[string]string{
		"plain": "x", "an emoji": "😀", "what JSON escapes": "\x01", "what only Go escapes": "\u2028", "quotes": `"`, "HTML": "<",
	} {
		p := aPost()
		p.Title, p.Body = strings.Repeat(char, MaxTitle), strings.Repeat(char, MaxBody)
		if strings.TrimSpace(char) == "" {
			p.Title = "x" + strings.Repeat(char, MaxTitle-1)
		}
		e, err := OfPost(PostCreated, "posts", p, noon, strings.Repeat("0", 55))
		if err != nil {
			t.Fatal(err)
		}
		e.Sequence = 1
		raw, err := Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(PostCreated, raw); err != nil {
			t.Errorf("%s: %d bytes: %v", name, len(raw), err)
		} else if *got.Post != p {
			t.Errorf("%s: the post came back as another one", name)
		}
	}
}

// If the log accepted an event that query refuses, query would stop there for ever. An
// event grows when it gets its number and is encoded again, most of all when Go escapes
// its characters.
func TestTheLargestEventThatParseTakesComesOutOfTheLog(t *testing.T) {
	for _, char := range []string{"x", "<", "\u2028", "\"", "\x01", "😀"} {
		room := MaxBytes - len(wire(t, PostCreated, map[string]any{"source": "", "datacontenttype": nil}))
		encoded, err := json.Marshal(char) // at most as long on the wire as any client writes it
		if err != nil {
			t.Fatal(err)
		}
		raw := wire(t, PostCreated, map[string]any{"source": "SOURCE", "datacontenttype": nil})
		if char == "\u2028" || char == "<" {
			encoded = []byte(`"` + char + `"`)
		}
		source := bytes.Repeat(encoded[1:len(encoded)-1], room/(len(encoded)-2))
		raw = padded(bytes.Replace(raw, []byte("SOURCE"), source, 1), MaxBytes)
		e, err := Parse(PostCreated, raw)
		if err != nil {
			t.Fatalf("%q: %v", char, err)
		}
		e.Sequence = 1<<64 - 1
		line, err := Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseBatch(fmt.Appendf(nil, "[%s]", line)); err != nil {
			t.Errorf("%q, %d bytes and then %d: %v", char, len(raw), len(line), err)
		}
	}
}

// A redelivered event is compared with the one in the log.
func TestParseSpacesDataAsTheLogDoes(t *testing.T) {
	raw := wire(t, PostCreated, nil)
	spaced := new(bytes.Buffer)
	if err := json.Indent(spaced, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	plain, err := Parse(PostCreated, raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(PostCreated, spaced.Bytes())
	if err != nil || !bytes.Equal(got.Data, plain.Data) {
		t.Errorf("the data is %s (error %v), not %s", got.Data, err, plain.Data)
	}
}

// encoding/json would repair it silently. The stored event would then differ from its
// bytes.
func TestParseRefusesInvalidUTF8Anywhere(t *testing.T) {
	raw := wire(t, CommentCreated, map[string]any{"extra": "!!"})
	for _, at := range []string{"Hello", "/comments", "!!"} {
		broken := bytes.Replace(raw, []byte(at), []byte(at[:1]+"\xff"), 1)
		if bytes.Equal(broken, raw) {
			t.Fatalf("%q is not in the event", at)
		}
		if _, err := Parse(CommentCreated, broken); !errors.Is(err, ErrMalformed) {
			t.Errorf("in %q: error %v, want ErrMalformed", at, err)
		}
	}
}

// A dead letter of an event is recognised by its envelope, whatever its data is.
func TestParseEnvelopeChecksTheAttributesAlone(t *testing.T) {
	raw := wire(t, CommentCreated, map[string]any{"type": "Other", "data.content": 7})
	e, err := ParseEnvelope(raw)
	if err != nil || e.Type != "Other" || e.Subject != commentID || e.Post != nil || e.Comment != nil || !json.Valid(e.Data) {
		t.Errorf("got %+v, error %v", e, err)
	}
	for name, change := range map[string]map[string]any{
		"no id":              {"id": ""},
		"a long id":          {"id": strings.Repeat("x", MaxIDLength+1)},
		"another version":    {"specversion": "0.3"},
		"no source":          {"source": ""},
		"no time":            {"time": nil},
		"more than MaxBytes": {"extra": strings.Repeat("x", MaxBytes)},
	} {
		if e, err := ParseEnvelope(wire(t, CommentCreated, change)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, error %v", name, e, err)
		}
	}
	for _, raw := range []string{"", "7", "null", "{}", "hello", string(raw) + "{}", strings.Replace(string(raw), "/comments", "\xff", 1)} {
		if e, err := ParseEnvelope([]byte(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.60q: got %+v, error %v", raw, e, err)
		}
	}
}

func TestParseBatch(t *testing.T) {
	post := wire(t, PostCreated, map[string]any{"sequence": "00000000000000000001"})
	comment := wire(t, CommentCreated, map[string]any{"sequence": "00000000000000000002"})
	join := func(lines ...[]byte) []byte {
		return append(append([]byte("["), bytes.Join(lines, []byte(",\n"))...), ']')
	}

	t.Run("takes all types, in order", func(t *testing.T) {
		events, err := ParseBatch(join(post, comment))
		if err != nil || len(events) != 2 {
			t.Fatalf("got %d events and error %v", len(events), err)
		}
		if events[0].Type != PostCreated || events[0].Sequence != 1 || events[0].Post == nil {
			t.Errorf("the first is %+v", events[0])
		}
		if events[1].Type != CommentCreated || events[1].Sequence != 2 || events[1].Comment == nil {
			t.Errorf("the second is %+v", events[1])
		}
	})
	t.Run("takes an empty batch", func(t *testing.T) {
		if events, err := ParseBatch([]byte("[]")); err != nil || len(events) != 0 {
			t.Errorf("got %v and error %v", events, err)
		}
	})
	t.Run("bounds an event and not the batch", func(t *testing.T) {
		lines := make([][]byte, 0, 400)
		for range cap(lines) {
			lines = append(lines, post)
		}
		raw := join(lines...)
		if len(raw) <= MaxBytes {
			t.Fatalf("a batch of %d bytes shows nothing", len(raw))
		}
		if events, err := ParseBatch(raw); err != nil || len(events) != len(lines) {
			t.Errorf("got %d events and error %v", len(events), err)
		}
	})
	for name, raw := range map[string][]byte{
		"refuses one bad event among good ones": join(post, []byte(`{"specversion":"1.0"}`), comment),
		"refuses null as an event":              join(post, []byte("null")),
		"refuses one event outside an array":    post,
		"refuses what is cut off":               join(post, comment)[:len(post)+10],
		"refuses nothing at all":                nil,
		"refuses an event over 2 MaxBytes":      join(wire(t, PostCreated, map[string]any{"extra": strings.Repeat("x", 2*MaxBytes)})),
	} {
		t.Run(name, func(t *testing.T) {
			if events, err := ParseBatch(raw); !errors.Is(err, ErrMalformed) || events != nil {
				t.Errorf("got %d events and error %v, want none and ErrMalformed", len(events), err)
			}
		})
	}
}

// Replicas of a newer version may run beside this one, or have run before it.
func TestReadersOfTheLogSkipTypesThatTheyDoNotKnow(t *testing.T) {
	number := func(n int) string { return fmt.Sprintf("%020d", n) }
	post := wire(t, PostCreated, map[string]any{"sequence": number(1)})
	comment := wire(t, CommentUpdated, map[string]any{"sequence": number(4)})
	var lines [][]byte
	for i, data := range []any{map[string]any{"open": false}, nil} {
		lines = append(lines, wire(t, CommentCreated, map[string]any{"type": "CommentingChanged", "sequence": number(2 + i), "data": data, "subject": "no entity"}))
	}
	alike := bytes.Replace(canonicalLine(t, CommentUpdated, nil), []byte("CommentUpdated"), []byte("CommentHeld"), 1)
	alike = bytes.Replace(alike, []byte(number(17)), []byte(number(5)), 1)
	lines = append([][]byte{post}, append(lines, comment, alike)...)
	for name, batch := range map[string][]byte{
		"on one line":       append(append([]byte("["), bytes.Join(lines, []byte(","))...), ']'),
		"as the log has it": append(append([]byte("[\n"), bytes.Join(lines, []byte(",\n"))...), "\n]\n"...),
	} {
		events, err := ParseBatch(batch)
		if err != nil || len(events) != len(lines) {
			t.Fatalf("%s: %d events, error %v", name, len(events), err)
		}
		for i, e := range events {
			known := i == 0 || i == 3
			if e.ID == "" || int(e.Sequence) != i+1 || e.Type.IsKnown() != known || (e.Post != nil || e.Comment != nil) != known { //nolint:gosec // small
				t.Errorf("%s: event %d is %+v", name, i+1, e)
			}
		}
	}
	// A topic has events of its own type alone.
	for _, raw := range lines[1:3] {
		for _, topic := range append(slices.Clone(Types), "CommentingChanged") {
			if e, err := Parse(topic, raw); !errors.Is(err, ErrMalformed) {
				t.Errorf("topic %s takes %+v, error %v", topic, e, err)
			}
		}
	}
}

// Without its id and type an event can't be skipped: positions name ids.
func TestReadersOfTheLogRefuseAnEventOfNoTypeOrID(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"no type": {"type": ""}, "no id": {"type": "Other", "id": ""}, "a long id": {"type": "Other", "id": strings.Repeat("x", MaxIDLength+1)},
	} {
		if events, err := ParseBatch(fmt.Appendf(nil, "[%s]", wire(t, PostCreated, change))); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, error %v", name, events, err)
		}
	}
}

func TestAStatusThatIsNotKnownIsTaken(t *testing.T) {
	for _, typ := range []Type{CommentModerated, CommentUpdated} {
		raw := wire(t, typ, map[string]any{"data.status": "quarantined"})
		if e, err := Parse(typ, raw); err != nil || e.Comment.Status != "quarantined" || e.Comment.Status.IsKnown() {
			t.Errorf("%s: got %+v, error %v", typ, e.Comment, err)
		}
		if events, err := ParseBatch(fmt.Appendf(nil, "[%s]", raw)); err != nil || events[0].Comment.Status != "quarantined" {
			t.Errorf("%s in the log: got %+v, error %v", typ, events, err)
		}
	}
}

func TestSequenceIsTwentyDigitsThatSortLikeNumbers(t *testing.T) {
	last := ""
	for _, test := range []struct {
		n    Sequence
		wire string
	}{
		{0, `"00000000000000000000"`},
		{1, `"00000000000000000001"`},
		{99, `"00000000000000000099"`},
		{100, `"00000000000000000100"`},
		{1<<64 - 1, `"18446744073709551615"`},
	} {
		got, err := json.Marshal(test.n)
		if err != nil || string(got) != test.wire {
			t.Errorf("%d is %s with error %v, want %s", test.n, got, err, test.wire)
		}
		if string(got) <= last {
			t.Errorf("%s does not sort after %s", got, last)
		}
		last = string(got)
		var back Sequence
		if err := json.Unmarshal(got, &back); err != nil || back != test.n {
			t.Errorf("%s comes back as %d with error %v", got, back, err)
		}
	}
}

func TestSequenceRefusesWhatIsNoQuotedNumber(t *testing.T) {
	for _, raw := range []string{`7`, `null`, `""`, `"-1"`, `"+1"`, `"1.0"`, `"1e3"`, `"0x10"`, `" 1"`, `"18446744073709551616"`, `true`, `[]`, `{}`} {
		s := Sequence(42)
		if err := json.Unmarshal([]byte(raw), &s); err == nil {
			t.Errorf("%s is taken as %d", raw, s)
		} else if s != 42 {
			t.Errorf("%s is refused, and yet made it %d", raw, s)
		}
	}
	// Called directly, because encoding/json never passes such bytes.
	for _, raw := range []string{"", `"`, "1"} {
		if err := new(Sequence).UnmarshalJSON([]byte(raw)); err == nil {
			t.Errorf("%q is taken", raw)
		}
	}
}

func TestAnEventOutsideTheLogHasNoSequence(t *testing.T) {
	e, err := OfPost(PostCreated, "posts", aPost(), noon, "")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{"sequence", "traceparent"} {
		if bytes.Contains(raw, []byte(absent)) {
			t.Errorf("%s is on the wire: %s", absent, raw)
		}
	}
}

// Replicas of different versions, and the log, must agree on these ids for ever.
func TestIDOfNeverChanges(t *testing.T) {
	if got, want := IDOf(CommentModerated, commentID, 2), "832570cd-bf67-51af-889c-243cfa78bba5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestIDOfDiffersByTypeEntityAndRevision(t *testing.T) {
	of := map[string]string{}
	for _, typ := range Types {
		for _, entity := range []string{postID, commentID} {
			for _, revision := range []int{1, 2, 12} {
				id := IDOf(typ, entity, revision)
				what := string(typ) + " " + entity
				if other, taken := of[id]; taken {
					t.Errorf("%s revision %d has the id of %s", what, revision, other)
				}
				of[id] = what
				if again := IDOf(typ, entity, revision); again != id {
					t.Errorf("%s revision %d has id %s and then %s", what, revision, id, again)
				}
			}
		}
	}
}

// The id depends on the entity, not on the service that publishes it or the time. So a
// repeated reaction is the same event.
func TestTheIDDependsOnTheEntityAlone(t *testing.T) {
	a, err := OfComment(CommentUpdated, "comments", moderated(), noon, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := OfComment(CommentUpdated, "others", moderated(), noon.Add(time.Hour), "00-x")
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != b.ID || a.ID != IDOf(CommentUpdated, commentID, 2) {
		t.Errorf("ids %s and %s, want %s", a.ID, b.ID, IDOf(CommentUpdated, commentID, 2))
	}
}

func TestAnEventThatCannotBeEncodedIsAnError(t *testing.T) {
	c := aComment()
	c.CreatedAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // RFC 3339 has four digits for the year
	if e, err := OfComment(CommentCreated, "comments", c, noon, ""); err == nil {
		t.Errorf("got %+v", e)
	}
	p := aPost()
	p.CreatedAt = c.CreatedAt
	if e, err := OfPost(PostCreated, "posts", p, noon, ""); err == nil {
		t.Errorf("got %+v", e)
	}
}

func FuzzParse(f *testing.F) {
	for _, typ := range Types {
		f.Add(wire(f, typ, nil))
	}
	f.Add(wire(f, PostCreated, map[string]any{"id": "\u2028<&>\ufffd", "time": "0000-01-01T00:00:00+23:59", "sequence": "7"}))
	f.Add(wire(f, PostCreated, map[string]any{"data.title": "\u200b", "data.body": "\u2800"}))
	f.Add(wire(f, CommentCreated, map[string]any{"data.content": "\u00ad\u3164", "data.author": "   "}))
	f.Add([]byte(`{"specversion":"1.0","id":"\ud800"}`))
	f.Add([]byte("null"))
	f.Add([]byte("[]"))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Parse it for the one topic that accepts it, or for any topic.
		var named struct{ Type Type }
		_ = json.Unmarshal(raw, &named)
		e, err := Parse(named.Type, raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("the error is no ErrMalformed: %v", err)
			}
			return
		}
		for _, other := range Types {
			if _, err := Parse(other, raw); (err == nil) != (other == e.Type) {
				t.Fatalf("a %s on topic %s: error %v", e.Type, other, err)
			}
		}
		envelope, err := ParseEnvelope(raw)
		if err != nil || envelope.ID != e.ID || envelope.Type != e.Type || envelope.Subject != e.Subject || envelope.Post != nil || envelope.Comment != nil {
			t.Fatalf("the envelope of %+v is %+v, error %v", e, envelope, err)
		}
		again, err := Marshal(e)
		if err != nil {
			t.Fatalf("took an event that can't be encoded: %v", err)
		}
		e.Sequence = 1<<64 - 1
		line, err := Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseBatch(fmt.Appendf(nil, "[%s]", line)); err != nil {
			t.Fatalf("the log took what no reader can read from it: %v\n%s", err, line)
		}
		if len(again) > MaxBytes {
			return // Go's escapes and added members can make it longer
		}
		back, err := Parse(e.Type, again)
		if err != nil {
			t.Fatalf("refuses what it took, encoded again: %v\n%s", err, again)
		}
		third, err := Marshal(back)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("came back as\n%s, not\n%s (error %v)", third, again, err)
		}
		if e.Post != nil && !same(t, e.Post, back.Post) || e.Comment != nil && !same(t, e.Comment, back.Comment) {
			t.Fatalf("the entity came back as another one:\n%s", again)
		}
	})
}

func same(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}
