package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"
)

// The versions of the schemas. Kubernetes' version is also that of the k8s.io modules in
// go.mod. Dapr's is the one that apps/tools/sidecar pins.
const (
	kubernetes = "k8s.io/kubernetes@v1.34.2"
	gatewayAPI = "sigs.k8s.io/gateway-api@v1.4.1"
)

// checkSchema validates every object as the API server does: no unknown field, no field
// twice, no wrong type, no required field missing.
func checkSchema(t *testing.T, _ string, objects []object) []error {
	var errs []error
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, o := range objects {
		raw, err := yaml.Marshal(o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		kind := fmt.Sprint(o["apiVersion"], " ", o.kind())
		if custom, ok := customResources(t)[kind]; ok {
			for _, err := range custom.validate(t, o) {
				errs = append(errs, fmt.Errorf("%s: %w", o, err))
			}
			continue
		}
		if _, _, err := strict.Decode(raw, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o, err))
			continue
		}
		schema, ok := builtIn(t)[kind]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: Kubernetes has no %s", o, kind))
			continue
		}
		for _, err := range validate.NewSchemaValidator(schema, nil, "", strfmt.Default).Validate(map[string]any(o)).Errors {
			errs = append(errs, fmt.Errorf("%s: %w", o, err))
		}
	}
	return append(errs, unknownAnnotations(t, objects)...)
}

var annotation = regexp.MustCompile(`= "(dapr\.io/[a-z0-9-]+)"`)

// unknownAnnotations finds Dapr annotations that its injector does not know. The injector
// ignores them silently.
func unknownAnnotations(t *testing.T, objects []object) []error {
	raw, err := os.ReadFile(filepath.Join(daprDir(t), "pkg", "injector", "annotations", "annotations.go"))
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range annotation.FindAllStringSubmatch(string(raw), -1) {
		known = append(known, m[1])
	}
	var errs []error
	for _, o := range objects {
		annotations, _ := at(o, "spec", "template", "metadata", "annotations").(map[string]any)
		for name := range annotations {
			if strings.HasPrefix(name, "dapr.io/") && !slices.Contains(known, name) {
				errs = append(errs, fmt.Errorf("%s: the injector knows no annotation %s", o, name))
			}
		}
	}
	return errs
}

// module returns the folder of a module, which it downloads if necessary.
func module(t *testing.T, dir, path string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", path) //nolint:gosec // the arguments are ours
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	var m struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(out, &m)); err != nil {
		t.Fatalf("go mod download %s: %v %s", path, err, m.Error)
	}
	return m.Dir
}

var once struct {
	dapr, builtIn, custom sync.Once
}

var daprAt string

func daprDir(t *testing.T) string {
	once.dapr.Do(func() { daprAt = module(t, filepath.Join(root, "apps", "tools", "sidecar"), "github.com/dapr/dapr") })
	return daprAt
}

var builtInSchemas = map[string]*spec.Schema{}

// builtIn are the schemas of Kubernetes' own kinds, by apiVersion and kind.
func builtIn(t *testing.T) map[string]*spec.Schema {
	once.builtIn.Do(func() {
		raw, err := os.ReadFile(filepath.Join(module(t, ".", kubernetes), "api", "openapi-spec", "swagger.json"))
		if err != nil {
			t.Fatal(err)
		}
		var swagger struct{ Definitions map[string]map[string]any }
		if err := json.Unmarshal(raw, &swagger); err != nil {
			t.Fatal(err)
		}
		for _, definition := range swagger.Definitions {
			kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
			for _, k := range kinds {
				version := strings.TrimPrefix(fmt.Sprint(at(k, "group"), "/", at(k, "version")), "/")
				if !wanted[version] {
					continue
				}
				raw, err := json.Marshal(inline(swagger.Definitions, definition))
				schema := new(spec.Schema)
				if err := errors.Join(err, json.Unmarshal(raw, schema)); err != nil {
					t.Fatal(err)
				}
				builtInSchemas[fmt.Sprint(version, " ", at(k, "kind"))] = schema
			}
		}
	})
	return builtInSchemas
}

// wanted are the groups in use. (Among the others is one that contains itself.)
var wanted = map[string]bool{"v1": true, "apps/v1": true, "policy/v1": true, "autoscaling/v2": true, "networking.k8s.io/v1": true}

// inline replaces references with their definitions, because the validator does not
// follow references.
func inline(definitions map[string]map[string]any, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			return inline(definitions, definitions[strings.TrimPrefix(ref, "#/definitions/")])
		}
		out := map[string]any{}
		for key, value := range v {
			out[key] = inline(definitions, value)
		}
		if out["format"] == "int-or-string" {
			delete(out, "type")
			delete(out, "format")
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = inline(definitions, v[i])
		}
		return out
	default:
		return v
	}
}

// custom is the schema of a custom resource.
type custom struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
}

func (c custom) validate(t *testing.T, o object) []error {
	content := runtime.DeepCopyJSON(normal(t, o))
	var errs []error
	for _, path := range pruning.PruneWithOptions(content, c.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		errs = append(errs, fmt.Errorf("unknown field %q", path))
	}
	for _, err := range validation.ValidateCustomResource(nil, content, c.validator) {
		errs = append(errs, err)
	}
	defaulting.Default(content, c.structural) // the rules also read fields with defaults
	if rules := cel.NewValidator(c.structural, true, celconfig.PerCallLimit); rules != nil {
		broken, _ := rules.Validate(t.Context(), nil, c.structural, content, nil, celconfig.RuntimeCELCostBudget)
		for _, err := range broken {
			errs = append(errs, err)
		}
	}
	return errs
}

// normal is an object with the number types that Kubernetes' packages expect.
func normal(t *testing.T, o object) map[string]any {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := utilyaml.Unmarshal(raw, &content); err != nil {
		t.Fatal(err)
	}
	return content
}

var customSchemas = map[string]custom{}

// customResources are the schemas of Dapr's and the Gateway API's kinds.
func customResources(t *testing.T) map[string]custom {
	once.custom.Do(func() {
		var files []string
		for _, pattern := range []string{
			filepath.Join(daprDir(t), "charts", "dapr", "crds", "*.yaml"),
			filepath.Join(module(t, ".", gatewayAPI), "config", "crd", "standard", "*.yaml"),
		} {
			found, err := filepath.Glob(pattern)
			if err != nil || len(found) == 0 {
				t.Fatalf("%s: %v, %v", pattern, found, err)
			}
			files = append(files, found...)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			docs := utilyaml.NewYAMLToJSONDecoder(bytes.NewReader(raw))
			for {
				var crd apiextensionsv1.CustomResourceDefinition
				if err := docs.Decode(&crd); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				for _, version := range crd.Spec.Versions {
					customSchemas[crd.Spec.Group+"/"+version.Name+" "+crd.Spec.Names.Kind] = newCustom(t, version.Schema)
				}
			}
		}
	})
	return customSchemas
}

func newCustom(t *testing.T, schema *apiextensionsv1.CustomResourceValidation) custom {
	t.Helper()
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err1 := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	validator, _, err2 := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return custom{structural, validator}
}
