package system

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAnEngineIsChosenByItsName(t *testing.T) {
	for name, want := range map[string]Engine{"": RedisEngine, "redis": RedisEngine, "postgres-rabbitmq": PostgresRabbitMQ, "postgres-jetstream": PostgresJetStream, "redis-ha": RedisHA} {
		if got, err := EngineOf(name); err != nil || got != want {
			t.Errorf("%q is %q, error %v, want %q", name, got, err, want)
		}
	}
	if _, err := EngineOf("mysql"); err == nil || !strings.Contains(err.Error(), "redis, postgres-rabbitmq") {
		t.Errorf("error %v, want one that names the engines", err)
	}
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{RedisEngine.RunFile(c.Root)}
	for _, e := range Engines()[1:] {
		want = append(want, e.RunFile(c.Root))
	}
	runFiles, err := filepath.Glob(filepath.Join(c.Root, "components", "*.yaml"))
	runFiles = append(runFiles, filepath.Join(c.Root, "dapr.yaml"))
	slices.Sort(want)
	if slices.Sort(runFiles); err != nil || !slices.Equal(runFiles, want) {
		t.Errorf("the run files are %v, error %v, want %v", runFiles, err, want)
	}
}

// A system on its own takes other ports, as many.
func TestNoTwoServersHaveAPort(t *testing.T) {
	of := map[int]*Kind{}
	for _, e := range Engines() {
		for _, kind := range e.Kinds() {
			for _, port := range kind.Ports {
				if other, taken := of[port]; taken && other != kind {
					t.Errorf("%s and %s have port %d", kind.Name, other.Name, port)
				}
				of[port] = kind
			}
		}
	}
	if ports, err := FreePorts(20); err != nil || len(slices.Compact(slices.Sorted(slices.Values(ports)))) != 20 {
		t.Errorf("the free ports are %v, error %v", ports, err)
	}
}

// Another program may have the port.
func TestOnlyAServerThatAnswersAsExpectedIsTakenForIt(t *testing.T) {
	for name, test := range map[string]struct {
		answers func(address string) error
		good    string
	}{
		"PostgreSQL": {PostgresAnswers, "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"},
		"RabbitMQ":   {RabbitMQAnswers, "AMQP\x00\x00\x09\x01"},
		"NATS":       {NATSAnswers, "INFO {\"server_id\":\"N\"}\r\n"},
		"Redis":      {RedisAnswers, "+PONG\r\n"},
	} {
		for answer, isGood := range map[string]bool{test.good: true, "HTTP/1.1 400 Bad Request\r\n": false, "": false} {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if conn, err := listener.Accept(); err == nil {
					_, _ = conn.Read(make([]byte, 100))
					_, _ = conn.Write([]byte(answer))
					_ = conn.Close()
				}
			}()
			if err := test.answers(listener.Addr().String()); (err == nil) != isGood {
				t.Errorf("%s: the answer %q is error %v", name, answer, err)
			}
			_ = listener.Close()
			if err := test.answers(listener.Addr().String()); err == nil {
				t.Errorf("%s: nobody is taken for it", name)
			}
		}
	}
}

func TestADaemonThatWasNeverStartedIsNoPanic(t *testing.T) {
	if err := (&Daemon{}).Stop(); err == nil {
		t.Error("no error")
	}
}
