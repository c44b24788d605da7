package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// TestAServiceRefusesAStoreThatLosesARaceInSilence starts posts twice. All is the same but for
// the type and the metadata of its store.
func TestAServiceRefusesAStoreThatLosesARaceInSilence(t *testing.T) {
	daprd, err := built.checkout.BuildRuntimeWithEtcd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	etcd := startEtcd(t)

	t.Run("etcd's is refused", func(t *testing.T) {
		began := shared.logSize(t)
		_, posts := postsWithStore(t, daprd, func(spec system.Document) {
			spec["type"], spec["version"] = "state.etcd", "v2"
			spec["metadata"] = []any{system.Document{"name": "endpoints", "value": etcd}}
		})
		if err := posts.AwaitEnd(t.Context()); err != nil {
			t.Fatal(err)
		}
		if status := posts.ExitStatus(); status != 1 {
			t.Errorf("it exits with %d", status)
		}
		const name = "the state store posts-store (state.etcd/v2) does not keep the state contract: "
		lines := shared.logged(t, began, "can't serve")
		// On a busy machine one race may be none. There are two.
		if len(lines) != 1 || !strings.Contains(lines[0], name) || !strings.Contains(lines[0], "by one alone of several writers that race for it") {
			t.Errorf("it says %q, want one line with %q and the line of the contract", lines, name)
		}
	})

	t.Run("the engine's is accepted", func(t *testing.T) {
		a, posts := postsWithStore(t, daprd, func(system.Document) {})
		eventually(t, func() error {
			r, err := do("POST", a.URL()+"/posts/create", `{"title":"in a store that fits"}`)
			if err == nil && r.status != 201 {
				err = fmt.Errorf("a post is answered %s", r)
			}
			return err
		})
		if posts.HasEnded() {
			t.Errorf("it has ended with %d", posts.ExitStatus())
		}
	})
}

// postsWithStore starts posts with a sidecar that has its store, as edited, and no bus. It has an
// app id of its own, so that nobody calls it, and finds no eventlog. It ends with the test.
func postsWithStore(t *testing.T, daprd string, edit func(spec system.Document)) (system.App, *system.Process) {
	t.Helper()
	a, sidecar, app := shared.shifted(t, "posts")
	was := a.ID
	a.ID += "-alone"
	for _, p := range []*system.Process{sidecar, app} {
		for _, list := range [][]string{p.Args, p.Env} {
			for i := range list {
				list[i] = strings.ReplaceAll(list[i], was, a.ID)
			}
		}
	}
	app.Env = append(app.Env, "EVENTLOG_APP_ID=nobody")
	args := []string{daprd, "--resources-path", storeOfPosts(t, a.ID, edit)}
	for i := 1; i < len(sidecar.Args); i++ {
		if sidecar.Args[i] == "--resources-path" && filepath.Base(sidecar.Args[i+1]) != "shared" {
			i++ // the folders of the engine, with the bus
			continue
		}
		args = append(args, sidecar.Args[i])
	}
	sidecar.Args = args
	for _, p := range []*system.Process{sidecar, app} {
		shared.launch(t, p)
		t.Cleanup(func() { end(t, p) })
	}
	return a, app
}

// storeOfPosts writes the store of posts, edited and for another app id, into a folder of its own.
func storeOfPosts(t *testing.T, id string, edit func(spec system.Document)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files, err := filepath.Glob(filepath.Join(shared.dir, "components", "*", "posts-store.yaml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the store of posts is %v, error %v", files, err)
	}
	docs, err := system.ReadYAML(files[0])
	if err != nil {
		t.Fatal(err)
	}
	docs[0]["scopes"] = []any{id}
	edit(docs[0]["spec"].(system.Document)) //nolint:forcetypeassert,errcheck // the committed file has it
	if err := system.WriteYAML(filepath.Join(dir, filepath.Base(files[0])), docs...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startEtcd starts an etcd that ends with the test, and returns its address.
func startEtcd(t *testing.T) string {
	t.Helper()
	path, err := system.InstallEtcd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ports, err := system.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	address, dir := fmt.Sprintf("127.0.0.1:%d", ports[0]), t.TempDir()
	etcd := &system.Process{Dir: dir, Env: os.Environ(), Args: []string{
		path, "--data-dir", filepath.Join(dir, "data"), "--log-level", "error",
		"--listen-client-urls", "http://" + address, "--advertise-client-urls", "http://" + address,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
	}}
	shared.launch(t, etcd)
	t.Cleanup(func() { end(t, etcd) })
	eventually(t, func() error {
		r, err := do("GET", "http://"+address+"/health", "")
		if err == nil && r.status != 200 {
			err = fmt.Errorf("etcd answers %s", r)
		}
		return err
	})
	return address
}

// end ends a process that was started here, unless it has ended by itself.
func end(t *testing.T, p *system.Process) {
	t.Helper()
	if p.HasEnded() {
		return
	}
	if err := p.Kill(context.Background()); err != nil { // the test's own context is done
		t.Error(err)
	}
}
