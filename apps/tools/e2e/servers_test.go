package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postbus/postbus/apps/tools/system"
)

// serverProcess starts a server's script of k8s/, which ends with the test.
func serverProcess(t *testing.T, p *system.Process, log string) {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // our own folder
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(out); err != nil {
		t.Fatal(err)
	}
	stopsBy(p, func() { _ = p.Kill(context.Background()) })
	t.Cleanup(func() {
		if !p.HasEnded() {
			_ = p.Kill(context.Background())
		}
		stopsBy(p, nil)
		_ = out.Close()
		if said, err := os.ReadFile(log); t.Failed() && err == nil { //nolint:gosec // as above
			t.Logf("the server said:\n%s", said)
		}
	})
}

// clusterPostgres is the PostgreSQL of k8s/postgres on this machine.
type clusterPostgres struct {
	*system.Process
	dir, log string
	port     int
}

// newClusterPostgres prepares the script of k8s/postgres/postgres.yaml. PostgreSQL does not run
// as root, so it runs as the package's user then.
func newClusterPostgres(t *testing.T) *clusterPostgres {
	t.Helper()
	if _, err := system.Install(t.Context(), "the PostgreSQL of k8s/", "pg_ctlcluster", "postgresql"); err != nil {
		t.Fatal(err)
	}
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	port, err := system.FreePort()
	if err != nil || len(programs) == 0 {
		t.Fatal(programs, err)
	}
	dir, err := os.MkdirTemp("", "postbus-postgres-") //nolint:usetesting // the folder above one of t's is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args := []string{"sh", "-c"}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}, args...)
	}
	script, env := clusterServer(t, "postgres")
	script = onThisMachine(t, script, map[string]string{
		"/etc/postgres/user.sql": filepath.Join(dir, "user.sql"),
		"/data/":                 dir + "/",
		"/run/postgresql":        dir,
		"listen_addresses='*'":   fmt.Sprintf("listen_addresses=127.0.0.1 -c port=%d", port),
	})
	raw, err := os.ReadFile(filepath.Join(built.checkout.Root, "k8s", "postgres", "user.sql"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "user.sql"), raw, 0o644) //nolint:gosec // it has no password
	}
	if err != nil {
		t.Fatal(err)
	}
	env = append(append(os.Environ(), env...), "PATH="+slices.Max(programs)+":"+os.Getenv("PATH"))
	return &clusterPostgres{&system.Process{Args: append(args, script), Dir: "/", Env: env}, dir, filepath.Join(t.TempDir(), "log"), port}
}

// as runs a statement as a user.
func (p *clusterPostgres) as(t *testing.T, user, password, statement string) (string, error) {
	t.Helper()
	at := fmt.Sprintf("host=127.0.0.1 port=%d dbname=postbus user=%s password=%s connect_timeout=5", p.port, user, password)
	out, err := exec.CommandContext(t.Context(), "psql", at, "-AtXc", statement).CombinedOutput() //nolint:gosec // the arguments are ours
	return strings.TrimSpace(string(out)), err
}

