package bus

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postbus/postbus/apps/internal/event"
)

// envelope is a bulk delivery with raw payloads
// (https://docs.dapr.io/reference/api/pubsub_api/#receiving-bulk-messages).
type envelope struct {
	Entries []entry `json:"entries"`
}

type entry struct {
	ID    string  `json:"entryId"`
	Event payload `json:"event"`
	// refused is, of a message that is too large to be an event, its dead letter; Event
	// is then empty.
	refused *DeadLetter
}

// payload is the message itself: base64 in the envelope. Whatever else stands
// there is taken as the message, so that it is refused for what it is.
type payload []byte

func (p *payload) UnmarshalJSON(data []byte) error {
	if len(data) >= 2 && data[0] == '"' { // base64 has nothing that JSON escapes
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(data)-2))
		if n, err := base64.StdEncoding.Decode(decoded, data[1:len(data)-1]); err == nil {
			*p = decoded[:n]
			return nil
		}
	}
	*p = append([]byte(nil), data...)
	return nil
}

// Bounds of a delivery, in bytes. A delivery that is refused for its size would be
// delivered again for ever, so one that the bus can bring is never refused: a sidecar
// publishes no message of more than its maxBodySize, 16 MiB, which are 22 MiB in base64,
// and 100 messages of event.MaxBytes, the most that a subscription asks for at once, are
// 13 MiB. Larger messages are dead-lettered one by one, while the delivery is read.
const (
	maxEntryBytes    = 24 << 20 // so that the decoder's buffer stays at 32 MiB
	maxEnvelopeBytes = 32 << 20
	// maxReading is how many bytes of deliveries a receiver reads at once: an entry takes
	// its bytes several times while it is read. Of a longer delivery it is one entry that
	// counts, and further deliveries wait.
	maxReading = maxEntryBytes
	// entryOverhead is what an entry takes beside its message, at the least.
	entryOverhead = 256
)

var errTooLarge = errors.New("is too large")

// readEnvelope reads a delivery with at most some maxEntryBytes more in memory than what
// it returns. Refuse makes the dead letter of a message of more than event.MaxBytes. The
// error is an errTooLarge for a delivery out of bounds, and another one for a body that
// is no envelope.
func readEnvelope(body io.Reader, refuse func(raw []byte) DeadLetter) (envelope, error) {
	limited := &limitedReader{Reader: body}
	limited.reset()
	in := jsontext.NewDecoder(limited)
	var out envelope
	size := 0
	err := eachEntry(in, func() error {
		limited.reset()
		var e entry
		if err := jsonv2.UnmarshalDecode(in, &e); err != nil {
			return err
		}
		if len(e.Event) > event.MaxBytes {
			letter := refuse(e.Event)
			letter.Payload = bytes.Clone(letter.Payload) // it shares the message's bytes
			e.Event, e.refused = nil, &letter
		}
		out.Entries = append(out.Entries, e)
		if size += len(e.ID) + len(e.Event) + entryOverhead; size > maxEnvelopeBytes {
			return errTooLarge
		}
		return nil
	})
	return out, err
}

// eachEntry calls next before each entry of the envelope that in reads. Null stands for
// an envelope, or a list, without entries.
func eachEntry(in *jsontext.Decoder, next func() error) error {
	if in.PeekKind() == 'n' {
		return end(in, in.SkipValue())
	}
	if err := expect(in, '{'); err != nil {
		return err
	}
	for in.PeekKind() == '"' {
		name, err := in.ReadToken()
		if err != nil {
			return err
		}
		if name.String() != "entries" || in.PeekKind() == 'n' {
			if err := in.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := expect(in, '['); err != nil {
			return err
		}
		for kind := in.PeekKind(); kind != ']' && kind != jsontext.KindInvalid; kind = in.PeekKind() {
			if err := next(); err != nil {
				return err
			}
		}
		if err := expect(in, ']'); err != nil {
			return err
		}
	}
	return end(in, expect(in, '}'))
}

func expect(in *jsontext.Decoder, kind jsontext.Kind) error {
	token, err := in.ReadToken()
	if err == nil && token.Kind() != kind {
		err = errors.New("unexpected " + token.Kind().String())
	}
	return err
}

// end returns err, or that something follows what in has read.
func end(in *jsontext.Decoder, err error) error {
	if err != nil {
		return err
	}
	if _, err := in.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("something follows the envelope"), err)
	}
	return nil
}

// limitedReader reads at most maxEntryBytes after each reset.
type limitedReader struct {
	io.Reader
	left int
}

func (l *limitedReader) reset() { l.left = maxEntryBytes }

func (l *limitedReader) Read(b []byte) (int, error) {
	if l.left == 0 {
		return 0, errTooLarge
	}
	n, err := l.Reader.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}
