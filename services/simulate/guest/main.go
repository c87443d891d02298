// Command guest is one simulated cluster, from a seed to a verdict. services/simulate compiles it for a runtime in which its goroutines share
// one thread, and time and randomness are functions of the seed.
//
//	guest SEED
//
// It writes what happens to standard output, a line an event, and last "PASS" or "FAIL" with what did not hold.
package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/services/simulate/world"
)

func main() {
	seed, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	w := world.New(seed, os.Stdout)
	w.Verbose = os.Getenv("SIMULATE_VERBOSE") != ""
	w.Trace("seed %d swarm %v", seed, w.Swarm)
	if os.Getenv("SIMULATE_HASTY") != "" {
		w.Hasty = func() { end(w) }
	}
	run(w)
	end(w)
}

// end says what came of it.
func end(w *world.World) {
	counts := w.Counts()
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		w.Trace("count %s %d", name, counts[name])
	}
	if failed := w.Failed(); len(failed) > 0 {
		for _, what := range failed {
			fmt.Printf("FAIL %s\n", what)
		}
		os.Exit(1)
	}
	fmt.Println("PASS")
	os.Exit(0)
}

// run is one seed: a cluster and its users live through a storm, then all is healed and read again.
func run(w *world.World) {
	c := newCluster(w)
	c.start()
	if !c.await(30*time.Second, "a leader and nodes", c.up) {
		return
	}
	work := newWorkload(c)
	if !work.prepare() {
		return
	}
	stop := c.storm()
	work.run(time.Duration(4+w.IntN(8)) * time.Second)
	stop()
	w.Heal()
	work.finish()
	c.quiesce()
	work.check()
	c.refuse()
}

// logger writes a process's complaints to the trace.
func logger(w *world.World, name string, judge func(slog.Record)) *slog.Logger {
	return slog.New(&handler{world: w, name: name, judge: judge})
}
