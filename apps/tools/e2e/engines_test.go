package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// Each daemon is killed and started again. What was answered 201 before and after that is
// moderated and shown.
func TestARestartOfTheEngineLosesNothing(t *testing.T) {
	s := another(t, nil, built.binaries)
	p := s.createPost(t, "through restarts")
	want := map[string]string{}
	daemons := s.daemons()
	if len(daemons) == 0 {
		t.Fatal("the engine has no daemons")
	}
	for _, daemon := range daemons {
		want[s.createComment(t, p.ID, "before").ID] = "approved"
		killDaemons(t, []*system.Daemon{daemon})
		startDaemons(t, []*system.Daemon{daemon})
		eventually(t, func() error {
			r, err := do("POST", s.url("comments", "/posts/"+p.ID+"/comments"), `{"content":"after"}`)
			if err == nil && r.status != http.StatusCreated {
				err = fmt.Errorf("a comment is answered %s", r)
			}
			if err == nil {
				want[decode[comment](t, r.body).ID] = "approved"
			}
			return err
		})
	}
	eventually(t, func() error { return settled(s.App("query"), p.ID, want) })
}
