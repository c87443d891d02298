//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/varvelog/varve/services/nemesis/netns"
	"github.com/varvelog/varve/services/nemesis/workload"
)

// options are what the command line says.
type options struct {
	dir, varve, minio string
	metalog           string
	coordinators      int
	classes, kinds    []string
	duration, life    time.Duration
	rounds            int
	seed              uint64
	rate              int
	clocks            bool
	java              *workload.Java
}

// Exit codes. skipped is for those who run several checks on machines that cannot have all of them.
const (
	exitFound   = 1
	exitFailed  = 2
	exitSkipped = 77
)

// commands are what may stand in place of the flags of a run.
var commands = map[string]func(context.Context, []string) error{"build": build, "planted": planted}

func main() {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		err := commands[os.Args[1]](context.Background(), os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "nemesis:", err)
		}
		switch {
		case errors.Is(err, errSkipped):
			os.Exit(exitSkipped)
		case err != nil:
			os.Exit(exitFailed)
		}
		return
	}
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		os.Exit(exitFailed)
	}
	inside, code, err := netns.Enter()
	if errors.Is(err, netns.ErrNotPermitted) {
		fmt.Fprintln(os.Stderr, "nemesis: skipped:", err)
		os.Exit(exitSkipped)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		os.Exit(exitFailed)
	}
	if !inside {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	valid, err := (&run{options: *o}).do(ctx)
	switch {
	case errors.Is(err, netns.ErrNotPermitted):
		fmt.Fprintln(os.Stderr, "nemesis: skipped:", err)
		os.Exit(exitSkipped)
	case err != nil:
		fmt.Fprintln(os.Stderr, "nemesis:", err)
		os.Exit(exitFailed)
	case !valid:
		fmt.Printf("VIOLATIONS; history, report and logs are in %s; NEMESIS_SEED=%d\n", o.dir, o.seed)
		os.Exit(exitFound)
	}
	fmt.Printf("nothing was lost, doubled, torn or out of order; history and logs are in %s\n", o.dir)
}

func parse(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("nemesis", flag.ContinueOnError)
	flags.StringVar(&o.varve, "varve", "bin/varve", "binary to run")
	flags.StringVar(&o.minio, "minio", ".cache/bin/minio", "MinIO's binary")
	flags.StringVar(&o.dir, "dir", "", "directory that takes history and logs (default: .cache/nemesis/<seed>)")
	flags.StringVar(&o.metalog, "metalog", "", "jetstream or bucket (default: by the seed)")
	flags.IntVar(&o.coordinators, "coordinators", 3, "number of coordinators")
	flags.DurationVar(&o.duration, "duration", 30*time.Minute, "how long things go wrong")
	flags.IntVar(&o.rounds, "rounds", 0, "instead of all kinds of faults: everything is killed at once, as often as this, and all records are compared each time")
	flags.DurationVar(&o.life, "life", 0, "mean life of a client (default: 25 s, and minutes with -rounds)")
	flags.Uint64Var(&o.seed, "seed", 0, "what the faults are drawn from (default: random)")
	flags.IntVar(&o.rate, "rate", 300, "records a second")
	flags.BoolVar(&o.clocks, "clocks", false, "the binary's clock can be moved")
	classes := flags.String("classes", "local,replicated,object", "durability classes to use")
	kinds := flags.String("faults", "", "kinds of faults to draw, with commas; none for none (default: all)")
	libs := flags.String("java", "", "class path of Java's clients (default: none run)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if o.seed == 0 {
		// The second run, inside, has to draw the same.
		o.seed = 1 + rand.Uint64N(1_000_000)
		if text := os.Getenv(seedVariable); text != "" {
			if _, err := fmt.Sscan(text, &o.seed); err != nil {
				return nil, fmt.Errorf("%s: %w", seedVariable, err)
			}
		}
	}
	if err := os.Setenv(seedVariable, fmt.Sprint(o.seed)); err != nil {
		return nil, err
	}
	if o.metalog == "" {
		o.metalog = []string{"jetstream", "bucket"}[o.seed%2]
	}
	if o.rounds > 0 && o.life == 0 {
		o.life = tortureLife
	}
	o.classes = strings.Split(*classes, ",")
	if *kinds != "" {
		o.kinds = strings.Split(*kinds, ",")
	}
	if o.dir == "" {
		o.dir = filepath.Join(".cache", "nemesis", fmt.Sprint(o.seed))
	}
	for _, path := range []*string{&o.dir, &o.varve, &o.minio} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	if *libs != "" {
		o.java = &workload.Java{ClassPath: *libs, Dir: filepath.Join(o.dir, "logs")}
	}
	return o, nil
}

const seedVariable = "VARVE_NEMESIS_SEED"
