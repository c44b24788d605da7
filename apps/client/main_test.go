package main

import (
	"io/fs"
	"testing"

	"github.com/postbus/postbus/apps/client/host"
	"github.com/postbus/postbus/apps/client/signin"
	"github.com/postbus/postbus/apps/internal/web"
)

// The test serves the placeholder, and the real build if there is one.
func TestWhatIsEmbeddedCanBeServed(t *testing.T) {
	dist, err := fs.Sub(built, "web/dist")
	if err != nil {
		t.Fatal(err)
	}
	if err := (&host.Host{Files: dist, SignIn: &signin.SignIn{}}).Routes(web.NewEngine()); err != nil {
		t.Error(err)
	}
}
