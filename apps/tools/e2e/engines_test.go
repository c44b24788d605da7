package e2e

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// servers are the servers of the engine, each as its daemons, in the order in which they were
// started.
func (s *stack) servers() [][]*system.Daemon {
	var all [][]*system.Daemon
	for _, kind := range kindsOf(s.engine) {
		all = append(all, s.daemonsOf(kind))
	}
	return all
}

// Each daemon is killed and started again. What was answered 201 before and after that is
// moderated and shown. Where a server is several nodes, this goes on while one of them is dead.
func TestARestartOfTheEngineLosesNothing(t *testing.T) {
	s := another(t, nil, built.binaries)
	p := s.createPost(t, "through restarts")
	want := map[string]string{}
	// add adds a comment as soon as one is taken.
	add := func(content string) {
		eventually(t, func() error {
			r, err := do("POST", s.url("comments", "/posts/"+p.ID+"/comments"), `{"content":"`+content+`"}`)
			if err == nil && r.status != http.StatusCreated {
				err = fmt.Errorf("a comment is answered %s", r)
			}
			if err == nil {
				want[decode[struct{ ID string }](t, r.body).ID] = "approved"
			}
			return err
		})
	}
	servers := s.servers()
	if len(servers) == 0 {
		t.Fatal("the engine has no servers")
	}
	for _, nodes := range servers {
		for _, node := range nodes {
			add("before")
			killDaemons(t, []*system.Daemon{node})
			if len(nodes) > 1 {
				add("without a node")
				eventually(t, func() error { return settled(s.App("query"), p.ID, want) })
			}
			startDaemons(t, []*system.Daemon{node})
			add("after")
		}
	}
	eventually(t, func() error { return settled(s.App("query"), p.ID, want) })
}

// Within an engine no password is asked for, or one that everybody knows.
func TestTheEngineListensOnLoopbackAlone(t *testing.T) {
	for _, nodes := range shared.servers() {
		for _, node := range nodes {
			addresses, err := system.ListenersOf(node.PID())
			if err != nil || len(addresses) == 0 {
				t.Errorf("process %d listens at %v, error %v", node.PID(), addresses, err)
			}
			for _, address := range addresses {
				if host, _, err := net.SplitHostPort(address); err != nil || !net.ParseIP(host).IsLoopback() {
					t.Errorf("process %d listens at %s", node.PID(), address)
				}
			}
		}
	}
}
