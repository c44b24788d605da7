package system

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// oldestNode is the oldest version that Vite supports. Keep it in step with "engines" in
// package.json.
var oldestNode = [2]int{20, 19}

// Web is the folder of the React client.
func (c Checkout) Web() string { return filepath.Join(c.Root, "apps", "client", "web") }

// NPM returns an npm command in the React client's folder.
func (c Checkout) NPM(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "npm", args...) //nolint:gosec // the arguments are ours
	cmd.Dir = c.Web()
	// npm prints nothing about new versions, funds and audits.
	cmd.Env = append(os.Environ(), "NPM_CONFIG_UPDATE_NOTIFIER=false", "NPM_CONFIG_FUND=false", "NPM_CONFIG_AUDIT=false")
	return cmd
}

// InstallWeb installs the packages of package-lock.json, with which the React client is
// built and tested, unless that is done.
func (c Checkout) InstallWeb(ctx context.Context) error {
	if err := findNode(ctx); err != nil {
		return err
	}
	now, err := digest(c.Web(), func(name string) bool {
		return name != "package.json" && name != "package-lock.json" && name != ".npmrc"
	})
	if err != nil {
		return err
	}
	// `npm ci` first removes the folder, and with it the mark.
	mark := filepath.Join(c.Web(), "node_modules", ".postbus")
	if done(mark, now) {
		return nil
	}
	if err := step(ctx, "npm ci, for the web client", c.NPM(ctx, "ci")); err != nil {
		return err
	}
	return os.WriteFile(mark, []byte(now), 0o600)
}

// BuildWeb builds the React client, which the host embeds, unless it is built and its
// sources have not changed since.
func (c Checkout) BuildWeb(ctx context.Context) error {
	now, err := digest(c.Web(), func(name string) bool {
		return slices.Contains([]string{"node_modules", "dist", "tests", "test-results", "playwright-report"}, name)
	})
	if err != nil {
		return err
	}
	mark := filepath.Join(c.Kept(), "web")
	if _, err := os.Stat(filepath.Join(c.Web(), "dist", "index.html")); err == nil && done(mark, now) {
		return nil
	}
	if err := c.InstallWeb(ctx); err != nil {
		return err
	}
	_ = os.Remove(mark) // an interrupted build must not look complete
	if err := step(ctx, "building the web client", c.NPM(ctx, "run", "build")); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Kept(), 0o750); err != nil {
		return err
	}
	return os.WriteFile(mark, []byte(now), 0o600)
}

// findNode looks for Node.js and npm, and installs them if they are missing.
func findNode(ctx context.Context) error {
	needed := fmt.Sprintf("the web client is built with Node.js %d.%d or later and npm (https://nodejs.org/en/download has both)", oldestNode[0], oldestNode[1])
	if _, err := Install(ctx, "building the web client", "node", "nodejs", "npm"); err != nil {
		return fmt.Errorf("%s: %w", needed, err)
	}
	if _, err := Install(ctx, "building the web client", "npm", "npm"); err != nil {
		return fmt.Errorf("%s: %w", needed, err)
	}
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return fmt.Errorf("%s: node --version: %w", needed, err)
	}
	version := strings.TrimSpace(string(out))
	var found [2]int
	if _, err := fmt.Sscanf(version, "v%d.%d.", &found[0], &found[1]); err != nil || slices.Compare(found[:], oldestNode[:]) < 0 {
		return fmt.Errorf("%s, and the node on the PATH is %s: install a later one, and start this again", needed, version)
	}
	return nil
}

// Chromium returns the path of a Chromium for tests: Debian's without windows, which takes half of
// the CPU. It installs it if necessary. Where that can't be, another Chromium on the PATH will do.
func Chromium(ctx context.Context) (string, error) {
	path, err := Install(ctx, "the test of the web client in a browser", "chromium-headless-shell", "chromium-headless-shell")
	if err == nil {
		return path, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

func done(mark, now string) bool {
	then, err := os.ReadFile(mark) //nolint:gosec // our own
	return err == nil && string(then) == now
}

// digest is a hash of the names and contents of the files in a folder. skip names files
// and folders directly in it that do not count.
func digest(dir string, skip func(name string) bool) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, entry := range entries {
		if skip(entry.Name()) {
			continue
		}
		err := filepath.WalkDir(filepath.Join(dir, entry.Name()), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)   //nolint:gosec // within the checkout
			if errors.Is(err, fs.ErrNotExist) { // an editor's temporary file, gone meanwhile
				return nil
			}
			_, _ = fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
