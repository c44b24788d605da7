package system

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// AllFree says whether nothing listens on any of the ports.
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
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) //nolint:gosec // only to see whether it can be had
	if err != nil {
		return err
	}
	return l.Close()
}

// FreePort is a port that nothing listens on, as the kernel chooses it.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert,errcheck // it listens on TCP
}

// Holder returns the process that listens on a TCP port, from /proc.
func Holder(port int) (pid int, ok bool) {
	inodes := listening(port)
	if len(inodes) == 0 {
		return 0, false
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, false
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, "socket:[") {
			continue
		}
		if slices.Contains(inodes, strings.Trim(strings.TrimPrefix(target, "socket:"), "[]")) {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			return pid, err == nil
		}
	}
	return 0, false
}

// Listeners returns the local addresses, as /proc/net/tcp has them (hexadecimal),
// on which something listens at the port.
func Listeners(port int) []string {
	var addresses []string
	eachListener(port, func(fields []string) { addresses = append(addresses, strings.Split(fields[1], ":")[0]) })
	return addresses
}

func listening(port int) []string {
	var inodes []string
	eachListener(port, func(fields []string) { inodes = append(inodes, fields[9]) })
	return inodes
}

// eachListener calls f with the fields of each listening socket's line
// (proc(5), /proc/net/tcp).
func eachListener(port int, f func(fields []string)) {
	const listen = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table) //nolint:gosec // one of two
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && fields[3] == listen && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				f(fields)
			}
		}
		_ = file.Close()
	}
}
