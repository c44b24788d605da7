package system

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/postbus/postbus/apps/tools/terminal"
)

// Use is a port and its purpose.
type Use struct {
	Port int
	// For is the purpose, for the user.
	For string
	// Mend says how to avoid this port, or is empty.
	Mend string
}

// Uses are the system's ports and their purposes.
func (s *System) Uses() []Use {
	var uses []Use
	for _, a := range s.Apps {
		for _, u := range []struct {
			port          int
			what, setting string
		}{
			{a.Port, "public port", "PORT"},
			{a.AppPort, "app channel", "appPort"},
			{a.HTTPPort, "sidecar's HTTP API", "daprHTTPPort"},
			{a.GRPCPort, "sidecar's gRPC API", "daprGRPCPort"},
			{a.InternalPort, "sidecar's port for other sidecars", "daprInternalGRPCPort"},
			{a.MetricsPort, "sidecar's metrics", "metricsPort"},
		} {
			if u.port == 0 { // the issuer has no app channel
				continue
			}
			mend := fmt.Sprintf("give %s another %s in %s", a.Name, u.setting, filepath.Base(s.RunFile))
			uses = append(uses, Use{u.port, a.Name + "'s " + u.what, mend})
		}
	}
	return uses
}

// Free returns nil if nothing listens on the ports. Otherwise the error says for each
// port its purpose, its holder and what to do. A Postbus that holds many ports is one
// line.
func Free(uses []Use) error {
	var errs []error
	byPostbus := map[string][]int{}
	for _, u := range uses {
		err := canListen(u.Port)
		if err == nil {
			continue
		}
		if pid, ok := Holder(u.Port); ok && checkoutOf(pid) != "" {
			root := checkoutOf(pid)
			byPostbus[root] = append(byPostbus[root], u.Port)
			continue
		}
		errs = append(errs, u.taken(err))
	}
	for _, root := range slices.Sorted(maps.Keys(byPostbus)) {
		errs = append(errs, takenByPostbus(root, byPostbus[root]))
	}
	return errors.Join(errs...)
}

// taken is the error of a port that cannot be used.
func (u Use) taken(err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d, %s, can't be had: %w", u.Port, u.For, err)
	}
	holder, mends := "another user's process", []string{fmt.Sprintf("stop that (as root, `ss -ltnp sport = :%d` names it)", u.Port)}
	if pid, ok := Holder(u.Port); ok {
		holder = fmt.Sprintf("process %d (%s)", pid, commandLine(pid))
		mends[0] = fmt.Sprintf("stop that (kill %d)", pid)
	}
	if u.Mend != "" {
		mends = append(mends, u.Mend)
	}
	return fmt.Errorf("port %d, %s, is taken by %s: %s", u.Port, u.For, holder, strings.Join(mends, ", or "))
}

func takenByPostbus(root string, ports []int) error {
	which := "port " + ranges(ports) + " is"
	if len(ports) > 1 {
		which = "ports " + ranges(ports) + " are"
	}
	if own, err := FindCheckout(); err == nil && own.Root == root {
		return fmt.Errorf("%s taken by this Postbus, which runs already: `make stop` stops it", which)
	}
	return fmt.Errorf("%s taken by another Postbus, that of %s: `make stop` there stops it", which, terminal.Line(root))
}

// ranges writes numbers, with consecutive ones as a range.
func ranges(numbers []int) string {
	var parts []string
	for rest := slices.Compact(slices.Sorted(slices.Values(numbers))); len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[0]+n {
			n++
		}
		part := fmt.Sprint(rest[0])
		if n > 1 {
			part += fmt.Sprintf("-%d", rest[n-1])
		}
		parts = append(parts, part)
		rest = rest[n:]
	}
	return strings.Join(parts, ", ")
}

// checkoutOf returns the root of the checkout of Postbus to which a process belongs, or
// an empty string. It belongs to a checkout if its program is there, if its arguments
// name what runs there, or if it works in the folder of kept files, as Redis does. Any
// other working directory means nothing, because people start their own programs in a
// checkout.
func checkoutOf(pid int) string {
	// A value that cannot be read, of another user's or an ended process, is empty.
	exe, _ := Look(pid).Exe()
	cwd, _ := Look(pid).Cwd()
	args, _ := Look(pid).CmdlineSlice()
	if root := checkoutAbove(cwd, kept); root != "" {
		return root
	}
	for _, path := range append([]string{exe}, args...) {
		if root := checkoutAbove(path, kept, "components", "dapr.yaml"); root != "" {
			return root
		}
	}
	return ""
}

// checkoutAbove returns the root of the checkout in which one of these entries is, or
// contains, the path.
func checkoutAbove(path string, entries ...string) string {
	for dir := path; filepath.IsAbs(dir) && dir != "/"; dir = filepath.Dir(dir) {
		if slices.Contains(entries, filepath.Base(dir)) && isCheckout(filepath.Dir(dir)) {
			return filepath.Dir(dir)
		}
	}
	return ""
}

// isCheckout reports whether the folder is a checkout of Postbus.
func isCheckout(dir string) bool {
	for _, file := range []string{"go.work", "dapr.yaml", "apps/tools/system"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return false
		}
	}
	return true
}

// commandLine is the shortened command line of a process, for a message.
func commandLine(pid int) string {
	args, _ := Look(pid).CmdlineSlice()
	line := terminal.Line(strings.Join(args, " "))
	if runes := []rune(line); len(runes) > 120 {
		line = string(runes[:117]) + "..."
	}
	return cmp.Or(line, "gone meanwhile")
}
