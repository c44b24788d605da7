package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	psnet "github.com/shirou/gopsutil/v4/net"
)

// invoked is the address at which a sidecar calls an app.
func invoked(s *stack, caller, id, path string) string {
	return s.App(caller).Sidecar() + "/v1.0/invoke/" + id + "/method" + path
}

func TestSidecarsTakeNoPacketsFromTheNetwork(t *testing.T) {
	for _, a := range shared.Apps {
		if sockets := unconnected(t, shared.process(t, a.HTTPPort).PID); len(sockets) > 0 {
			t.Errorf("%s's sidecar takes UDP packets from anybody at %v", a.Name, sockets)
		}
	}
	wantInvoked(t, 200, "GET", invoked(shared, "client", shared.App("query").ID, "/posts"), "")
}

// unconnected are the addresses of a process's UDP sockets without a peer.
func unconnected(t *testing.T, pid int) (addresses []string) {
	t.Helper()
	sockets, err := psnet.ConnectionsPid("inet", int32(pid)) //nolint:gosec // Linux has at most 2^22
	if err != nil || !slices.ContainsFunc(sockets, func(s psnet.ConnectionStat) bool { return s.Status == "LISTEN" }) {
		t.Fatalf("process %d listens nowhere: %v, %v", pid, sockets, err)
	}
	for _, s := range sockets {
		if s.Type == syscall.SOCK_DGRAM && s.Raddr.Port == 0 {
			addresses = append(addresses, s.Laddr.String())
		}
	}
	return addresses
}

// TestNoNameIsAskedForOnTheNetwork calls an app that does not exist, and records what
// mDNS would send for it (RFC 6762). Nobody can answer a question that is never asked.
func TestNoNameIsAskedForOnTheNetwork(t *testing.T) {
	group := &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	conn, err := net.ListenMulticastUDP("udp4", nil, group)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	nobody, marker := "nobody-"+uuid.NewString(), "end-"+uuid.NewString()
	r := want(t, http.StatusInternalServerError, "GET", invoked(shared, "client", nobody, "/posts"), "")
	if !strings.Contains(string(r.body), "ERR_DIRECT_INVOKE") {
		t.Fatalf("an app that does not exist: %s", r)
	}
	sender, err := net.DialUDP("udp4", nil, group)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Close() }()
	if _, err := sender.Write([]byte(marker)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDP(packet)
		switch {
		case err != nil:
			t.Fatalf("what was sent to the group does not arrive: %v", err)
		case bytes.Contains(packet[:n], []byte(nobody)):
			t.Fatalf("%v asks the network for %s", from, nobody)
		case bytes.Contains(packet[:n], []byte(marker)):
			return
		}
	}
}

func TestAReplicaThatDiesIsForgottenWithinSeconds(t *testing.T) {
	// A sidecar calls replicas at random. This one answers 401, because its own sidecar
	// does not send the token.
	b := shared.replica(t, "query", "APP_API_TOKEN=secret")
	url := invoked(shared, "client", shared.App("query").ID, "/posts?limit=1")
	eventually(t, func() error {
		if r, err := do("GET", url, ""); err != nil || r.status != http.StatusUnauthorized {
			return errors.Join(fmt.Errorf("the replica is not called: %s", r), err)
		}
		return nil
	})
	kill(t, shared.process(t, b.HTTPPort))
	kill(t, shared.process(t, b.Port))
	// With mDNS, half of the calls fail for 70 s.
	failed, inARow := 0, 0
	within(t, soon/2, func() error {
		for inARow < 50 {
			if r, err := do("GET", url, ""); err != nil || r.status != http.StatusOK {
				failed, inARow = failed+1, 0
				return errors.Join(fmt.Errorf("%d calls failed, the last with %s", failed, r), err)
			}
			inARow++
		}
		return nil
	})
	t.Logf("%d calls failed", failed)
}
