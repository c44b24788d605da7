package system

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
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
)

var postgres = Kind{
	Name: "PostgreSQL", Env: "POSTGRES", Ports: []int{4432},
	start: func(ctx context.Context, _ Checkout, dir string, ports []int) (Server, error) {
		return StartPostgres(ctx, filepath.Join(dir, "postgres"), ports[0])
	},
	version: postgresVersion,
}

// postgresVersion is the version of the PostgreSQL that is started.
func postgresVersion(ctx context.Context) (string, error) {
	bin, err := findPostgres(ctx)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output() //nolint:gosec // found by us
	if err != nil {
		return "", err
	}
	_, version, _ := strings.Cut(string(out), "(PostgreSQL) ")
	version, _, _ = strings.Cut(strings.TrimSpace(version), " ") // and not the package's
	return version, nil
}

// postgresUser is the user of the system that Debian's package makes.
const postgresUser = "postgres"

// Postgres is a PostgreSQL that this process started.
type Postgres struct {
	Daemon
	dir, bin string // its folder, and that of PostgreSQL's programs
	password string
	as       func() *syscall.SysProcAttr // whom its programs run as
}

// StartPostgres starts PostgreSQL on loopback, with its data in dir, and waits until it answers.
// If it is missing, it is installed first. It commits as PostgreSQL does by default: to the disk.
func StartPostgres(ctx context.Context, dir string, port int) (*Postgres, error) {
	p, err := newPostgres(ctx, dir, port)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(p.data(), "PG_VERSION")); err != nil {
		if err := p.createDatabase(ctx); err != nil {
			return nil, err
		}
	}
	return p, p.Start(ctx)
}

// newPostgres returns a PostgreSQL that is not started yet, with its data in dir. settings are
// more of its parameters.
func newPostgres(ctx context.Context, dir string, port int, settings ...string) (*Postgres, error) {
	bin, err := findPostgres(ctx)
	if err != nil {
		return nil, err
	}
	as, err := notAsRoot(dir)
	if err != nil {
		return nil, err
	}
	password, err := keptPassword(filepath.Join(dir, "password"))
	if err != nil {
		return nil, err
	}
	p := &Postgres{Daemon{Port: port, name: "PostgreSQL", log: filepath.Join(dir, "postgres.log")}, dir, bin, password, as}
	settings = append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "unix_socket_directories=",
		"logging_collector=on", "log_directory=" + dir, "log_filename=postgres.log",
	}, settings...)
	p.command = func() *exec.Cmd {
		args := []string{"-D", p.data()}
		for _, setting := range settings {
			args = append(args, "-c", setting)
		}
		return p.program("postgres", args...)
	}
	p.answers = func() error { return PostgresAnswers(p.Address()) }
	return p, nil
}

// data is the folder of its files.
func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// program is a program of PostgreSQL's, run as the owner of its files.
func (p *Postgres) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...) //nolint:gosec // found by us
	cmd.Dir, cmd.SysProcAttr = "/", p.as()                   // it goes into its data by itself
	return cmd
}

// keptPassword reads a password from a file, or makes one.
func keptPassword(path string) (string, error) {
	kept, err := os.ReadFile(path) //nolint:gosec // our own folder
	if !errors.Is(err, os.ErrNotExist) {
		return string(kept), err
	}
	made := rand.Text()
	return made, os.WriteFile(path, []byte(made), 0o600)
}

// createDatabase makes a cluster of databases, with a database and a user for Postbus. That user
// can do nothing outside it. The superuser, who can read files, is let in by nobody.
func (p *Postgres) createDatabase(ctx context.Context) error {
	made := filepath.Join(p.dir, "making")
	if err := os.RemoveAll(made); err != nil { // one that was cut off
		return err
	}
	initdb := p.program("initdb", "-D", made, "-U", postgresUser, "--auth=reject", "-E", "UTF8", "--no-locale")
	if err := step(ctx, "creating a database in "+p.data(), initdb); err != nil {
		return err
	}
	// The file is there, and keeps its owner.
	if err := os.WriteFile(filepath.Join(made, "pg_hba.conf"), []byte("host postbus postbus 127.0.0.1/32 scram-sha-256\n"), 0o600); err != nil {
		return err
	}
	statements := fmt.Sprintf("CREATE ROLE postbus LOGIN PASSWORD '%s'\nCREATE DATABASE postbus OWNER postbus\n", p.password)
	if err := p.alone(ctx, "creating its user", made, statements); err != nil {
		return err
	}
	return os.Rename(made, p.data())
}

