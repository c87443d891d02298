//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// errViolated: some seed did not pass.
var errViolated = errors.New("an invariant does not hold")

func run(ctx context.Context) error {
	seeds := flag.Uint64("seeds", 0, "how many seeds to run; 0 for 100, or 1,000 for each planted fault")
	from := flag.Uint64("from", 1, "the first of them")
	seed := flag.Uint64("seed", 0, "run this seed alone, and print its trace's hash")
	trace := flag.Bool("trace", false, "with -seed: print what happens")
	verbose := flag.Bool("verbose", false, "with -trace: print what clients say, too; the run may become another")
	workers := flag.Int("workers", runtime.NumCPU(), "seeds run at once")
	twice := flag.Bool("twice", false, "run each seed twice, and fail those with two traces")
	program := flag.String("guest", "", "run this compiled guest instead of compiling one")
	output := flag.String("build", "", "compile the guest, with -planted one with faults, into this file, and end")
	planted := flag.Bool("planted", false, "build faults into Varve, one for each invariant, and count the seeds until each is found")
	invariant := flag.String("invariant", "", "with -planted: of this one alone")
	flag.Parse()
	compile := build
	if *planted {
		compile = buildPlanted
	}
	if *output != "" {
		return compile(ctx, *output)
	}
	guest, err := openGuest(ctx, *program, compile)
	if err != nil {
		return err
	}
	defer guest.close()
	if *planted && *seed == 0 {
		return hunt(ctx, guest, *invariant, *from, cmp.Or(*seeds, 1000), *workers)
	}
	if *planted {
		guest.set("SIMULATE_PLANTED", *invariant)
	}
	if *verbose {
		guest.set("SIMULATE_VERBOSE", "1")
	}
	if *seed != 0 {
		return one(ctx, guest, *seed, *trace)
	}
	return many(ctx, guest, *from, cmp.Or(*seeds, 100), *workers, *twice)
}

// one runs a seed and prints what came of it.
func one(ctx context.Context, guest *guest, seed uint64, trace bool) error {
	var out io.Writer
	if trace {
		out = os.Stdout
	}
	r := guest.run(ctx, seed, out)
	fmt.Printf("seed %d: %s; %d lines of trace with hash %s; %v of virtual time in %v\n", seed, r.verdict(), r.lines, r.hash, r.virtual.Round(time.Millisecond), r.took.Round(time.Millisecond))
	for _, what := range r.violations {
		fmt.Println("  " + what)
	}
	if !r.passed() {
		return errViolated
	}
	return nil
}

// replays runs a seed twice: what cannot be replayed is not worth finding.
func replays(ctx context.Context, guest *guest, seed uint64) error {
	if a, b := guest.run(ctx, seed, nil), guest.run(ctx, seed, nil); a.hash != b.hash {
		return fmt.Errorf("two runs of seed %d have traces with hash %s and %s", seed, a.hash, b.hash)
	}
	return nil
}

// many runs seeds side by side and prints those that fail.
func many(ctx context.Context, guest *guest, from, count uint64, workers int, twice bool) error {
	var mu sync.Mutex
	var running sync.WaitGroup
	next, done, failed, virtual := from, uint64(0), 0, time.Duration(0)
	began := time.Now()
	if err := replays(ctx, guest, from); err != nil {
		return err
	}
	for range max(1, workers) {
		running.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				if seed >= from+count || ctx.Err() != nil {
					return
				}
				r := guest.run(ctx, seed, nil)
				if twice {
					if again := guest.run(ctx, seed, nil); again.hash != r.hash {
						r.violations = append(r.violations, fmt.Sprintf("two runs have traces with hash %s and %s", r.hash, again.hash))
					}
				}
				mu.Lock()
				done++
				virtual += r.virtual
				if !r.passed() {
					failed++
					fmt.Printf("seed %d: %s\n  %s\n  replay: go run ./services/simulate -seed %d -trace\n", seed, r.verdict(), strings.Join(r.violations, "\n  "), seed)
				}
				if done%100 == 0 {
					fmt.Printf("%d of %d seeds, %d failed, %v\n", done, count, failed, time.Since(began).Round(time.Second))
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	took := time.Since(began)
	fmt.Printf("%d seeds from %d: %d failed; %v of virtual time in %v\n", done, from, failed, virtual.Round(time.Second), took.Round(time.Second))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed > 0:
		return errViolated
	}
	return nil
}
