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
	// refused is the dead letter of a message that is too large to be an event, whose
	// Event is then empty.
	refused *DeadLetter
	// status is the answer to the entry; empty stands for success.
	status string
}

// payload is the message itself: base64 in the envelope. Any other JSON is taken as the
// message, which is then refused for what it is.
type payload []byte

func (p *payload) UnmarshalJSON(data []byte) error {
	if len(data) >= 2 && data[0] == '"' { // base64 has nothing that JSON escapes
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
	limited := &limitedReader{body, maxEntryBytes}
	size := 0
	readEntry := jsonv2.UnmarshalFromFunc(func(in *jsontext.Decoder, e *entry) error {
		limited.left = maxEntryBytes
		type plain entry // which this function does not read
		if err := jsonv2.UnmarshalDecode(in, (*plain)(e)); err != nil {
			return err
		}
		if len(e.Event) > event.MaxBytes {
			letter := refuse(e.Event)
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
