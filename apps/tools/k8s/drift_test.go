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
	"slices"
	"testing"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// checkDrift checks that Dapr gets the same resources on Kubernetes as in components/,
// except for the engine's address, users and TLS, mutual TLS and the access control.
func checkDrift(t *testing.T, overlay string, objects []object) []error {
	source := components(t, overlays[overlay])
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
		if o.kind() == "Component" && at(o, "auth", "secretStore") != "kubernetes" {
			errs = append(errs, fmt.Errorf("%s has no secret store, and its password is a secret", o))
		}
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
					spec["metadata"] = withoutConnection(fields)
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

// connections are the fields of components that say where a server is, and who connects.
var connections = []string{
	"redisHost", "redisUsername", "redisPassword", "enableTLS", "sentinelUsername", "sentinelPassword", // Redis
	"connectionString", "user", "password", // PostgreSQL
	"protocol", "hostname", "username", // RabbitMQ, beside the two above
	"natsURL", "token", // NATS
}

// withoutConnection are the fields of a component without those of its connection.
func withoutConnection(fields []any) []any {
	var rest []any
	for _, f := range fields {
		if !slices.Contains(connections, fmt.Sprint(at(f, "name"))) {
			rest = append(rest, f)
		}
	}
	return rest
}

// components are the objects in components/ for an engine, by kind and name.
func components(t *testing.T, engine string) map[string]object {
	t.Helper()
	found := map[string]object{}
	for _, folder := range append([]string{"shared"}, engines[engine]...) {
		files, err := filepath.Glob(filepath.Join(root, "components", folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatal(folder, files, err)
		}
		for _, file := range files {
			if filepath.Base(file) != "kustomization.yaml" {
				readObjects(t, file, found)
			}
		}
	}
	return found
}

// readObjects adds the objects of a file, by kind and name.
func readObjects(t *testing.T, file string, found map[string]object) {
	t.Helper()
	raw, err := os.ReadFile(file) //nolint:gosec // within the checkout
	if err != nil {
		t.Fatal(err)
	}
	docs := utilyaml.NewYAMLToJSONDecoder(bytes.NewReader(raw))
	for {
		var o object
		if err := docs.Decode(&o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if o != nil {
			found[o.String()] = o
		}
	}
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
