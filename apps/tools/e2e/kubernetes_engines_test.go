//go:build k8s

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/apps/tools/system"
)

// fromAnotherPod returns the outcome of a connection from a server's pod, which can connect to
// anything: with Redis's client, or with the shell of PostgreSQL's image.
func fromAnotherPod(ip string, port int) string {
	pod, script := "redis-0", fmt.Sprintf("timeout 3 redis-cli -h %s -p %d ping 2>&1 || echo status $?", ip, port)
	if k8s.engine != system.RedisEngine {
		pod, script = "postgres-0", fmt.Sprintf("timeout 3 bash -c ': </dev/tcp/%s/%d' 2>&1 || echo status $?", ip, port)
	}
	out, err := k8s.kubectl("exec", pod, "--", "sh", "-c", script)
	if err != nil {
		return err.Error()
	}
	for _, refusal := range []string{"refused", "status 124", "status 143", "Could not connect"} {
		if strings.Contains(out, refusal) {
			return strings.TrimSpace(out)
		}
	}
	return "connected" // it got so far as to be misunderstood
}

// usersOfPostgres logs in with the secrets of the components, which PostgreSQL's container has
// in its environment.
func usersOfPostgres(t *testing.T) {
	as := func(user, password, query string) (string, error) {
		script := fmt.Sprintf(`PGPASSWORD=%s psql -h 127.0.0.1 -U %s -Atc '%s' 2>&1`, password, user, query)
		return k8s.kubectl("exec", "postgres-0", "--", "sh", "-c", script+" || [ $? = 1 ] || exit 9")
	}
	for _, owner := range system.Services {
		for _, of := range system.Services {
			out, err := as(owner+"-store", "$"+strings.ToUpper(owner)+"_STORE", fmt.Sprintf(`SELECT count(*) >= 0 FROM "%s-store".%[1]s_state`, of))
			if wanted := map[bool]string{true: "t\n", false: "permission denied for schema"}[of == owner]; err != nil || !strings.Contains(out, wanted) {
				t.Errorf("%s's user reads the store of %s: %q, %v; want %q", owner, of, out, err, wanted)
			}
		}
	}
	for user, password := range map[string]string{"postgres": "$POSTS_STORE", "posts-store": "$QUERY_STORE"} {
		if out, err := as(user, password, "SELECT 1"); err == nil {
			t.Errorf("%s logs in with the password %s: %s", user, password, out)
		}
	}
}

// usersOfRabbitMQ logs in as the bus, and as the user that RabbitMQ has by default.
func usersOfRabbitMQ(t *testing.T) {
	as := func(user, password string) error {
		_, err := k8s.kubectl("exec", "rabbitmq-0", "--", "sh", "-c", fmt.Sprintf("rabbitmqctl --quiet authenticate_user %s %s", user, password))
		return err
	}
	if err := as("bus", "$BUS"); err != nil {
		t.Error(err)
	}
	for _, password := range []string{"guest", "$BUS"} {
		if err := as("guest", password); err == nil {
			t.Errorf("guest logs in with %s", password)
		}
	}
}

// crashes end a server, at once if that can be done, from within its container.
var crashes = map[string][]string{
	"redis":    {"redis-cli", "--user", "operator", "shutdown", "nosave", "now", "force"},
	"postgres": {"pg_ctl", "stop", "--mode=immediate", "--pgdata=/data/postgres"},
	"rabbitmq": {"rabbitmqctl", "--quiet", "eval", "erlang:halt(1, [{flush, false}])."},
	// Its image has no other program. A process 1 gets no SIGKILL from within its container, so this
	// one ends in order.
	"nats": {"/nats-server", "--signal", "quit=1"},
}

// serversRestarted deletes the pod of each of the engine's servers, and then crashes the server.
// What was answered 201 before and after that is moderated and shown.
func serversRestarted(t *testing.T) {
	p := shared.createPost(t, "through restarts")
	eventually(t, func() error { return settled(shared.App("query"), p.ID, nil) })
	comments := commentsOf(p)
	want := map[string]string{}
	goesOn := func() {
		t.Helper()
		want[commentedOnceTaken(t, comments)] = "approved"
		within(t, 2*soon, func() error { return settled(shared.App("query"), p.ID, want) })
	}
	servers := strings.Fields(k8s.must(t, "get", "statefulset", "--output", "jsonpath={.items[*].metadata.name}"))
	if len(servers) == 0 {
		t.Fatal("the engine has no servers")
	}
	for _, server := range servers {
		want[shared.createComment(t, p.ID, "before the pod is deleted").ID] = "approved"
		k8s.must(t, "delete", "pod", server+"-0")
		if err := k8s.awaitRollouts("statefulset", "deployment"); err != nil {
			t.Fatal(err)
		}
		goesOn()
		want[shared.createComment(t, p.ID, "before the crash").ID] = "approved"
		restarts := func() string {
			return k8s.must(t, "get", "pod", server+"-0", "--output", "jsonpath={.status.containerStatuses[0].restartCount}")
		}
		before := restarts()
		// The command may end with its container, and so with an error.
		out, err := k8s.kubectl(append([]string{"exec", server + "-0", "--"}, crashes[server]...)...)
		within(t, soon, func() error {
			if restarts() == before {
				return fmt.Errorf("%s runs still: %s, %w", server, out, err)
			}
			return nil
		})
		goesOn()
	}
}

func commentsOf(p post) string { return shared.url("comments", "/posts/"+p.ID+"/comments") }

// commentedOnceTaken comments on a post until that is answered 201, and returns the id.
func commentedOnceTaken(t *testing.T, comments string) (id string) {
	t.Helper()
	eventually(t, func() error {
		r, err := do("POST", comments, `{"content":"after"}`)
		if err == nil && r.status != http.StatusCreated {
			err = errors.New(r.String())
		}
		if err == nil {
			id = decode[comment](t, r.body).ID
		}
		return err
	})
	return id
}

// withoutRabbitMQ takes RabbitMQ away. Commands are answered 201, and their events go by the
// journals and the log alone. A comment on a new post waits until comments has the post from the
// log.
func withoutRabbitMQ(t *testing.T) {
	old := shared.createPost(t, "with a bus")
	first := commentedOnceTaken(t, commentsOf(old))
	k8s.must(t, "scale", "statefulset/rabbitmq", "--replicas=0")
	back := func() {
		k8s.must(t, "scale", "statefulset/rabbitmq", "--replicas=1")
		if err := k8s.awaitRollouts("statefulset", "deployment"); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(back)
	k8s.must(t, "wait", "pod/rabbitmq-0", "--for=delete", "--timeout=1m")
	onOld := map[string]string{first: "approved", shared.createComment(t, old.ID, "without a bus").ID: "approved"}
	p := shared.createPost(t, "without a bus")
	onNew := map[string]string{commentedOnceTaken(t, commentsOf(p)): "approved"}
	settle := func(atMost time.Duration) {
		t.Helper()
		within(t, atMost, func() error {
			return errors.Join(settled(shared.App("query"), old.ID, onOld), settled(shared.App("query"), p.ID, onNew))
		})
	}
	settle(3 * soon)
	back()
	onNew[shared.createComment(t, p.ID, "with a bus").ID] = "approved"
	settle(2 * soon)
}
