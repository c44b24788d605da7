package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// Pinned are the versions that a checkout builds and is tested with, without their v.
type Pinned struct {
	// Runtime and Components are those of the sidecars, CLI is that of `dapr run`.
	Runtime, Components, CLI string
	// SDK is that of the services.
	SDK string
	// NATS is that of NATS's server.
	NATS string
}

// The folders of the modules that pin the Dapr runtime, the Dapr CLI, the SDK and NATS's server.
const (
	runtimeModule = "apps/tools/sidecar"
	cliModule     = "apps/tools/sidecar/cli"
	sdkModule     = "apps/internal"
	natsModule    = "apps/tools/nats"
)

// Pinned reads the versions from the go.mod files, which are the one place for them.
func (c Checkout) Pinned() (p Pinned, err error) {
	for _, pin := range []struct {
		version      *string
		module, path string
	}{
		{&p.Runtime, runtimeModule, "github.com/dapr/dapr"},
		{&p.Components, runtimeModule, "github.com/dapr/components-contrib"},
		{&p.CLI, cliModule, "github.com/dapr/cli"},
		{&p.SDK, sdkModule, "github.com/dapr/go-sdk"},
		{&p.NATS, natsModule, natsServer},
	} {
		if *pin.version, err = c.required(pin.module, pin.path); err != nil {
			return p, err
		}
	}
	return p, nil
}

// required returns the version, without its v, that a module in the checkout requires of
// another one. Go itself would first resolve thousands of other requirements.
func (c Checkout) required(module, path string) (string, error) {
	file := filepath.Join(c.Root, module, "go.mod")
	raw, err := os.ReadFile(file) //nolint:gosec // within the checkout
	if err != nil {
		return "", err
	}
	mod, err := modfile.ParseLax(file, raw, nil)
	if err != nil {
		return "", err
	}
	for _, r := range mod.Require {
		if r.Mod.Path == path {
			return strings.TrimPrefix(r.Mod.Version, "v"), nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", file, path)
}
