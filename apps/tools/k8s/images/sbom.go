package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"
)

// sbomPath is the path of an image's bill of materials.
func sbomPath(app string) string { return "sbom/" + app + ".cdx.json" }

// billOfMaterials lists the content of an app's image as CycloneDX: the modules that the
// binary names, Go's standard library, and the packages of the web client, if the app has
// one. It has the commit's time and no random number, so one commit has one bill.
func billOfMaterials(ctx context.Context, root, app string, binary []byte, c commit) ([]byte, error) {
	dir, err := os.MkdirTemp("", "postbus-sbom-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, app) // the document contains this name
	if err := os.WriteFile(file, binary, 0o600); err != nil {
		return nil, err
	}
	generator, err := bin.NewGenerator(file, bin.WithIncludeStdlib(true), bin.WithVersionOverride(c.version), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return nil, err
	}
	bom, err := generator.Generate()
	if err != nil {
		return nil, err
	}
	bom.Metadata.Timestamp = c.at.Format(time.RFC3339)
	web := filepath.Join(root, "apps", app, "web")
	if _, err := os.Stat(filepath.Join(web, "dist", "index.html")); err == nil {
		if err := addWeb(ctx, bom, web); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out bytes.Buffer
	err = cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return out.Bytes(), err
}

// addWeb adds the packages of a web client from package-lock.json. (Tools are left out,
// because the pages contain nothing of them.)
func addWeb(ctx context.Context, bom *cdx.BOM, web string) error {
	cmd := exec.CommandContext(ctx, "npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only", "--omit", "dev")
	cmd.Dir = web
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("npm sbom, which npm has from version 10 on: %w\n%s", err, said.Bytes())
	}
	var packages cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(out), cdx.BOMFileFormatJSON).Decode(&packages); err != nil {
		return fmt.Errorf("npm sbom: %w", err)
	}
	if packages.Metadata == nil || packages.Metadata.Component == nil || packages.Components == nil || packages.Dependencies == nil {
		return errors.New("npm sbom lists nothing")
	}
	page := *packages.Metadata.Component
	*bom.Components = append(append(*bom.Components, page), *packages.Components...)
	*bom.Dependencies = append(*bom.Dependencies, *packages.Dependencies...)
	for i := range *bom.Dependencies {
		if d := &(*bom.Dependencies)[i]; d.Ref == bom.Metadata.Component.BOMRef && d.Dependencies != nil {
			*d.Dependencies = append(*d.Dependencies, page.BOMRef)
		}
	}
	return nil
}
