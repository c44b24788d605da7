package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/apps/internal/event"
	"github.com/postbus/postbus/apps/internal/eventlog"
)

const (
	// format changes whenever the records or the rendered JSON in them do, and when readers
	// are shown events of another type, or the text of another status: a snapshot of the
	// version before has left those out. A snapshot of another format is ignored.
	format      = 3
	manifestKey = "snapshot-manifest"
)

var errDamaged = errors.New("the snapshot is damaged")

// manifest says which chunks a snapshot consists of. It is written last, after all chunks
// that it names.
type manifest struct {
	Format     int       `json:"format"`
	Sequence   uint64    `json:"sequence"`
	Generation string    `json:"generation"`
	Saved      time.Time `json:"saved"`
	Chunks     []chunk   `json:"chunks"`
	// Checksum is the checksum of the fields above.
	Checksum string `json:"checksum"`
	// Position is the snapshot's position in its log. Seal is the checksum of Checksum and
	// Position. The version before positions (3b4f435) writes neither. Its replicas may run
	// during an upgrade, and read a manifest only if Checksum covers just the fields above.
	Position string `json:"position,omitempty"`
	Seal     string `json:"seal,omitempty"`

	// at is Position decoded. Without a Position it has only the number, Sequence.
	at eventlog.Position
}

// chunk is one part of the snapshot, in a key of its own.
type chunk struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (m *manifest) key(i int) string { return fmt.Sprintf("snapshot-%s-%06d", m.Generation, i) }

// seal completes a manifest that is about to be written, and encodes it.
func (m *manifest) seal() ([]byte, error) {
	var err error
	if m.Checksum, err = m.sum(); err != nil {
		return nil, err
	}
	m.Position = m.at.String()
	m.Seal = m.positionSum()
	return event.Marshal(m)
}

func (m *manifest) sum() (string, error) {
	covered := *m
	covered.Checksum, covered.Position, covered.Seal = "", "", ""
	raw, err := event.Marshal(covered)
	return sumOf(raw), err
}

func (m *manifest) positionSum() string { return sumOf([]byte(m.Checksum + " " + m.Position)) }

func sumOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// readManifest decodes a manifest. The error is an errDamaged if it has another format or
// its checksums do not match.
func readManifest(raw []byte) (*manifest, error) {
	m := new(manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", errDamaged, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w: its format is %d, not %d", errDamaged, m.Format, format)
	}
	if sum, err := m.sum(); err != nil || sum != m.Checksum {
		return nil, fmt.Errorf("%w: manifest", errDamaged)
	}
	m.at = eventlog.Position{Sequence: m.Sequence}
	if m.Position == "" && m.Seal == "" {
		return m, nil
	}
	var err error
	if m.at, err = eventlog.ParsePosition(m.Position); err != nil || m.at.Sequence != m.Sequence || m.Seal != m.positionSum() {
		return nil, fmt.Errorf("%w: manifest, its position", errDamaged)
	}
	return m, nil
}
