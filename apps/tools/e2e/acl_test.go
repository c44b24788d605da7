package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postbus/postbus/apps/tools/system"
)

// passwordOf is the password that the tests give to a user of Redis.
func passwordOf(user string) string { return "password-of-redis-" + user }

// clusterServer is the script of a server in k8s/, and its environment. The password of each
// secret is password-of- and the secret's name.
func clusterServer(t *testing.T, name string) (script string, env []string) {
	t.Helper()
	docs, err := system.ReadYAML(filepath.Join(built.checkout.Root, "k8s", name, name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(docs, func(d system.Document) bool { return d["kind"] == "StatefulSet" })
	container := field(field(field(field(docs[i], "spec"), "template"), "spec"), "containers").([]any)[0].(system.Document) //nolint:forcetypeassert,errcheck // apps/tools/k8s checks the file
	command := container["command"].([]any)                                                                                 //nolint:forcetypeassert,errcheck // as above
	for _, v := range container["env"].([]any) {                                                                            //nolint:forcetypeassert,errcheck // as above
		value := field(v, "value")
		if secret := field(field(v, "valueFrom"), "secretKeyRef"); secret != nil {
			if optional, _ := field(secret, "optional").(bool); optional {
				continue
			}
			value = fmt.Sprint("password-of-", field(secret, "name"))
		}
		env = append(env, fmt.Sprintf("%s=%s", field(v, "name"), value))
	}
	return fmt.Sprint(command[len(command)-1]), env
}

// onThisMachine replaces what a server's script has of its container.
func onThisMachine(t *testing.T, script string, replaced map[string]string) string {
	t.Helper()
	for old, here := range replaced {
		if strings.Count(script, old) == 0 {
			t.Fatalf("the script has no %q", old)
		}
		script = strings.ReplaceAll(script, old, here)
	}
	return script
}

// clusterRedis starts a Redis with the script of k8s/redis/redis.yaml and the users of
// k8s/redis/users.acl, for app ids with a suffix. It ends with the test. The variables
// are added to those that the script gets from secrets. restart stops it as Kubernetes
// does, and starts it again.
func clusterRedis(t *testing.T, suffix string, variables ...string) (address string, restart func()) {
	t.Helper()
	files := filepath.Join(built.checkout.Root, "k8s", "redis")
	script, env := clusterServer(t, "redis")
	users, err := os.ReadFile(filepath.Join(files, "users.acl")) //nolint:gosec // within the checkout
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acl := filepath.Join(dir, "users.acl")
	if err := os.WriteFile(acl, []byte(strings.ReplaceAll(string(users), "||", suffix+"||")), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := system.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	script = onThisMachine(t, script, map[string]string{
		"/etc/redis/users.acl": acl,
		"\ndir /data\n":        fmt.Sprintf("\ndir %s\nbind 127.0.0.1\nport %d\n", dir, port),
	})
	p := &system.Process{Args: []string{"sh", "-c", script}, Dir: dir, Env: append(append(os.Environ(), env...), variables...)}
	log, err := os.Create(filepath.Join(dir, "redis.log")) //nolint:gosec // our own folder
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(log); err != nil {
		t.Fatal(err)
	}
	stopsBy(p, func() { _ = p.Kill(context.Background()) })
	t.Cleanup(func() {
		_ = p.Kill(context.Background())
		stopsBy(p, nil)
		_ = log.Close()
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Redis said:\n%s", said)
		}
	})
	address = fmt.Sprintf("127.0.0.1:%d", port)
	operator := as(t, address, "operator")
	eventually(t, func() error { return operator.Ping(t.Context()).Err() })
	return address, func() {
		t.Helper()
		err := errors.Join(p.Signal(syscall.SIGTERM), p.AwaitEnd(t.Context()), p.Start(log))
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return operator.Ping(t.Context()).Err() })
	}
}

// After a restart, everything that a component wrote is still there, transactions
// included.
func TestARestartOfTheClustersRedisLosesNothing(t *testing.T) {
	needs(t, redisKind, "it is a test of the users that Redis has on a cluster")
	address, restart := clusterRedis(t, "")
	ctx := t.Context()
	store, bus := as(t, address, "posts-store"), as(t, address, "bus")
	write := func(n int) {
		t.Helper()
		_, err := store.TxPipelined(ctx, func(tx redis.Pipeliner) error { // Dapr writes several keys like that
			for i := range 2 {
				tx.Eval(ctx, `redis.call("HSET", KEYS[1], "data", ARGV[1])`, []string{fmt.Sprintf("posts||%d-%d", n, i)}, "x")
			}
			return nil
		})
		alone := store.HSet(ctx, fmt.Sprintf("posts||%d", n), "data", "x").Err()
		if err = errors.Join(err, alone, bus.XAdd(ctx, &redis.XAddArgs{Stream: "PostCreated", Values: []string{"data", "x"}}).Err()); err != nil && !errors.Is(err, redis.Nil) {
			t.Fatal(err)
		}
	}
	operator := as(t, address, "operator")
	for n := range 2 {
		write(n)
		restart()
		keys, err := operator.DBSize(ctx).Result()
		if err != nil || keys != int64(3*(n+1)+1) {
			t.Errorf("after %d restarts there are %d keys, %v", n+1, keys, err)
		}
		if events, err := operator.XLen(ctx, "PostCreated").Result(); err != nil || events != int64(n+1) {
			t.Errorf("after %d restarts there are %d events, %v", n+1, events, err)
		}
	}
}

