package system

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain lets tests run this program as another one, from another folder. It then
// listens on the ports in its last arguments.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "listen" {
		for _, port := range os.Args[2:] {
			if !strings.HasPrefix(port, ":") {
				continue // only there to identify the process
			}
			l, err := net.Listen("tcp", "127.0.0.1"+port)
			if err != nil {
				panic(err)
			}
			defer func() { _ = l.Close() }()
		}
		fmt.Println("listening")
		select {}
	}
	os.Exit(m.Run())
}

// listener runs a program that listens on free ports, and returns the ports and its
// process.
func listener(t *testing.T, program, dir string, n int, args ...string) (ports []int, pid int) {
	t.Helper()
	argv := append([]string{"listen"}, args...)
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
			argv = append(argv, fmt.Sprintf(":%d", port))
		}
	}
	cmd := exec.Command(program, argv...)
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = out.Read(make([]byte, 1))
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-gone })
	if err != nil {
		t.Fatal("it does not listen: ", err)
	}
	return ports, cmd.Process.Pid
}

// self is the path of this test program.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// checkoutAt makes a folder that is a checkout, with this program among its binaries.
func checkoutAt(t *testing.T) (root, program string) {
	t.Helper()
	root = t.TempDir()
	program = filepath.Join(root, ".postbus", "bin", "posts")
	for _, dir := range []string{filepath.Dir(program), filepath.Join(root, "apps", "tools", "system"), filepath.Join(root, "components")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.work", "dapr.yaml"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(self(t))
	if err == nil {
		err = os.WriteFile(program, raw, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root, program
}

func uses(ports []int) []Use {
	var all []Use
	for _, port := range ports {
		all = append(all, Use{port, "posts's app channel", "give posts another appPort in dapr.yaml"})
	}
	return all
}

func wantSaid(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestAPortThatIsFreeIsNoError(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := Free(uses([]int{port})); err != nil {
		t.Error(err)
	}
}

func TestAPortThatIsTakenIsSaidWithItsUseItsHolderAndTheMend(t *testing.T) {
	// This also holds inside a checkout, where people start their own programs.
	root, _ := checkoutAt(t)
	t.Chdir(root)
	ports, pid := listener(t, self(t), root, 2, "esc\x1b[2Jape")
	err := Free(uses(ports))
	for _, port := range ports {
		wantSaid(t, err, fmt.Sprintf("port %d, posts's app channel, is taken by process %d (%s listen esc\\x1b[2Jape", port, pid, self(t)),
			fmt.Sprintf("stop that (kill %d), or give posts another appPort in dapr.yaml", pid))
	}
	if strings.ContainsAny(err.Error(), "\x1b\x00") {
		t.Errorf("%q has what a terminal takes for a command", err)
	}
}

func TestPortsTakenByAPostbusAreOneLineThatSaysWhichAndHowToStopIt(t *testing.T) {
	root, program := checkoutAt(t)
	byProgram, _ := listener(t, program, t.TempDir(), 2)
	// A sidecar of the user's own Dapr is started like this. So is Redis, which changes
	// its visible arguments.
	byArgument, _ := listener(t, self(t), t.TempDir(), 1, "--resources-path", filepath.Join(root, "components"))
	byFolder, _ := listener(t, self(t), filepath.Join(root, ".postbus", "bin"), 1)
	ports := slices.Concat(byProgram, byArgument, byFolder)

	err := Free(uses(ports))
	wantSaid(t, err, "ports "+ranges(ports)+" are taken by another Postbus, that of "+root+": `make stop` there stops it")
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("it is more than a line: %s", err)
	}
	t.Chdir(filepath.Join(root, "apps"))
	wantSaid(t, Free(uses(byArgument)), fmt.Sprintf("port %d is taken by this Postbus, which runs already: `make stop` stops it", byArgument[0]))
}

func TestAPostbusThatIsStoppedLeavesOtherProgramsAlone(t *testing.T) {
	root, program := checkoutAt(t)
	other, pid := listener(t, self(t), root, 1)
	its, _ := listener(t, program, root, 1)
	stopped, err := Checkout{root}.StopHolders(t.Context(), append(other, its...))
	if err != nil || stopped != 1 {
		t.Errorf("it stopped %d, %v", stopped, err)
	}
	if _, ok := Holder(its[0]); ok {
		t.Error("its own program is still there")
	}
	if holder, _ := Holder(other[0]); holder != pid {
		t.Error("it stopped a program that was only started in its folder")
	}
}

func TestRanges(t *testing.T) {
	for want, numbers := range map[string][]int{
		"":                      nil,
		"7":                     {7},
		"7-8":                   {8, 7},
		"3000, 4000-4003, 4005": {4001, 4000, 3000, 4003, 4002, 4005, 4005},
	} {
		if got := ranges(numbers); got != want {
			t.Errorf("%v: %q, want %q", numbers, got, want)
		}
	}
}

func TestEveryPortOfTheSystemSaysWhatItIsFor(t *testing.T) {
	s := committed(t)
	if n := len(s.Uses()); n != 6*len(Services)+5 { // the issuer has no app channel
		t.Errorf("%d ports", n)
	}
	for _, u := range s.Uses() {
		if u.Port == 0 || u.For == "" || u.Mend == "" {
			t.Errorf("%+v", u)
		}
	}
	for _, want := range []Use{
		{3000, "client's public port", "give client another PORT in dapr.yaml"},
		{4105, "eventlog's app channel", "give eventlog another appPort in dapr.yaml"},
		{3504, "posts's sidecar's HTTP API", "give posts another daprHTTPPort in dapr.yaml"},
	} {
		if !slices.Contains(s.Uses(), want) {
			t.Errorf("no %+v", want)
		}
	}
}

// committed is the system of the committed run file.
func committed(t *testing.T) *System {
	t.Helper()
	c, err := FindCheckout()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load(Dapr{}, filepath.Join(c.Root, "dapr.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The CLI starts the apps in the order of the run file. An app that calls another one
// before that is running warns of it.
func TestAServiceIsStartedAfterThoseThatItCalls(t *testing.T) {
	var started []string
	for _, a := range committed(t).Apps {
		started = append(started, a.Name)
		needs := calls[a.Name]
		if slices.Contains(signedInAt, a.Name) {
			needs = append(slices.Clone(needs), Issuer)
		}
		for _, called := range needs {
			if !slices.Contains(started, called) {
				t.Errorf("%s is started before %s, which it calls", a.Name, called)
			}
		}
	}
	started = slices.DeleteFunc(started, func(name string) bool { return name == Issuer })
	if !slices.Equal(started, Services) {
		t.Errorf("Services are %v, the run file has %v", Services, started)
	}
}