// starts starts it and waits until a user can log in.
func (p *clusterPostgres) starts(t *testing.T, user, password string) {
	t.Helper()
	serverProcess(t, p.Process, p.log)
	eventually(t, func() error {
		if p.HasEnded() {
			t.Fatal("PostgreSQL has ended")
		}
		if out, err := p.as(t, user, password, "SELECT 1"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// killed kills it, and waits until its children have ended, too: it does not start beside them.
func (p *clusterPostgres) killed(t *testing.T) {
	t.Helper()
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		processes, err := filepath.Glob("/proc/[0-9]*/cwd")
		for _, process := range processes {
			if dir, err := os.Readlink(process); err == nil && strings.HasPrefix(dir, p.dir) {
				return fmt.Errorf("%s is %s", process, dir)
			}
		}
		return err
	})
}

// Each store reaches its own tables in the PostgreSQL of k8s/, and no others. What it has
// committed survives a kill, and a changed password is valid after a restart.
func TestTheClustersPostgresKeepsStoresApart(t *testing.T) {
	p := newClusterPostgres(t)
	password := func(owner string) string { return "password-of-postgres-" + owner + "-store" }
	p.starts(t, "posts-store", password("posts"))
	for _, owner := range system.Services {
		if out, err := p.as(t, owner+"-store", password(owner), "CREATE TABLE state (x int); INSERT INTO state VALUES (1)"); err != nil {
			t.Errorf("%s's user is refused a table: %s", owner, out)
		}
	}
	for _, owner := range system.Services {
		for _, of := range system.Services {
			for _, statement := range []string{`SELECT x FROM "%s-store".state`, `INSERT INTO "%s-store".state VALUES (2)`, `CREATE TABLE "%s-store".another (x int)`} {
				out, err := p.as(t, owner+"-store", password(owner), fmt.Sprintf(statement, of))
				if of == owner && err != nil || of != owner && !strings.Contains(out, "permission denied") {
					t.Errorf("%s's user: "+statement+": %s", owner, of, out)
				}
			}
		}
		for _, statement := range []string{"CREATE TABLE public.x (x int)", "CREATE ROLE x", "CREATE DATABASE x", "COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('/etc/passwd')", `SET ROLE postgres`} {
			if out, err := p.as(t, owner+"-store", password(owner), statement); err == nil {
				t.Errorf("%s's user may %s: %s", owner, statement, out)
			}
		}
	}
	for user, password := range map[string]string{"postgres": "", "posts-store": password("query"), "nobody": "x"} {
		if out, err := p.as(t, user, password, "SELECT 1"); err == nil {
			t.Errorf("%s logs in with the password %q: %s", user, password, out)
		}
	}

	for i, v := range p.Env {
		if strings.HasPrefix(v, "POSTS_STORE=") {
			p.Env[i] = "POSTS_STORE=another"
		}
	}
	p.killed(t)
	p.starts(t, "posts-store", "another")
	if out, err := p.as(t, "posts-store", "another", "SELECT x FROM state ORDER BY x"); err != nil || out != "1\n2" {
		t.Errorf("after a kill the table has %q, %v", out, err)
	}
	if out, err := p.as(t, "posts-store", password("posts"), "SELECT 1"); err == nil {
		t.Errorf("the old password is valid: %s", out)
	}
	if said, err := os.ReadFile(p.log); err != nil || strings.Contains(string(said), "password-of-") {
		t.Errorf("the log has a password, or cannot be read: %v", err)
	}
}

// clusterRabbitMQ starts the RabbitMQ of k8s/rabbitmq on this machine, which ends with the test.
// ctl runs rabbitmqctl on it.
func clusterRabbitMQ(t *testing.T) (ctl func(args ...string) (string, error)) {
	t.Helper()
	const programs = "/usr/lib/rabbitmq/bin" // what Debian has on PATH asks for root
	if _, err := system.Install(t.Context(), "the RabbitMQ of k8s/", filepath.Join(programs, "rabbitmq-server"), "rabbitmq-server"); err != nil {
		t.Fatal(err)
	}
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = system.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	dir, files := t.TempDir(), filepath.Join(built.checkout.Root, "k8s", "rabbitmq")
	definitions := map[string]string{"/run/rabbitmq/definitions.json": filepath.Join(dir, "definitions.json")}
	raw, err := os.ReadFile(filepath.Join(files, "rabbitmq.conf")) //nolint:gosec // within the checkout
	if err == nil {
		conf := onThisMachine(t, string(raw), map[string]string{"listeners.tcp.default = 5672": fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d", ports[0])})
		err = os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(onThisMachine(t, conf, definitions)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	script, env := clusterServer(t, "rabbitmq")
	env = append(append(os.Environ(), env...), "PATH="+programs+":"+os.Getenv("PATH"), "HOME="+dir,
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(files, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "data"), "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_NODENAME=cluster@localhost",
		fmt.Sprint("RABBITMQ_DIST_PORT=", ports[1]), fmt.Sprint("ERL_EPMD_PORT=", ports[2]))
	p := &system.Process{Dir: dir, Env: env, Args: []string{"sh", "-c", onThisMachine(t, script, definitions)}}
	serverProcess(t, p, filepath.Join(dir, "log"))
	t.Cleanup(func() { // before it is killed, which would leave Erlang's port mapper
		_ = errors.Join(p.Signal(syscall.SIGTERM), p.AwaitEnd(context.Background()), system.StopEpmd(ports[2]))
	})
	eventually(t, func() error {
		if p.HasEnded() {
			t.Fatal("RabbitMQ has ended")
		}
		return system.RabbitMQAnswers(fmt.Sprint("127.0.0.1:", ports[0]))
	})
	return func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "rabbitmqctl"), append([]string{"--quiet"}, args...)...) //nolint:gosec // the arguments are ours
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// The RabbitMQ of k8s/ starts with its configuration and definitions, and knows the bus alone.
func TestTheClustersRabbitMQKnowsTheBusAlone(t *testing.T) {
	ctl := clusterRabbitMQ(t)
	for _, check := range []struct{ args, want string }{
		{"list_users --no-table-headers", "bus\t[]\n"},
		{"authenticate_user bus password-of-rabbitmq-bus", "Success\n"},
		{"list_permissions --no-table-headers", "bus\t.*\t.*\t.*\n"},
		{"list_policies --no-table-headers", `{"delivery-limit":1000000}`},
		{"environment", "{consumer_timeout,604800000}"},
	} {
		if out, err := ctl(strings.Fields(check.args)...); err != nil || !strings.Contains(out, check.want) {
			t.Errorf("rabbitmqctl %s: %s%v; want %q", check.args, out, err, check.want)
		}
	}
	if out, err := ctl("authenticate_user", "guest", "guest"); err == nil {
		t.Errorf("guest is let in: %s", out)
	}
}
