package system

import (
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := c.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	for i, fields := 0, reflect.ValueOf(pinned); i < fields.NumField(); i++ {
		if version := fields.Field(i).String(); !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(version) {
			t.Errorf("%s is %q", fields.Type().Field(i).Name, version)
		}
	}
	if _, err := c.required(runtimeModule, "example.com/none"); err == nil {
		t.Error("a module that is not required has a version")
	}
}

// Where two modules of the workspace differ, it takes the later version, and an image, which is
// built without the workspace, has its own.
func TestTheModulesAgreeAboutDapr(t *testing.T) {
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.Root, "apps", "*", "go.mod"))
	if err != nil || len(files) < len(Services) {
		t.Fatalf("the modules are %q, %v", files, err)
	}
	for _, path := range []string{"github.com/dapr/go-sdk", "github.com/dapr/dapr", "github.com/dapr/kit"} {
		want, err := c.required(sdkModule, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			module, err := filepath.Rel(c.Root, filepath.Dir(file))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.required(module, path); err != nil || got != want {
				t.Errorf("%s has %s %q, and %s %q (%v)", module, path, got, sdkModule, want, err)
			}
		}
	}
}
