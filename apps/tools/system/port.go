package system

import (
	"fmt"
	"net"
	"slices"

	psnet "github.com/shirou/gopsutil/v4/net"
)

// AllFree reports whether nothing listens on any of the ports.
func AllFree(ports []int) bool {
	for _, port := range ports {
		if canListen(port) != nil {
			return false
		}
	}
	return true
}

// canListen returns why nothing can listen on the port, on any address, or nil.
func canListen(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) //nolint:gosec // only to test whether it is free
	if err != nil {
		return err
	}
	return l.Close()
}

// FreePort returns a port on which nothing listens, chosen by the kernel.
func FreePort() (int, error) {
	ports, err := FreePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// FreePorts returns that many different ports on which nothing listens.
func FreePorts(count int) ([]int, error) {
	ports := make([]int, count)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()        // not before all are chosen
		ports[i] = l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert,errcheck // it listens on TCP
	}
	return ports, nil
}

// Holder returns the process that listens on a TCP port. It does not find other users'
// processes.
func Holder(port int) (pid int, ok bool) {
	for _, socket := range listening(port) {
		if socket.Pid != 0 {
			return int(socket.Pid), true
		}
	}
	return 0, false
}

// Listeners returns the local IP addresses on which something listens at the port.
func Listeners(port int) []string {
	var addresses []string
	for _, socket := range listening(port) {
		addresses = append(addresses, socket.Laddr.IP)
	}
	return addresses
}

// ListenersOf returns the addresses, with ports, on which a process listens.
func ListenersOf(pid int) ([]string, error) {
	sockets, err := psnet.ConnectionsPid("tcp", int32(pid)) //nolint:gosec // Linux has at most 2^22
	var addresses []string
	for _, s := range sockets {
		if s.Status == "LISTEN" {
			addresses = append(addresses, net.JoinHostPort(s.Laddr.IP, fmt.Sprint(s.Laddr.Port)))
		}
	}
	return addresses, err
}

// listening are the sockets that listen at a TCP port.
func listening(port int) []psnet.ConnectionStat {
	sockets, _ := psnet.Connections("tcp") // empty if they cannot be read
	return slices.DeleteFunc(sockets, func(s psnet.ConnectionStat) bool {
		return s.Status != "LISTEN" || int(s.Laddr.Port) != port
	})
}
