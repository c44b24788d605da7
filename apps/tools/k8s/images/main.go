// Images builds the apps' container images: one static binary each, on nothing. It
// needs no container engine and no registry, and builds the same bytes from the
// same commit.
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/postbus/postbus/apps/tools/terminal"
)

const usage = `Images builds the apps' container images.

Usage: images [flags] [app...]

Each is written as NAME.tar, as docker save does it, and named REPOSITORY/NAME:VERSION
(VERSION is what git describe says) and REPOSITORY/NAME:dev. What is in it is listed as
CycloneDX in NAME.cdx.json beside it, which the image has as /sbom/NAME.cdx.json. Where
a Docker engine answers, it gets the images. For others:

  -load 'minikube image load'     run this with each file's name at its end
  -push                           push to the registry that REPOSITORY names

If IMAGE is set, as Skaffold does it, the one app is named so, and pushed if
PUSH_IMAGE is true.

Flags:
`

func main() {
	into := flag.String("into", "", "`folder` of the files (default .postbus/images)")
	repository := flag.String("repository", "postbus", "what the names begin with, such as registry.example.com/postbus")
	load := flag.String("load", "", "`command` that loads a file into a cluster")
	push := flag.Bool("push", os.Getenv("PUSH_IMAGE") == "true", "push the images (default $PUSH_IMAGE)")
	arch := flag.String("arch", runtime.GOARCH, "the nodes' architecture")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *into, *repository, *load, *arch, *push, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", terminal.Lines(err.Error())) // a registry's answer, say
		os.Exit(1)
	}
}

func run(ctx context.Context, into, repository, load, arch string, push bool, apps []string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	if into == "" {
		into = filepath.Join(root, ".postbus", "images")
	}
	if err := os.MkdirAll(into, 0o750); err != nil {
		return err
	}
	known, err := findApps(root)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		apps = known
	}
	wanted := os.Getenv("IMAGE")
	if wanted != "" && len(apps) != 1 {
		return errors.New("IMAGE names one image, so name one app")
	}
	commit, err := head(ctx, root)
	if err != nil {
		return err
	}
	engine := load == "" && !push && exec.CommandContext(ctx, "docker", "info").Run() == nil
	for _, app := range apps {
		if !slices.Contains(known, app) {
			return fmt.Errorf("there is no app %q; there are %s", app, strings.Join(known, ", "))
		}
		image, sbom, err := build(ctx, root, app, arch, commit)
		if err != nil {
			return fmt.Errorf("%s: %w", app, err)
		}
		if err := os.WriteFile(filepath.Join(into, app+".cdx.json"), sbom, 0o644); err != nil { //nolint:gosec // for scanners
			return err
		}
		names := []string{repository + "/" + app + ":" + commit.version, repository + "/" + app + ":dev"}
		if wanted != "" {
			names = []string{wanted}
		}
		file := filepath.Join(into, app+".tar")
		if err := save(image, file, names); err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "images: %s, %.1f MB: %s\n", names[0], float64(info.Size())/1e6, file)
		switch {
		case push:
			err = pushAll(ctx, image, names)
		case load != "":
			err = command(ctx, append(strings.Fields(load), file)...)
		case engine:
			err = command(ctx, "docker", "load", "-q", "-i", file)
		}
		if err != nil {
			return err
		}
	}
	if !engine && !push && load == "" {
		fmt.Fprintln(os.Stderr, "images: no Docker engine answers, so nothing was loaded; -load 'minikube image load' loads them into minikube")
	}
	return nil
}

// save writes an image as docker save does it.
func save(image v1.Image, file string, names []string) error {
	tags := map[name.Tag]v1.Image{}
	for _, n := range names {
		tag, err := name.NewTag(n)
		if err != nil {
			return err
		}
		tags[tag] = image
	}
	var saved bytes.Buffer
	if err := tarball.MultiWrite(tags, &saved); err != nil {
		return err
	}
	sorted, err := sortNames(&saved)
	if err != nil {
		return err
	}
	return os.WriteFile(file, sorted, 0o644) //nolint:gosec // for whoever loads it
}

// sortNames puts the names in a saved image's manifest in order: the library has them
// in a map's.
func sortNames(saved io.Reader) ([]byte, error) {
	var sorted bytes.Buffer
	from, to := tar.NewReader(saved), tar.NewWriter(&sorted)
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			err = to.Close() // it writes the end
			return sorted.Bytes(), err
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(from)
		if err != nil {
			return nil, err
		}
		if h.Name == "manifest.json" {
			var manifest tarball.Manifest
			if err := json.Unmarshal(content, &manifest); err != nil {
				return nil, err
			}
			for _, d := range manifest {
				slices.Sort(d.RepoTags)
			}
			if content, err = json.Marshal(manifest); err != nil {
				return nil, err
			}
			h.Size = int64(len(content))
		}
		if err := to.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := to.Write(content); err != nil {
			return nil, err
		}
	}
}

func pushAll(ctx context.Context, image v1.Image, names []string) error {
	for _, n := range names {
		tag, err := name.NewTag(n)
		if err != nil {
			return err
		}
		if err := remote.Write(tag, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return err
		}
	}
	return nil
}

func command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // what the user asked for
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// findRoot looks for go.work, from the working directory upward.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work here or above: run this inside the checkout")
		}
	}
}

// findApps returns the names of the programs in apps/ that k8s/base deploys.
func findApps(root string) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(root, "apps", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	var apps []string
	for _, file := range mains {
		app := filepath.Base(filepath.Dir(file))
		if _, err := os.Stat(filepath.Join(root, "k8s", "base", app+".yaml")); err == nil {
			apps = append(apps, app)
		}
	}
	return apps, nil
}
