package main

import (
	"io/fs"
	"testing"

	"github.com/postbus/postbus/apps/client/host"
	"github.com/postbus/postbus/apps/internal/web"
)

// The placeholder and, if there is one, the real build.
func TestWhatIsEmbeddedCanBeServed(t *testing.T) {
	dist, err := fs.Sub(built, "web/dist")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&host.Host{Files: dist}).Routes(web.NewEngine()); err != nil {
		t.Error(err)
	}
}
