package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dapr/components-contrib/nameresolution"
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	"github.com/dapr/kit/logger"
)

// namesFile is the file in which the sidecars find each other. It is in the checkout,
// where only its owner can write.
const namesFile = "apps/.names.db"

// The longest time for which a killed replica is called.
const slowestForgetting = 10 * time.Second

// checkNames checks that every sidecar uses the same file of names, which no other user
// of the machine can write.
func checkNames(t *testing.T, f files) error {
	var p problems
	run, _, loaded, err := f.configured(t)
	if err != nil {
		return err
	}
	names := loaded.Spec.NameResolutionSpec
	if names == nil || names.Component != "sqlite" || names.Version != "v1" {
		return errors.New("names are not resolved by sqlite/v1, but on the network")
	}
	fields, ok := names.Configuration.(map[string]any)
	if !ok {
		return fmt.Errorf("the configuration of names is a %T", names.Configuration)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains([]string{"connectionString", "updateInterval", "timeout", "cleanupInterval"}, name) {
			p.add("sqlite has no field %q, or none that is used here", name)
		}
	}
	for _, app := range run.Apps {
		if file := path.Join(app.AppDirPath, fmt.Sprint(fields["connectionString"])); file != namesFile {
			p.add("%s's sidecar finds names in %s, not in %s", app.AppID, file, namesFile)
		}
	}
	checkNamesTimes(&p, fields)
	fields["connectionString"] = filepath.Join(t.TempDir(), "names.db")
	if _, err := resolver(t, fields); err != nil {
		p.add("sqlite refuses it: %w", err)
	}
	return p.err()
}

// checkNamesTimes checks that entries appear and expire in time.
func checkNamesTimes(p *problems, fields map[string]any) {
	duration := func(name string) time.Duration {
		d, err := time.ParseDuration(fmt.Sprint(fields[name]))
		if err != nil {
			p.add("%s: %w", name, err)
		}
		return d
	}
	update, timeout := duration("updateInterval"), duration("timeout")
	if update > slowestForgetting {
		p.add("updateInterval %s: a replica that was killed is called for longer than %s", update, slowestForgetting)
	}
	// An entry is renewed every updateInterval - timeout, and used for at least
	// updateInterval - 1 s, because ages are in whole seconds.
	if late := timeout - time.Second; late < time.Second {
		p.add("timeout %s: a sidecar that renews its entry %s late is not found", timeout, late)
	}
	if cleanup := duration("cleanupInterval"); cleanup != 0 {
		p.add("cleanupInterval %s: it deletes the names of the sidecars that run", cleanup)
	}
}

// resolver is the component that the runtime loads, registered as app "x".
func resolver(t *testing.T, fields map[string]any) (nameresolution.Resolver, error) {
	t.Helper()
	log := logger.NewLogger("names")
	log.SetOutputLevel(logger.FatalLevel)
	r := sqlite.NewResolver(log)
	err := r.Init(t.Context(), nameresolution.Metadata{
		Configuration: fields,
		Instance:      nameresolution.Instance{AppID: "x", Address: "127.0.0.1", DaprInternalPort: 50002},
	})
	if err == nil {
		t.Cleanup(func() { _ = r.Close() })
	}
	return r, err
}

// TestTheCleanupDeletesNamesThatAreInUse shows why the cleanup is off (dapr/dapr#8507).
// When it fails, the component is fixed, and cleanupInterval can go from
// components/shared/configuration.yaml.
func TestTheCleanupDeletesNamesThatAreInUse(t *testing.T) {
	r, err := resolver(t, map[string]any{
		"connectionString": filepath.Join(t.TempDir(), "names.db"), "cleanupInterval": "1s",
		"updateInterval": "1h", // the name is to be used for as long, and renewed after it
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if found, err := r.ResolveID(ctx, nameresolution.ResolveRequest{ID: "x"}); err != nil || found != "127.0.0.1:50002" {
		t.Fatalf("before the cleanup: %q, %v", found, err)
	}
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if _, err := r.ResolveID(ctx, nameresolution.ResolveRequest{ID: "x"}); errors.Is(err, sqlite.ErrNoHost) {
			return
		}
	}
	t.Error("the name is still there")
}
