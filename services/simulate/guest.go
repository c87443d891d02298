//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/services/overlay"
)

const (
	guestPackage = "github.com/varvelog/varve/services/simulate/guest"
	// clockStep is what a look at the clock costs: the guest's idea of how fast it is.
	clockStep = 200 * time.Nanosecond
	// epoch is when every simulation begins.
	epoch = 1_800_000_000 * time.Second
	// patience is how long one seed may take on this machine, and virtualPatience how much time may pass in it.
	patience        = 5 * time.Minute
	virtualPatience = time.Hour
	// guestGOGC and guestMemoryLimit let a guest's collector run seldom.
	guestGOGC, guestMemoryLimit = "400", "200MiB"
)

// guest is the compiled cluster, of which each seed is a process.
type guest struct {
	program *os.File
	env     []string
}

// set gives an environment variable to processes that are started from now on.
func (g *guest) set(name, value string) { g.env = append(g.env, name+"="+value) }

// openGuest has the guest compiled, unless file names it, and keeps it in memory: a program sees its own file's name, and is not to run
// in another way where that is longer.
func openGuest(ctx context.Context, file string, compile func(ctx context.Context, file string) error) (*guest, error) {
	if file == "" {
		dir, err := os.MkdirTemp("", "varve-guest-")
		if err != nil {
			return nil, fmt.Errorf("compile guest: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		file = filepath.Join(dir, "guest")
		if err := compile(ctx, file); err != nil {
			return nil, err
		}
	}
	code, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read guest: %w", err)
	}
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep guest in memory: %w", err)
	}
	writable := os.NewFile(uintptr(fd), "guest")
	defer func() { _ = writable.Close() }() // what is open for writing is not executed
	if _, err := writable.Write(code); err != nil {
		return nil, fmt.Errorf("keep guest in memory: %w", err)
	}
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("keep guest in memory: %w", err)
	}
	return &guest{program: program}, nil
}

func (g *guest) close() { _ = g.program.Close() }

// build compiles the guest into file.
func build(ctx context.Context, file string) error {
	sources, err := overlay.Of(ctx, ".")
	if err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	return compile(ctx, file, sources)
}

// compile compiles the guest from sources that may differ from the repository's, for a runtime that is a function of its argument.
func compile(ctx context.Context, file string, sources *overlay.Sources) error {
	if err := deterministic(sources); err != nil {
		return fmt.Errorf("build guest: %w", err)
	}
	env := []string{"CGO_ENABLED=0", "GOAMD64=v1", "GOEXPERIMENT=norandomizedheapbase64"}
	return sources.Build(ctx, file, guestPackage, env, "-trimpath")
}

// result is what came of one seed.
type result struct {
	violations []string
	ended      bool // it said PASS or FAIL
	lines      int
	hash       string // of the trace
	virtual    time.Duration
	took       time.Duration
}

func (r *result) passed() bool { return r.ended && len(r.violations) == 0 }

func (r *result) verdict() string {
	switch {
	case r.passed():
		return "pass"
	case !r.ended:
		return "broke off"
	}
	return "FAIL"
}

// run is one seed from beginning to end; its trace goes to out, if not nil.
func (g *guest) run(ctx context.Context, seed uint64, out io.Writer) *result {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it takes longer than %v", patience))
	defer cancel()
	stdout, stderr := &collector{hash: sha256.New(), out: out}, &tail{}
	process := exec.CommandContext(ctx, "/proc/self/fd/3")
	process.ExtraFiles = []*os.File{g.program}
	process.Args, process.Dir, process.Stdout, process.Stderr = []string{"guest", fmt.Sprint(seed)}, "/", stdout, stderr
	// Hashes of maps are computed without instructions that not every machine has, which would be others.
	process.Env = append([]string{"GOMAXPROCS=1", "GODEBUG=cpu.aes=off", "GOGC=" + guestGOGC, "GOMEMLIMIT=" + guestMemoryLimit, "TZ=UTC"}, g.env...)
	err := process.Run()
	r := &result{
		violations: stdout.violations, ended: stdout.ended, lines: stdout.lines, hash: hex.EncodeToString(stdout.hash.Sum(nil)[:8]),
		virtual: stdout.virtual(), took: time.Since(began),
	}
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		r.violations = append(r.violations, errors.Join(err, context.Cause(ctx)).Error())
	}
	if !r.ended {
		r.violations = append(r.violations, "the guest has died: "+stderr.String())
	}
	return r
}

// collector hashes a trace and picks the verdict from it.
type collector struct {
	hash       hash.Hash
	out        io.Writer
	lines      int
	part       []byte // of a line
	latest     string // line with a time
	violations []string
	ended      bool
}

// Write implements io.Writer.
func (c *collector) Write(p []byte) (int, error) {
	_, _ = c.hash.Write(p)
	c.part = append(c.part, p...)
	for {
		line, rest, whole := bytes.Cut(c.part, []byte("\n"))
		if !whole {
			break
		}
		c.lines++
		text := string(line)
		switch what, failed := strings.CutPrefix(text, "FAIL "); {
		case failed:
			c.violations, c.ended = append(c.violations, what), true
		case text == "PASS":
			c.ended = true
		default:
			c.latest = text
		}
		if c.out != nil {
			_, _ = fmt.Fprintln(c.out, text)
		}
		c.part = rest
	}
	return len(p), nil
}

// virtual is the time of the last event.
func (c *collector) virtual() time.Duration {
	first, _, _ := strings.Cut(strings.TrimSpace(c.latest), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0 // the guest died before its first event, or in the middle of a line; the verdict says so
	}
	return time.Duration(seconds * float64(time.Second))
}

// tail keeps the beginning of what a guest says as it dies.
type tail struct{ bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	if room := 8<<10 - t.Len(); room > 0 {
		t.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
