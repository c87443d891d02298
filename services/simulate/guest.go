package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
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
)

// guest is the compiled cluster, of which each seed is an instance.
type guest struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	env     map[string]string
}

// set gives an environment variable to instances that are started from now on.
func (g *guest) set(name, value string) {
	if g.env == nil {
		g.env = map[string]string{}
	}
	g.env[name] = value
}

// openGuest has the guest compiled to WebAssembly, unless file names it, and compiles that to machine code, which is cached.
func openGuest(ctx context.Context, file string, compile func(ctx context.Context, file string) error) (*guest, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	if file == "" {
		file = filepath.Join(cache, fmt.Sprintf("guest-%d.wasm", os.Getpid()))
		defer func() { _ = os.Remove(file) }() // it is in the cache of compiled code from here on
		if err := compile(ctx, file); err != nil {
			return nil, err
		}
	}
	code, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read guest: %w", err)
	}
	compiled, err := wazero.NewCompilationCacheWithDir(filepath.Join(cache, "wazero"))
	if err != nil {
		return nil, fmt.Errorf("open cache of compiled guests: %w", err)
	}
	g := &guest{runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(compiled))}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, g.runtime); err != nil {
		return nil, errors.Join(fmt.Errorf("instantiate WASI: %w", err), g.runtime.Close(ctx))
	}
	if g.module, err = g.runtime.CompileModule(ctx, code); err != nil {
		return nil, errors.Join(fmt.Errorf("compile guest: %w", err), g.runtime.Close(ctx))
	}
	return g, nil
}

func (g *guest) close(ctx context.Context) { _ = g.runtime.Close(ctx) }

// repository is the module's directory, above the working directory.
func repository() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}

// cacheDir is where compiled guests are kept.
func cacheDir() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "simulate")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	return dir, nil
}

// build compiles the guest into file.
func build(ctx context.Context, file string) error { return buildWith(ctx, file) }

func buildWith(ctx context.Context, file string, flags ...string) error {
	args := append([]string{"build", "-ldflags=-s -w", "-trimpath", "-o", file}, flags...)
	command := exec.CommandContext(ctx, "go", append(args, guestPackage)...)
	command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build guest: %w\n%s", err, out)
	}
	return nil
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
	host := &host{random: rand.NewChaCha8(key(seed)), began: began}
	stdout := &collector{hash: sha256.New(), out: out}
	stderr := &tail{}
	config := wazero.NewModuleConfig().WithName("").WithArgs("guest", fmt.Sprint(seed)).WithStdout(stdout).WithStderr(stderr).
		WithRandSource(host.random).WithNanotime(host.nanotime, sys.ClockResolution(clockStep)).
		WithWalltime(host.walltime, sys.ClockResolution(clockStep)).WithNanosleep(host.sleep)
	for name, value := range g.env {
		config = config.WithEnv(name, value)
	}
	module, err := g.runtime.InstantiateModule(ctx, g.module, config)
	if module != nil {
		_ = module.Close(ctx)
	}
	r := &result{
		violations: stdout.violations, ended: stdout.ended, lines: stdout.lines, hash: hex.EncodeToString(stdout.hash.Sum(nil)[:8]),
		virtual: host.now, took: time.Since(began),
	}
	var exit *sys.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.violations = append(r.violations, err.Error())
	}
	if !r.ended {
		r.violations = append(r.violations, "the guest has died: "+stderr.String())
	}
	return r
}

func key(seed uint64) (key [32]byte) {
	binary.LittleEndian.PutUint64(key[:], seed)
	return key
}

// host is what a guest has for chance and time.
type host struct {
	random *rand.ChaCha8
	now    time.Duration // since the guest's beginning
	began  time.Time
	looks  int
}

func (h *host) pass(d time.Duration) {
	h.now += d
	if h.looks++; h.looks%4096 == 0 && time.Since(h.began) > patience {
		panic(fmt.Sprintf("it takes longer than %v", patience))
	}
	if h.now > virtualPatience {
		panic(fmt.Sprintf("more than %v of virtual time have passed", virtualPatience))
	}
}

func (h *host) nanotime() int64 {
	h.pass(clockStep)
	return int64(time.Second + h.now) // 0 means no time to Go's runtime
}

func (h *host) walltime() (seconds int64, nanoseconds int32) {
	h.pass(clockStep)
	wall := epoch + h.now
	return int64(wall / time.Second), int32(wall % time.Second)
}

func (h *host) sleep(nanoseconds int64) { h.pass(time.Duration(nanoseconds)) }

// collector hashes a trace and picks the verdict from it.
type collector struct {
	hash       hash.Hash
	out        io.Writer
	lines      int
	part       []byte // of a line
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
		}
		if c.out != nil {
			_, _ = fmt.Fprintln(c.out, text)
		}
		c.part = rest
	}
	return len(p), nil
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
