package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// checkDrift checks that Dapr gets the same resources on Kubernetes as in components/,
// except for Redis's address, users and TLS, mutual TLS and the access control.
func checkDrift(t *testing.T, _ string, objects []object) []error {
	source := components(t)
	var errs []error
	for _, o := range objects {
		if at(o, "apiVersion") == nil || !isDapr(o) {
			continue
		}
		original, ok := source[o.String()]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: not from components/", o))
			continue
		}
		delete(source, o.String())
		got, want := normal(t, o), normal(t, original)
		delete(got, "auth")
		if spec, ok := want["spec"].(map[string]any); ok && o.kind() == "Configuration" {
			delete(spec, "nameResolution") // of one machine alone
			delete(spec, "httpPipeline")
		}
		for _, content := range []map[string]any{got, want} {
			delete(content, "metadata") // the namespace and labels
			if spec, ok := content["spec"].(map[string]any); ok {
				if o.kind() == "Configuration" {
					delete(spec, "accessControl")
					delete(spec, "mtls")
				}
				if fields, ok := spec["metadata"].([]any); ok && o.kind() == "Component" {
					spec["metadata"] = withoutRedis(fields)
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			errs = append(errs, fmt.Errorf("%s has drifted from components/:\n%s\n%s", o, jsonOf(got), jsonOf(want)))
		}
	}
	delete(source, "Component addresses") // of one machine alone
	for missing := range source {
		errs = append(errs, fmt.Errorf("%s of components/ is missing", missing))
	}
	return errs
}

func isDapr(o object) bool {
	version := fmt.Sprint(o["apiVersion"])
	return version == "dapr.io/v1alpha1" || version == "dapr.io/v2alpha1"
}

// withoutRedis are the fields of a component without Redis's address and user.
func withoutRedis(fields []any) []any {
	var rest []any
	for _, f := range fields {
		switch at(f, "name") {
		case "redisHost", "redisUsername", "redisPassword", "enableTLS":
		default:
			rest = append(rest, f)
		}
	}
	return rest
}

// components are the objects in components/, by kind and name.
func components(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "components", "*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	found := map[string]object{}
	for _, file := range files {
		raw, err := os.ReadFile(file) //nolint:gosec // within the checkout
		if err != nil {
			t.Fatal(err)
		}
		docs := utilyaml.NewYAMLToJSONDecoder(bytes.NewReader(raw))
		for {
			var o object
			if err := docs.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if o != nil {
				found[o.String()] = o
			}
		}
	}
	return found
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
