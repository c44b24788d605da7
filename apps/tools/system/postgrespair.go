package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var postgresPair = Kind{
	Name: postgres.Name, Env: postgres.Env,
	start: func(ctx context.Context, _ Checkout, dir string, _ []int) (Server, error) {
		return startPostgresPair(ctx, filepath.Join(dir, "postgres"))
	},
}

// PostgresPair is a primary and a standby that this process started. The standby has written each
// commit to its disk before the client knows that it is one, so none is lost if it takes over.
type PostgresPair struct{ Primary, Standby *Postgres }

// replicaRole is the role with which the standby follows the primary.
const replicaRole = "replica"

// startPostgresPair starts a new primary and its standby on loopback, with their data below dir.
func startPostgresPair(ctx context.Context, dir string) (*PostgresPair, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	primary, err := newPostgres(ctx, filepath.Join(dir, "primary"), ports[0], "synchronous_standby_names=*")
	if err != nil {
		return nil, err
	}
	standby, err := newPostgres(ctx, filepath.Join(dir, "standby"), ports[1])
	if err != nil {
		return nil, err
	}
	if err := primary.createPrimary(ctx); err != nil {
		return nil, err
	}
	if err := primary.Start(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(standby.copyOf(ctx, primary), standby.Start(ctx)); err != nil {
		return nil, errors.Join(err, primary.Stop())
	}
	standby.password = primary.password
	return &PostgresPair{primary, standby}, nil
}

// createPrimary makes a cluster of databases that a standby may follow.
func (p *Postgres) createPrimary(ctx context.Context) error {
	if err := p.createDatabase(ctx); err != nil {
		return err
	}
	access := fmt.Sprintf("host postbus postbus 127.0.0.1/32 scram-sha-256\nhost replication %s 127.0.0.1/32 scram-sha-256\n", replicaRole)
	if err := os.WriteFile(filepath.Join(p.data(), "pg_hba.conf"), []byte(access), 0o600); err != nil {
		return err
	}
	role := fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '%s'\n", replicaRole, p.password)
	return p.alone(ctx, "creating the standby's user", p.data(), role)
}

// copyOf makes it a standby of a primary that runs.
func (p *Postgres) copyOf(ctx context.Context, primary *Postgres) error {
	backup := p.program("pg_basebackup", "-D", p.data(), "-h", "127.0.0.1", "-p", fmt.Sprint(primary.Port), "-U", replicaRole,
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast")
	backup.Env = append(os.Environ(), "PGPASSWORD="+primary.password)
	return step(ctx, "copying the primary into "+p.data(), backup)
}

// Promote makes the standby the primary, when that one is gone for good.
func (p *PostgresPair) Promote(ctx context.Context) error {
	// Without --no-wait, it returns when the standby takes writes.
	return step(ctx, "promoting the standby", p.Standby.program("pg_ctl", "promote", "-D", p.Standby.data()))
}

// Connection has both. A client finds the one that takes writes.
func (p *PostgresPair) Connection() string {
	return fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=postbus password=%s database=postbus sslmode=disable target_session_attrs=read-write",
		p.Primary.Port, p.Standby.Port, p.Primary.password)
}

// Daemons are the primary and the standby.
func (p *PostgresPair) Daemons() []*Daemon { return []*Daemon{&p.Primary.Daemon, &p.Standby.Daemon} }

// Stop stops both, but for one that has been killed.
func (p *PostgresPair) Stop() error {
	var errs []error
	for _, one := range []*Postgres{p.Primary, p.Standby} {
		if !one.hasEnded() {
			errs = append(errs, one.Stop())
		}
	}
	return errors.Join(errs...)
}
