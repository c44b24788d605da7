package eventlogtest

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"
)

// RecordedAnswer is what commit 3b4f435 answered to GET of a path.
type RecordedAnswer struct {
	Path   string
	Status int
	Header map[string]string
	Body   string
}

// ReadRecorded decodes a file that was recorded from commit 3b4f435. The test's package is
// in apps/<service>/<package>.
func ReadRecorded(t testing.TB, name string, into any) {
	t.Helper()
	file, err := os.Open("../../internal/testdata/3b4f435/" + name + ".json.gz") //nolint:gosec // the names are those of tests
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	raw, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(raw).Decode(into); err != nil {
		t.Fatal(err)
	}
}
