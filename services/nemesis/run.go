//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/services/nemesis/cluster"
	"github.com/varvelog/varve/services/nemesis/fault"
	"github.com/varvelog/varve/services/nemesis/history"
	"github.com/varvelog/varve/services/nemesis/workload"
)

// run is one run: a cluster, its clients, what goes wrong, and what is found.
type run struct {
	options options
	began   time.Time
	log     *os.File // of the nemesis
	cluster *cluster.Cluster
	history *history.Writer
	work    *workload.Workload

	mu struct {
		sync.Mutex
		recoveries []time.Duration
		faults     map[string]int
	}
}

const (
	startPatience = 90 * time.Second
	// livePatience is how long the cluster may take, when everything is healed, until every client and every group goes on. Members that were killed
	// hold their groups up for a session and a rebalance.
	livePatience = 60 * time.Second
	// finishPatience bounds the wait for transactions of crashed clients. Reading all logs may take as long as writing them on top of it; what
	// stands still is noticed much sooner, by the patience for each offset.
	finishPatience = 5 * time.Minute
	// rssBound is more than any process of Varve may ever take with the flags below.
	rssBound  = 700 << 20
	diskBytes = 384 << 20
)

// flags make what takes long short: segments ship, snapshots are taken and objects deleted many times in a run.
var flags = []string{
	"--seal-age=2s", "--hot-segment-bytes=16MiB", "--request-memory=32MiB", "--fetch-memory=32MiB", "--cache-bytes=16MiB", "--snapshot-entries=300", "--merge-age=5s",
	"--job-lease=10s", "--delete-delay=2s", "--orphan-age=1m", "--sweep-interval=10s", "--object-puts-per-second=20",
}

func (r *run) tell(format string, args ...any) {
	line := fmt.Sprintf("%7.1f s  %s", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Println(line)
	fmt.Fprintln(r.log, line)
}

// do runs everything. It is false where something was found.
func (r *run) do(ctx context.Context) (valid bool, err error) {
	o := r.options
	r.began, r.mu.faults = time.Now(), map[string]int{}
	if err := errors.Join(os.RemoveAll(o.dir), os.MkdirAll(o.dir, 0o750)); err != nil {
		return false, err
	}
	if r.log, err = os.Create(filepath.Join(o.dir, "nemesis.log")); err != nil {
		return false, err
	}
	defer r.log.Close()
	file, err := os.Create(filepath.Join(o.dir, "history.jsonl"))
	if err != nil {
		return false, err
	}
	defer file.Close()
	r.history = history.NewWriter(file)
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	r.cluster, err = cluster.Start(starting, cluster.Config{
		Dir: o.dir, Varve: o.varve, MinIO: o.minio, Metalog: o.metalog, Coordinators: o.coordinators, Ingest: 3, Tierings: 2, Flags: flags, DiskBytes: diskBytes, Tell: r.tell,
	})
	if err != nil {
		return false, err
	}
	defer r.cluster.Close()
	r.tell("the cluster serves: %d processes, metalog on %s, seed %d", len(r.cluster.Processes), o.metalog, o.seed)
	r.work, err = workload.Start(starting, workload.Config{
		Bootstrap: r.cluster.Bootstrap(), Classes: o.classes, Rate: o.rate, Seed: o.seed, History: r.history, Complain: r.cluster.Complain, Java: o.java,
		Life: o.life,
	})
	if err != nil {
		return false, err
	}
	r.awaitLive(ctx, "at first", true)
	failure := r.torment(ctx)
	r.awaitLive(ctx, "at last", true)
	r.work.Stop()
	r.tell("all clients have ended; reading all logs at every node")
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishPatience+r.options.duration)
	defer cancel()
	if err := r.work.Finish(finishing); err != nil {
		r.cluster.Complain("%v", err)
	}
	r.checkMemory()
	failure = errors.Join(failure, r.history.Flush())
	if failure != nil {
		return false, failure
	}
	return r.judge(file.Name())
}

