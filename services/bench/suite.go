package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says what to measure, and with what. The zero value measures everything with this process's own binary.
type Config struct {
	// Binary is the varve to measure; empty means the running executable.
	Binary string
	// Dir is where the data of servers and bare operations lies while they run; it must be on the disk to be measured. Default
	// .cache/bench in the working directory.
	Dir string
	// Figures are the names to measure; empty means all.
	Figures []string
	// Quick measures less of each, in under four minutes altogether.
	Quick bool
	// ServerFlags are added to those of every server.
	ServerFlags []string
	// Progress is told what is being measured; nil means nobody.
	Progress io.Writer
	// ProfileDir is where a CPU profile of the server is written for the figures that have one; empty means none are taken.
	ProfileDir string
}

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	for _, name := range c.Figures {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("bench: Figures: %q is not one of %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Binary == "" {
		path, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find own executable: %w", err)
		}
		c.Binary = path
	}
	if c.Dir == "" {
		c.Dir = filepath.Join(".cache", "bench")
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c, nil
}

// figure is one sub-benchmark.
type figure struct {
	name, about string
	measure     func(context.Context, *env) ([]Result, error)
}

var figures = []figure{
	{"produce-large", "large batches that producers compressed, against a bare read, append and fdatasync", measureProduceLarge},
	{"fetch-tail", "reading what was just written", measureFetchTail},
	{"produce-small", "one 1 KiB record at a time, against a bare append and fdatasync", measureProduceSmall},
	{"end-to-end", "from a producer's send to a consumer's receipt", measureEndToEnd},
	{"replicated", "a record on two nodes, against one on a single node of the same cluster", measureReplicated},
	{"partitions", "10,000 partitions against 12", measurePartitions},
	{"transactions", "the end of a transaction over 100 partitions, against one over a single one", measureTransactions},
	{"rebalance", "a group of 100 members on 1,000 partitions after one has left", measureRebalance},
	{"groups", "1,000 groups of 10 members whose heartbeats come every 5 s", measureGroups},
	{"groups-cluster", "the same in a cluster, on a coordinator and two ingest nodes together", measureGroupsCluster},
	{"coordinator", "commits in the state machine, the metadata log and a replica, each alone and together", measureCoordinator},
	{"start", "from nothing, and with 1 GiB of hot log to recover", measureStart},
	{"idle", "memory, processor and objects of a server that nobody uses", measureIdle},
	{"object", "topics of the object class on a store with S3's latencies", measureObject},
	{"zstd", "records that come uncompressed, against the encoder alone", measureZstd},
}

// Names lists the figures in order.
func Names() []string {
	var names []string
	for _, f := range figures {
		names = append(names, f.name)
	}
	return names
}

// About says in a line what a figure measures.
func About(name string) string {
	for _, f := range figures {
		if f.name == name {
			return f.about
		}
	}
	return ""
}

// Run measures and returns the results in order. A figure that could not be measured leaves an error and the others their results.
func Run(ctx context.Context, config Config) ([]Result, error) {
	if err := errors.Join(checkPlatform(), config.Validate()); err != nil {
		return nil, err
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	var results []Result
	var failed []error
	for _, f := range figures {
		if len(config.Figures) > 0 && !slices.Contains(config.Figures, f.name) {
			continue
		}
		measured, err := runFigure(ctx, config, f)
		results = append(results, measured...)
		if err != nil {
			failed = append(failed, fmt.Errorf("measure %s: %w", f.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return results, errors.Join(failed...)
}

// figureTimeout bounds one figure, whatever its server does.
const figureTimeout = 2 * time.Minute

func runFigure(ctx context.Context, config Config, f figure) (results []Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, figureTimeout)
	defer cancel()
	if err := os.MkdirAll(config.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	dir, err := os.MkdirTemp(config.Dir, f.name+"-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	e := &env{config: config, figure: f.name, dir: dir}
	fmt.Fprintf(config.Progress, "%s: %s\n", f.name, f.about)
	begun := time.Now()
	defer func() {
		err = errors.Join(err, e.killAll(), os.RemoveAll(dir))
		fmt.Fprintf(config.Progress, "%s: %.0f s\n", f.name, time.Since(begun).Seconds())
	}()
	results, err = f.measure(ctx, e)
	for i := range results {
		results[i].Figure = f.name
	}
	return results, err
}

// env is what one figure works with: a directory of its own, and servers that are gone when the figure ends.
type env struct {
	config  Config
	figure  string
	dir     string
	servers []*server
}

// start starts a server on a new data directory.
func (e *env) start(ctx context.Context, flags ...string) (*server, error) {
	return e.startOn(ctx, filepath.Join(e.dir, "server-"+strconv.Itoa(len(e.servers))), flags...)
}

// startOn starts a server on a data directory that may have been used before.
func (e *env) startOn(ctx context.Context, dataDir string, flags ...string) (*server, error) {
	return e.startRole(ctx, serveRole, dataDir, flags...)
}

// startRole starts a process of a role on a data directory.
func (e *env) startRole(ctx context.Context, role, dataDir string, flags ...string) (*server, error) {
	s, err := startServer(ctx, e.config.Binary, role, dataDir, append(slices.Clone(flags), e.config.ServerFlags...)...)
	if err != nil {
		return nil, err
	}
	e.servers = append(e.servers, s)
	return s, nil
}

func (e *env) killAll() error {
	var failed []error
	for _, s := range e.servers {
		failed = append(failed, s.kill())
	}
	return errors.Join(failed...)
}

// say tells of progress within a figure.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.config.Progress, "  "+format+"\n", args...)
}

// pick is how much is measured: full, or quick where that was asked for.
func pick[T any](e *env, full, quick T) T {
	if e.config.Quick {
		return quick
	}
	return full
}
