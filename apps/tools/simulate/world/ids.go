package world

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	_ "unsafe" // for go:linkname

	"github.com/google/uuid"
)

// lastV7time is the time of the last UUIDv7 that this process made. The next one is later,
// and so has a time in the future when another history has been there before.
//
//go:linkname lastV7time github.com/google/uuid.lastV7time
var lastV7time int64

// seedIDs has the ids of a history made from its seed and its bubble's clock.
func seedIDs(seed uint64) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	uuid.SetRand(&lockedReader{from: rand.NewChaCha8(key)}) //nolint:gosec // it is to be predictable
	lastV7time = 0
}

type lockedReader struct {
	mu   sync.Mutex
	from io.Reader
}

func (l *lockedReader) Read(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from.Read(b)
}