// torment breaks things until the time is over. Now and then everything is healed, and the cluster has to come back to life.
func (r *run) torment(ctx context.Context) error {
	if r.options.rounds > 0 {
		return r.torture(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.duration)
	defer cancel()
	source := &fault.Source{Cluster: r.cluster, Random: rand.New(rand.NewPCG(r.options.seed, 1)), Clocks: r.options.clocks, Power: r.cluster.Powered(), Kinds: r.options.kinds}
	sleep := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	if slices.Equal(r.options.kinds, []string{"none"}) {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		for range 1 + source.Random.IntN(3) {
			if err := r.several(source, sleep); err != nil {
				return err
			}
			sleep(time.Duration(source.Random.Int64N(int64(2 * time.Second))))
			if ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() == nil {
			r.awaitLive(ctx, "", true)
		}
	}
	return nil
}

// several begins one to three faults, one after the other, and ends them after a while, in any order.
func (r *run) several(source *fault.Source, sleep func(time.Duration)) error {
	var begun []*fault.Fault
	var failed []error
	for range []int{1, 1, 1, 2, 2, 3}[source.Random.IntN(6)] {
		f, err := source.Draw()
		if err != nil {
			return err
		}
		r.tell("%s", f.Name)
		r.mu.Lock()
		r.mu.faults[strings.Join(strings.Fields(f.Name)[:1], " ")]++
		r.mu.Unlock()
		begun = append(begun, f)
		failed = append(failed, f.Begin())
		sleep(time.Duration(source.Random.Int64N(int64(time.Second))))
	}
	// Mostly short, now and then longer than any lease or session.
	held := time.Duration(source.Random.ExpFloat64() * float64(4*time.Second))
	sleep(min(held, 25*time.Second))
	for _, i := range source.Random.Perm(len(begun)) {
		failed = append(failed, begun[i].End())
		r.tell("ended: %s", begun[i].Name)
		sleep(time.Duration(source.Random.Int64N(int64(500 * time.Millisecond))))
	}
	return errors.Join(failed...)
}

// awaitLive waits, when nothing fails, until every process serves and every kind of client has succeeded with what it began since; groups too,
// unless they may be left out. It is false where that takes too long.
func (r *run) awaitLive(ctx context.Context, when string, groups bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), livePatience)
	defer cancel()
	began, mark := time.Now(), r.work.Mark()
	if err := r.cluster.AwaitReady(ctx); err != nil {
		r.cluster.Complain("%s after everything was healed: %v", livePatience, err)
		return false
	}
	ready := time.Since(began)
	if !r.forget(ctx) {
		return false
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last := "nothing"
	for {
		behind := r.work.Behind(mark, groups)
		if len(behind) == 0 {
			break
		}
		last = strings.Join(behind, ", ")
		select {
		case <-ctx.Done():
			r.cluster.Complain("%s after everything was healed, nothing has come of: %s", livePatience, last)
			return false
		case <-ticker.C:
		}
	}
	took := time.Since(began)
	if when == "" {
		r.mu.Lock()
		r.mu.recoveries = append(r.mu.recoveries, took)
		r.mu.Unlock()
	}
	r.tell("everything works again %s after %.1f s (all ready: %.1f s); the last was: %s", when, took.Seconds(), ready.Seconds(), last)
	return true
}

// forget gives up the nodes whose disks were lost, and writes down what is lost with them: of class local, and of no other.
func (r *run) forget(ctx context.Context) bool {
	began := r.work.Mark()
	ranges, err := r.cluster.Forget(ctx)
	e := history.Event{Kind: history.Lost, Status: history.OK, Invoke: began, Complete: r.work.Mark()}
	for _, l := range ranges {
		if class := r.work.Class(l.Topic); class != "local" {
			r.cluster.Complain("offsets %d to %d of %s/%d, of class %s, were declared lost with one disk", l.BaseOffset, l.NextOffset-1, l.Topic, l.Partition, class)
			continue
		}
		e.Parts = append(e.Parts, history.Part{Partition: fmt.Sprintf("%s/%d", l.Topic, l.Partition), Low: l.BaseOffset, High: l.NextOffset})
	}
	if len(e.Parts) > 0 {
		err = errors.Join(err, r.history.Write(&e))
	}
	if err != nil {
		r.cluster.Complain("%v", err)
	}
	return err == nil
}

func (r *run) checkMemory() {
	for _, p := range r.cluster.Processes {
		if rss := p.MaxRSS(); rss > rssBound {
			r.cluster.Complain("%s took %d MiB of memory, the bound is %d MiB", p.Name, rss>>20, int64(rssBound)>>20)
		}
	}
}

// judge checks the history and prints what there is to say.
func (r *run) judge(name string) (valid bool, err error) {
	checking := time.Now()
	report, err := history.Check(history.File(name))
	if err != nil {
		return false, err
	}
	r.tell("history checked in %.1f s", time.Since(checking).Seconds())
	out, err := os.Create(filepath.Join(r.options.dir, "report.txt"))
	if err != nil {
		return false, err
	}
	defer out.Close()
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		return false, err
	}
	for _, p := range r.cluster.Processes {
		fmt.Fprintf(&text, "%s: at most %d MiB, started %d times\n", p.Name, p.MaxRSS()>>20, p.Starts())
	}
	fmt.Fprintf(&text, "requests of the store that met a fault: %v\n", r.cluster.Store.Hits())
	slices.Sort(r.mu.recoveries)
	if n := len(r.mu.recoveries); n > 0 {
		fmt.Fprintf(&text, "until every client went on after everything was healed: %d times, median %.1f s, at most %.1f s\n", n, r.mu.recoveries[n/2].Seconds(), r.mu.recoveries[n-1].Seconds())
	}
	if err := r.writeFindings(report); err != nil {
		return false, err
	}
	complaints := r.cluster.Complaints()
	for _, c := range complaints {
		fmt.Fprintf(&text, "complaint: %s\n", c)
	}
	fmt.Print(text.String())
	if _, err := out.WriteString(text.String()); err != nil {
		return false, err
	}
	return report.Valid() && len(complaints) == 0, nil
}
