package system

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnEngineIsChosenByItsName(t *testing.T) {
	for name, want := range map[string]Engine{"": RedisEngine, "redis": RedisEngine, "postgres-rabbitmq": PostgresRabbitMQ} {
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
	for _, e := range Engines {
		if _, err := os.Stat(e.RunFile(c.Root)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(c.Root, "components", string(e))); err != nil {
			t.Error(err)
		}
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
