package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"debug/elf"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// copied is the checkout, a copy of its sources elsewhere, and the commit of both.
func copied(t *testing.T) (here, elsewhere string, c commit) {
	t.Helper()
	here, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = head(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	elsewhere = t.TempDir()
	copySources(t, here, elsewhere)
	return here, elsewhere, c
}

// TestTheSameCommitIsTheSameImage builds an app here and from a copy of the sources
// elsewhere, as on another machine.
func TestTheSameCommitIsTheSameImage(t *testing.T) {
	here, elsewhere, commit := copied(t)
	var sums [2][sha256.Size]byte
	for i, root := range []string{here, elsewhere} {
		image, sbom, err := build(t.Context(), root, "posts", runtime.GOARCH, commit)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "posts.tar")
		if err := save(image, file, []string{"postbus/posts:x", "postbus/posts:dev"}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(raw)
		if i == 0 {
			look(t, image, commit, sbom)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("one commit, and two images: %x, %x", sums[0], sums[1])
	}
}

// copySources copies what an app is built from.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.Command("git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "go.work", "go.work.sum", "apps").Output() //nolint:gosec // the arguments are ours
	if err != nil {
		t.Fatal(err)
	}
	for name := range bytes.SplitSeq(out, []byte{0}) {
		raw, err := os.ReadFile(filepath.Join(from, string(name)))
		if len(name) == 0 || os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(to, string(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// look checks that the image is what a cluster and its owner expect.
func look(t *testing.T, image v1.Image, c commit, sbom []byte) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" {
		t.Errorf("user %q", config.Config.User)
	}
	if !config.Created.Equal(c.at) || config.Config.Labels["org.opencontainers.image.revision"] != c.revision {
		t.Errorf("created %s, labels %v", config.Created, config.Config.Labels)
	}
	contents := map[string][]byte{}
	files := tar.NewReader(mutate.Extract(image))
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if contents[h.Name], err = io.ReadAll(files); err != nil {
			t.Fatal(err)
		}
		if h.Mode&0o022 != 0 {
			t.Errorf("%s can be written by others", h.Name)
		}
	}
	if !x509.NewCertPool().AppendCertsFromPEM(contents["etc/ssl/certs/ca-certificates.crt"]) {
		t.Error("no certificates")
	}
	if !bytes.Equal(contents[sbomPath("posts")], sbom) {
		t.Error("the bill of materials in the image is another one than beside it")
	}
	checkSBOM(t, sbom, contents["posts"], false)
	binary, err := elf.NewFile(bytes.NewReader(contents["posts"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is not static: it needs an interpreter")
		}
	}
	file := filepath.Join(t.TempDir(), "posts")
	if err := os.WriteFile(file, contents["posts"], 0o700); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	if out, err := exec.Command(file, "-help").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("-port")) { //nolint:gosec // built just now
		t.Errorf("-help: %v\n%s", err, out)
	}
}
