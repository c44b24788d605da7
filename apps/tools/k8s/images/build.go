package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is an unprivileged user. It is numeric, so that Kubernetes can see that it is not
// root.
const user = "65532:65532"

// commit identifies the sources.
type commit struct {
	// version is the output of git describe, with -dirty if there are changes.
	version, revision string
	at                time.Time
}

func head(ctx context.Context, root string) (commit, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output() //nolint:gosec // the arguments are ours
		if err != nil {
			return "", fmt.Errorf("git %s: %w (the images are named by the commit)", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	version, err1 := git("describe", "--tags", "--always", "--dirty")
	revision, err2 := git("rev-parse", "HEAD")
	seconds, err3 := git("log", "-1", "--format=%ct")
	if err := errors.Join(err1, err2, err3); err != nil {
		return commit{}, err
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	return commit{version, revision, time.Unix(at, 0).UTC()}, err
}

// build builds the image of an app: the binary, the trusted root certificates, and the
// bill of materials, which it also returns. The certificates come with a Go module, so
// every machine has the same.
func build(ctx context.Context, root, app, arch string, c commit) (image v1.Image, sbom []byte, err error) {
	binary, err := compile(ctx, root, app, arch)
	if err != nil {
		return nil, nil, err
	}
	if sbom, err = billOfMaterials(ctx, root, app, binary, c); err != nil {
		return nil, nil, fmt.Errorf("the bill of materials: %w", err)
	}
	image, err = assemble(app, arch, c, binary, sbom)
	return image, sbom, err
}

// assemble makes the image with one layer a file.
func assemble(app, arch string, c commit, binary, sbom []byte) (v1.Image, error) {
	var roots bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint != nil {
			continue // a file cannot express the bounds of its trust
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}); err != nil {
			return nil, err
		}
	}
	certificates, err := layer("etc/ssl/certs/ca-certificates.crt", 0o444, roots.Bytes())
	if err != nil {
		return nil, err
	}
	program, err := layer(app, 0o555, binary)
	if err != nil {
		return nil, err
	}
	materials, err := layer(sbomPath(app), 0o444, sbom)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: c.at}
	image, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: certificates, History: v1.History{Created: created, CreatedBy: "golang.org/x/crypto/x509roots"}},
		mutate.Addendum{Layer: program, History: v1.History{Created: created, CreatedBy: "go build " + packageOf(app)}},
		mutate.Addendum{Layer: materials, History: v1.History{Created: created, CreatedBy: "github.com/CycloneDX/cyclonedx-gomod"}},
	)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, created
	config.Config = v1.Config{
		User: user, Entrypoint: []string{"/" + app}, WorkingDir: "/",
		// https://specs.opencontainers.org/image-spec/annotations/
		Labels: map[string]string{
			"org.opencontainers.image.title":    "postbus " + app,
			"org.opencontainers.image.version":  c.version,
			"org.opencontainers.image.revision": c.revision,
			"org.opencontainers.image.created":  c.at.Format(time.RFC3339),
		},
	}
	return mutate.ConfigFile(image, config)
}

// streams is the program that makes the streams of NATS, which is no app.
const streams = "streams"

// packageOf is the Go package of an app.
func packageOf(app string) string {
	if app == streams {
		return "./apps/tools/streams"
	}
	return "./apps/" + app
}

// compile returns a static binary that contains no path, time or id of this build.
func compile(ctx context.Context, root, app, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "postbus-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, app)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, packageOf(app)) //nolint:gosec // the arguments are ours
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(root, "go.work"), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, said)
	}
	return os.ReadFile(out) //nolint:gosec // written just now
}

// layer is a layer with one file. Files have no time, so an unchanged file is the same
// layer in the next version.
func layer(path string, mode int64, content []byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range path {
		if path[i] == '/' {
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path[:i+1], Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return nil, err
			}
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}
