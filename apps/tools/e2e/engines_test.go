package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// servers are the servers of the engine, in the order in which they were started.
func (s *stack) servers() []*system.Daemon {
	var all []*system.Daemon
	if s.redis != nil {
		all = append(all, &s.redis.Daemon)
	}
	if p := s.alone.Servers.Postgres; p != nil {
		all = append(all, &p.Daemon)
	}
	if r := s.alone.Servers.RabbitMQ; r != nil {
		all = append(all, &r.Daemon)
	}
	return all
}

// Each server is killed and started again. What was answered 201 before and after that is
// moderated and shown.
func TestARestartOfTheEngineLosesNothing(t *testing.T) {
	s := another(t, nil, built.binaries)
	p := s.createPost(t, "through restarts")
	want := map[string]string{}
	servers := s.servers()
	if len(servers) == 0 {
		t.Fatal("the engine has no servers")
	}
	for _, server := range servers {
		want[s.createComment(t, p.ID, "before").ID] = "approved"
		if err := server.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := server.AwaitEnd(); err != nil {
			t.Fatal(err)
		}
		// PostgreSQL refuses to start while a process of the one that was killed is left.
		eventually(t, func() error { return server.Start(t.Context()) })
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