// field is a field of a document, or nil.
func field(v any, name string) any {
	doc, _ := v.(system.Document)
	return doc[name]
}

// as returns a connection of one of the users.
func as(t *testing.T, address, user string) *redis.Client {
	t.Helper()
	return connect(t, redis.Options{Addr: address, Username: user, Password: passwordOf(user)})
}

func connect(t *testing.T, at redis.Options) *redis.Client {
	t.Helper()
	c := redis.NewClient(&at)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestEachComponentHasAUserOfItsOwn runs the system on the Redis of k8s/redis, each
// component with its own user. Then it tries as each user to reach the keys of others.
func TestEachComponentHasAUserOfItsOwn(t *testing.T) {
	needs(t, redisKind, "it is a test of the users that Redis has on a cluster")
	var address, suffix string
	s := another(t, func(doc system.Document) {
		if doc["kind"] != "Component" || doc["scopes"] == nil { // every component in Redis has scopes
			return
		}
		if address == "" { // the app ids are known only here
			id := fmt.Sprint(doc["scopes"].([]any)[0]) //nolint:forcetypeassert,errcheck // they are a list
			suffix = id[strings.Index(id, "-"):]
			address, _ = clusterRedis(t, suffix)
		}
		user := fmt.Sprint(field(doc["metadata"], "name"))
		spec := doc["spec"].(system.Document)                                                                              //nolint:forcetypeassert,errcheck // as above
		fields := slices.DeleteFunc(spec["metadata"].([]any), func(f any) bool { return field(f, "name") == "redisHost" }) //nolint:forcetypeassert,errcheck // as above
		for name, value := range map[string]string{"redisHost": address, "redisUsername": user, "redisPassword": passwordOf(user)} {
			fields = append(fields, system.Document{"name": name, "value": value})
		}
		spec["metadata"] = fields
	}, built.binaries)
	s.redisAt = redis.Options{Addr: address, Username: "operator", Password: passwordOf("operator")}
	store := s.store(t)

	flowsOn(t, s, store)
	// If Redis has refused anything so far, a component needs it.
	if refused, err := store.ACLLog(t.Context(), 10).Result(); err != nil || len(refused) > 0 {
		for _, r := range refused {
			t.Errorf("%s was refused %s %s", r.Username, r.Reason, r.Object)
		}
		t.Errorf("refused in all: %d, %v", len(refused), err)
	}
	othersAreOutOfReach(t, s, address)
}

// flowsOn uses everything that the components do in Redis: also claiming the messages of
// a killed sidecar, dead letters, keys with a time to live, and snapshots.
func flowsOn(t *testing.T, s *stack, store *redis.Client) {
	t.Helper()
	first := s.write(t, 2, 3)
	eventually(t, func() error { return first.shownAt(t, s, s.App("query").Port) })
	key := "Idempotency-Key: on a Redis with users"
	once := want(t, 201, "POST", s.url("posts", "/posts/create"), `{"title":"once"}`, key)
	if again := want(t, 201, "POST", s.url("posts", "/posts/create"), `{"title":"once"}`, key); string(again.body) != string(once.body) {
		t.Errorf("a repeat is another post: %s, %s", once, again)
	}
	s.put(t, "CommentUpdated", "no event")
	eventually(t, func() error {
		if n := len(readDeadLetters(t, s)); n != len(subscribers("CommentUpdated")) {
			return fmt.Errorf("%d dead letters", n)
		}
		return nil
	})
	// The next sidecar claims the messages that a killed app and sidecar held.
	moderation := s.App("moderation")
	app := s.killAll(t, moderation.Port)
	held := s.write(t, 1, 2)
	eventually(t, func() error { return somethingIsPending(t, store, "CommentCreated", moderation.ID) })
	sidecar := s.killAll(t, moderation.HTTPPort)
	s.restart(t, append(sidecar, app...))
	eventually(t, func() error { return held.shownAt(t, s, s.App("query").Port) })
	s.quiet(t)
	checkLog(t, events(t, s.App("eventlog")))
}

// somethingIsPending returns nil when a group has unacknowledged messages.
func somethingIsPending(t *testing.T, store *redis.Client, topic, group string) error {
	pending, err := store.XPending(t.Context(), topic, group).Result()
	if err == nil && pending.Count == 0 {
		err = errors.New("nothing is pending")
	}
	return err
}

// othersAreOutOfReach tries, as each user, to reach keys of other components and unused
// keys.
func othersAreOutOfReach(t *testing.T, s *stack, address string) {
	ctx := t.Context()
	streams := append(slices.Clone(topics), "dead-letters")
	for _, owner := range system.Services {
		c := as(t, address, owner+"-store")
		for _, of := range system.Services {
			key := s.App(of).ID + "||of the test"
			write, read := c.HSet(ctx, key, "data", "x").Err(), c.HGetAll(ctx, key).Err()
			script := c.Eval(ctx, `return redis.call("HSET", KEYS[1], "data", "y")`, []string{key}).Err()
			// A key that the script does not declare.
			hidden := c.Eval(ctx, `return redis.call("HGETALL", "`+key+`")`, nil).Err()
			if err := errors.Join(write, read, script, hidden); of == owner && err != nil {
				t.Errorf("%s's user is refused its own key: %v", owner, err)
			}
			for what, err := range map[string]error{"write": write, "read": read, "write by a script": script, "read by a script": hidden} {
				if of != owner && !isRefused(err) {
					t.Errorf("%s's user may %s %s's keys: %v", owner, what, of, err)
				}
			}
		}
		for _, topic := range streams {
			if err := c.Do(ctx, "XADD", topic, "*", "data", "x").Err(); !isRefused(err) {
				t.Errorf("%s's user may write to %s: %v", owner, topic, err)
			}
		}
		noAdministrator(t, owner+"-store", c)
	}
	bus := as(t, address, "bus")
	for _, topic := range streams {
		if err := bus.XPending(ctx, topic, s.App("eventlog").ID).Err(); err != nil {
			t.Errorf("the bus's user is refused %s: %v", topic, err)
		}
	}
	for _, of := range system.Services {
		key := s.App(of).ID + "||of the test"
		for _, command := range [][]any{{"HGETALL", key}, {"HSET", key, "data", "x"}, {"DEL", key}, {"XADD", key, "*", "data", "x"}} {
			if err := bus.Do(ctx, command...).Err(); !isRefused(err) {
				t.Errorf("the bus's user may %v: %v", command, err)
			}
		}
	}
	if err := bus.Do(ctx, "XADD", "another-topic", "*", "data", "x").Err(); !isRefused(err) {
		t.Errorf("the bus's user may make a topic: %v", err)
	}
	noAdministrator(t, "bus", bus)
	for name, at := range map[string]redis.Options{
		"nobody":                          {Addr: address},
		"the default user":                {Addr: address, Password: passwordOf("operator")},
		"a store with the bus's password": {Addr: address, Username: "posts-store", Password: passwordOf("bus")},
	} {
		if err := connect(t, at).Ping(ctx).Err(); err == nil {
			t.Errorf("%s may log in", name)
		}
	}
}

// noAdministrator fails the test if a user may run an administrator's command.
func noAdministrator(t *testing.T, user string, c *redis.Client) {
	t.Helper()
	for _, command := range [][]any{
		{"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "0"}, {"ACL", "LIST"}, {"KEYS", "*"}, {"SCAN", "0"},
		{"CLIENT", "LIST"}, {"CLIENT", "KILL", "TYPE", "normal"}, {"SHUTDOWN"}, {"MONITOR"}, {"SYNC"}, {"REPLICAOF", "NO", "ONE"}, {"BGSAVE"},
	} {
		if err := c.Do(t.Context(), command...).Err(); !isRefused(err) {
			t.Errorf("%s may %v: %v", user, command, err)
		}
	}
}

// isRefused reports whether Redis has refused a command to a user. For a script, Redis
// 7.0 words the error differently from later versions.
func isRefused(err error) bool {
	return err != nil && slices.ContainsFunc([]string{"NOPERM", "The user executing the script can't", "ACL failure in script"},
		func(words string) bool { return strings.Contains(err.Error(), words) })
}

// TestAnOlderVersionsPasswordIsValidUntilItsSecretIsGone covers an update, in which apps
// of both versions run.
func TestAnOlderVersionsPasswordIsValidUntilItsSecretIsGone(t *testing.T) {
	needs(t, redisKind, "it is a test of the users that Redis has on a cluster")
	address, _ := clusterRedis(t, "", "OLD_PASSWORD=of-all")
	old := connect(t, redis.Options{Addr: address, Password: "of-all"})
	if err := errors.Join(old.HSet(t.Context(), "posts||x", "data", "x").Err(), old.Do(t.Context(), "XADD", "PostCreated", "*", "data", "x").Err()); err != nil {
		t.Error(err)
	}
	if err := as(t, address, "posts-store").HGetAll(t.Context(), "posts||x").Err(); err != nil {
		t.Error("beside it, a new one:", err)
	}
	if err := connect(t, redis.Options{Addr: address}).Ping(t.Context()).Err(); err == nil {
		t.Error("nobody's password is valid, too")
	}
}
