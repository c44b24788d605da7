// Images builds the apps' container images: one static binary each, on an empty base. It
// needs no container engine and no registry. The same commit gives the same bytes.
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

// options are the settings from flags and environment.
type options struct {
	into, repository, load, arch string
	push                         bool
	// name, if set, is the name of the one image.
	name string
}

func main() {
	o := options{name: os.Getenv("IMAGE")}
	flag.StringVar(&o.into, "into", "", "`folder` of the files (default .postbus/images)")
	flag.StringVar(&o.repository, "repository", "postbus", "what the names begin with, such as registry.example.com/postbus")
	flag.StringVar(&o.load, "load", "", "`command` that loads a file into a cluster")
	flag.BoolVar(&o.push, "push", os.Getenv("PUSH_IMAGE") == "true", "push the images (default $PUSH_IMAGE)")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "the nodes' architecture")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", terminal.Lines(err.Error())) // it may quote a registry's answer
		os.Exit(1)
	}
}

func (o options) run(ctx context.Context, apps []string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	if o.into == "" {
		o.into = filepath.Join(root, ".postbus", "images")
	}
	if err := os.MkdirAll(o.into, 0o750); err != nil {
		return err
	}
	known, err := findApps(root)
	if err != nil {
		return err
	}
	if len(apps) == 0 {
		apps = known
	}
	if o.name != "" && len(apps) != 1 {
		return errors.New("IMAGE names one image, so name one app")
	}
	commit, err := head(ctx, root)
	if err != nil {
		return err
	}
	if o.load == "" && !o.push && exec.CommandContext(ctx, "docker", "info").Run() == nil {
		o.load = "docker load -q -i"
	}
	for _, app := range apps {
		if !slices.Contains(known, app) {
			return fmt.Errorf("there is no app %q; there are %s", app, strings.Join(known, ", "))
		}
		if err := o.make(ctx, root, app, commit); err != nil {
			return fmt.Errorf("%s: %w", app, err)
		}
	}
	if o.load == "" && !o.push {
		fmt.Fprintln(os.Stderr, "images: no Docker engine answers, so nothing was loaded; -load 'minikube image load' loads them into minikube")
	}
	return nil
}

// make builds an app's image, writes it and its bill of materials to files, and pushes or
// loads it.
func (o options) make(ctx context.Context, root, app string, commit commit) error {
	image, sbom, err := build(ctx, root, app, o.arch, commit)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.into, app+".cdx.json"), sbom, 0o644); err != nil { //nolint:gosec // for scanners
		return err
	}
	names := []string{o.repository + "/" + app + ":" + commit.version, o.repository + "/" + app + ":dev"}
	if o.name != "" {
		names = []string{o.name}
	}
	file := filepath.Join(o.into, app+".tar")
	if err := save(image, file, names); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "images: %s, %.1f MB: %s\n", names[0], float64(info.Size())/1e6, file)
	switch {
	case o.push:
		return pushAll(ctx, image, names)
	case o.load != "":
		return command(ctx, append(strings.Fields(o.load), file)...)
	}
	return nil
}

// save writes an image in the format of docker save.
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
	return os.WriteFile(file, sorted, 0o644) //nolint:gosec // for other users, who load it
}

// sortNames sorts the names in a saved image's manifest, which the library writes in the
// order of a map.
func sortNames(saved io.Reader) ([]byte, error) {
	var sorted bytes.Buffer
	from, to := tar.NewReader(saved), tar.NewWriter(&sorted)
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			err = to.Close() // Close writes the end
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

// findApps returns the names of the programs in apps/ that k8s/base deploys, and of the one that
// makes the streams of NATS.
func findApps(root string) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(root, "apps", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	apps := []string{streams}
	for _, file := range mains {
		app := filepath.Base(filepath.Dir(file))
		if _, err := os.Stat(filepath.Join(root, "k8s", "base", app+".yaml")); err == nil {
			apps = append(apps, app)
		}
	}
	return apps, nil
}