// alone runs statements, of a line each, as the superuser of a cluster of databases whose server
// does not run.
func (p *Postgres) alone(ctx context.Context, what, data, statements string) error {
	single := p.program("postgres", "--single", "-D", data, "postgres")
	single.Stdin = strings.NewReader(statements)
	return step(ctx, what, single)
}

// Stop stops it without waiting for its clients, and waits for its end.
func (p *Postgres) Stop() error {
	if err := p.Signal(syscall.SIGINT); err != nil {
		return err
	}
	if err := p.AwaitEnd(); err != nil {
		return errors.Join(err, p.Signal(syscall.SIGQUIT))
	}
	return nil
}

// Connection is its connection string.
func (p *Postgres) Connection() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postbus password=%s database=postbus sslmode=disable", p.Port, p.password)
}

// Query runs SQL as Postbus's user, and returns what psql prints without decoration.
func (p *Postgres) Query(ctx context.Context, sql string) (string, error) {
	psql := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "--no-psqlrc", "--tuples-only", "--no-align", "--command", sql) //nolint:gosec // found by us
	psql.Env = append(os.Environ(), "PGHOST=127.0.0.1", fmt.Sprint("PGPORT=", p.Port), "PGUSER=postbus", "PGDATABASE=postbus", "PGPASSWORD="+p.password)
	out, err := psql.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// PostgresAnswers returns an error unless a PostgreSQL at the address takes users. Without a
// password, all that it answers to one is which proof it asks for.
func PostgresAnswers(address string) error {
	// StartupMessage (https://www.postgresql.org/docs/15/protocol-message-formats.html).
	const parameters = "user\x00postbus\x00\x00"
	message := binary.BigEndian.AppendUint32(nil, uint32(8+len(parameters)))
	message = append(binary.BigEndian.AppendUint32(message, 3<<16), parameters...)
	answer, err := firstAnswer(address, string(message))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "R") {
		return fmt.Errorf("%s answers, but does not ask for a password: %q", address, answer)
	}
	return nil
}

// findPostgres returns the folder of PostgreSQL's programs. Debian has them beside PATH, a folder
// a version.
func findPostgres(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		path, err = filepath.EvalSymlinks(path) // the other programs are beside it
		return filepath.Dir(path), err
	}
	if bin, ok := newestPostgres(); ok {
		return bin, nil
	}
	if _, err := Install(ctx, "the state stores", "pg_ctlcluster", "postgresql"); err != nil {
		return "", err
	}
	if bin, ok := newestPostgres(); ok {
		return bin, nil
	}
	return "", errors.New("PostgreSQL's server is missing, which is needed for the state stores: run `apt-get install postgresql`, and start this again")
}

func newestPostgres() (bin string, ok bool) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		return "", false
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
	return filepath.Dir(newest), true
}

// capDACReadSearch lets a process look into every folder and read every file
// (linux/capability.h).
const capDACReadSearch = 2

// notAsRoot makes a folder, and returns how a program is started that refuses to run as root: as
// the package's user, to whom the folder then belongs. Where a folder above it is root's alone,
// the program gets the right to look into it.
func notAsRoot(dir string) (func() *syscall.SysProcAttr, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return func() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }, nil
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user %s: %w", postgresUser, err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil { //nolint:gosec // of 32 bits
		return nil, err
	}
	var caps []uintptr
	for above := filepath.Dir(dir); above != "/"; above = filepath.Dir(above) {
		info, err := os.Stat(above)
		if err != nil {
			return nil, err
		}
		if info.Mode()&0o001 == 0 {
			caps = []uintptr{capDACReadSearch}
		}
	}
	return func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, AmbientCaps: caps} //nolint:gosec // of 32 bits
	}, nil
}
