package system

import (
	"fmt"
	"net"
	"slices"

	"github.com/postbus/postbus/apps/tools/terminal"
)

// Host is the value of HOST: the address on which the services' public ports listen.
// Empty is loopback, * every interface.
type Host string

// Check returns an error that says what to do if the services cannot listen on the
// address.
func (h Host) Check() error {
	l, err := net.Listen("tcp", net.JoinHostPort(h.listen(), "0"))
	if err != nil {
		return fmt.Errorf("HOST=%s is no address of this machine (%w): unset it for 127.0.0.1, or set it to one, or to * for every interface", terminal.Line(string(h)), err)
	}
	return l.Close()
}

// Opens says in one line what other machines and users can reach. It is empty if they
// reach nothing.
func (h Host) Opens(apps []App) string {
	at := "at " + h.listen()
	switch {
	case h.every():
		at = "on every interface"
	case h.loopback():
		return ""
	}
	var ports []int
	for _, a := range apps {
		if !a.Host.loopback() {
			ports = append(ports, a.Port)
		}
	}
	return fmt.Sprintf("HOST=%s: ports %s are open %s, to all who can reach this machine; the event log and the dead letters are among them.", h, ranges(ports), at)
}

// base is the base URL at which this machine reaches a public port.
func (h Host) base(port int) string {
	host := h.listen()
	if h.every() {
		host = loopback
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(port))
}

const loopback = "127.0.0.1"

// listen is the address in the form of net.Listen.
func (h Host) listen() string {
	switch h {
	case "":
		return loopback
	case "*":
		return ""
	}
	return string(h)
}

func (h Host) every() bool { return slices.Contains([]Host{"*", "0.0.0.0", "::"}, h) }

func (h Host) loopback() bool {
	address, err := net.ResolveIPAddr("ip", h.listen())
	return err == nil && address.IP.IsLoopback()
}
