package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// checkSBOM checks that a bill of materials is valid CycloneDX and lists exactly the
// modules of the binary and, for the web client, the packages in package-lock.json.
func checkSBOM(t *testing.T, sbom, binary []byte, web bool) {
	t.Helper()
	validate(t, sbom)
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(sbom), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	built, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if main := bom.Metadata.Component; main.Name != built.Main.Path || main.Version == "" {
		t.Errorf("it is of %s %s, and the binary of %s", main.Name, main.Version, built.Main.Path)
	}
	want := map[string]string{"std": strings.TrimPrefix(built.GoVersion, "go")}
	for _, m := range built.Deps {
		want[m.Path] = m.Version
	}
	if want["github.com/gin-gonic/gin"] == "" || want["google.golang.org/grpc"] == "" {
		t.Errorf("the binary was built from %v", want)
	}
	if web {
		locked := lockedPackages(t)
		if locked["react"] == "" || locked["vite"] != "" {
			t.Errorf("package-lock.json has for the pages: %v", locked)
		}
		for name, version := range locked {
			want[name] = version
		}
	}
	for _, c := range *bom.Components {
		version, ok := want[c.Name]
		if c.Name == "std" {
			c.Version = strings.TrimPrefix(c.Version, "go")
		}
		if !ok || version != c.Version || c.PackageURL == "" {
			t.Errorf("it has %s %s (%s), want version %q", c.Name, c.Version, c.PackageURL, version)
		}
		delete(want, c.Name)
	}
	for name, version := range want {
		t.Errorf("it lacks %s %s", name, version)
	}
}

// lockedPackages are the packages in the client's pages, including the client itself.
func lockedPackages(t *testing.T) map[string]string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "apps", "client", "web", "package-lock.json")) //nolint:gosec // within the checkout
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Version          string
			Dev, DevOptional bool
		}
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{"web": lock.Packages[""].Version} // npm calls it by its folder
	const folder = "node_modules/"
	for path, p := range lock.Packages {
		if at := strings.LastIndex(path, folder); at >= 0 && !p.Dev && !p.DevOptional {
			found[path[at+len(folder):]] = p.Version
		}
	}
	return found
}

// validate checks a document against CycloneDX's own schema, which is part of its
// library.
func validate(t *testing.T, document []byte) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	version := content.(map[string]any)["specVersion"] //nolint:forcetypeassert,errcheck // as every document of CycloneDX
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(schemas(filepath.Join(strings.TrimSpace(string(out)), "schema")))
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-" + version.(string) + ".schema.json") //nolint:forcetypeassert,errcheck // as above
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(content); err != nil {
		t.Error(err)
	}
}

// schemas loads schemas from a folder, not from the network.
type schemas string

func (dir schemas) Load(url string) (any, error) {
	name := url[strings.LastIndex(url, "/")+1:]
	if strings.HasPrefix(name, "jsf-") { // the library's file has a name of its own
		name = "jsf-0.82.schemax.json"
	}
	f, err := os.Open(filepath.Join(string(dir), name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return jsonschema.UnmarshalJSON(f)
}

// TestTheClientsSBOMHasItsPages builds the client with pages.
func TestTheClientsSBOMHasItsPages(t *testing.T) {
	_, root, commit := copied(t)
	binary, err := compile(t.Context(), root, "client", runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	list := func() []byte {
		sbom, err := billOfMaterials(t.Context(), root, "client", binary, commit)
		if err != nil {
			t.Fatal(err)
		}
		return sbom
	}
	checkSBOM(t, list(), binary, false)
	dist := filepath.Join(root, "apps", "client", "web", "dist")
	if err := os.MkdirAll(dist, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dist, "index.html"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sbom := list()
	checkSBOM(t, sbom, binary, true)
	if !bytes.Equal(sbom, list()) {
		t.Error("listed twice, and not the same")
	}
}
