package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// daemons are the daemons of the engine, in the order in which they were started.
func (s *stack) daemons() []*system.Daemon {
	var all []*system.Daemon
	if s.redis != nil {
		all = append(all, &s.redis.Daemon)
	}
	for _, server := range s.alone.Servers.Started {
		all = append(all, server.Daemons()...)
	}
	return all
}

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
		if err := daemon.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := daemon.AwaitEnd(); err != nil {
			t.Fatal(err)
		}
		// PostgreSQL refuses to start while a process of the one that was killed is left.
		eventually(t, func() error { return daemon.Start(t.Context()) })
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
