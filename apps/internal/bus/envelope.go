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
	// refused is the dead letter of a message that is too large to be an event. Event is
	// then empty.
	refused *DeadLetter
	// status is the answer to the entry. Empty means success.
	status string
}

// payload is the message itself, which is base64 in the envelope. Any other JSON counts
// as the message, and is refused for its content.
type payload []byte

func (p *payload) UnmarshalJSON(data []byte) error {
	if len(data) >= 2 && data[0] == '"' { // JSON escapes no character of base64
		decoded := make([]byte, base64.StdEncoding.DecodedLen(len(data)-2))
		if n, err := base64.StdEncoding.Decode(decoded, data[1:len(data)-1]); err == nil {
			*p = decoded[:n]
			return nil
		}
	}
	*p = bytes.Clone(data)
	return nil
}

// Bounds of a delivery, in bytes. A delivery that is refused for its size would be
// redelivered for ever, so no delivery that the bus can bring is refused. A sidecar
// publishes no message of more than its maxBodySize, 16 MiB, which is 22 MiB in base64. A
// subscription asks for at most 100 messages at once; of event.MaxBytes each, they are 13
// MiB. Larger messages are dead-lettered one by one, while the delivery is read.
const (
	maxEntryBytes    = 24 << 20 // so that the decoder's buffer stays at 32 MiB
	maxEnvelopeBytes = 32 << 20
	// maxReading bounds the bytes of all deliveries that a receiver reads at once,
	// because reading an entry takes several times its size. Of a delivery that is
	// longer, one entry counts. Further deliveries wait.
	maxReading = maxEntryBytes
	// entryOverhead is the least that an entry takes beside its message.
	entryOverhead = 256
)

var errTooLarge = errors.New("is too large")

// readEnvelope reads a delivery. Beside its result it keeps at most about maxEntryBytes
// in memory. Refuse makes the dead letter of a message of more than event.MaxBytes. The
// error is errTooLarge for a delivery out of bounds, and another one for a body that is
// no envelope.
func readEnvelope(body io.Reader, refuse func(raw []byte) DeadLetter) (envelope, error) {
	limited := &limitedReader{body, maxEntryBytes}
	size := 0
	readEntry := jsonv2.UnmarshalFromFunc(func(in *jsontext.Decoder, e *entry) error {
		limited.left = maxEntryBytes
		type plain entry // a type without this unmarshaler
		if err := jsonv2.UnmarshalDecode(in, (*plain)(e)); err != nil {
			return err
		}
		if len(e.Event) > event.MaxBytes {
			letter := refuse(e.Event)
			letter.Payload = bytes.Clone(letter.Payload) // it shares the message's bytes
			e.Event, e.refused = nil, &letter
		}
		if size += len(e.ID) + len(e.Event) + entryOverhead; size > maxEnvelopeBytes {
			return errTooLarge
		}
		return nil
	})
	var out envelope
	err := jsonv2.UnmarshalRead(limited, &out, jsonv2.WithUnmarshalers(readEntry))
	return out, err
}

// limitedReader reads at most left bytes.
type limitedReader struct {
	io.Reader
	left int
}

func (l *limitedReader) Read(b []byte) (int, error) {
	if l.left == 0 {
		return 0, errTooLarge
	}
	n, err := l.Reader.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}
