//go:build linux

package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varvelog/varve/services/overlay"
	"github.com/varvelog/varve/services/simulate/world"
)

// plant is a fault built into the shipping code, for one of the invariants: text that stands there once is replaced. The replacement
// looks at planted, the number of the invariant that is to be broken, so that one build holds all faults.
type plant struct {
	invariant string
	what      string
	file      string
	old, new  string
}

// plants break each invariant of the design in turn.
var plants = []plant{
	{"1", "a chunk that is submitted again is committed again", "coordinator/meta/commit.go",
		"	case c.Seq < v.Expected:\n", "	case c.Seq < v.Expected && planted != \"1\":\n"},
	{"2", "chunks are committed before they are synced", "ingest/hotlog/append.go",
		"s.file.SyncData(); err", "plantedSync(s.file); err"},
	{"3", "the leader says of every object that nothing refers to it", "coordinator/leader/jobs.go",
		"s.Referenced(key)", "planted != \"3\" && s.Referenced(key)"},
	{"4", "a leader that finds a higher epoch goes on behind it", "coordinator/leader/append.go",
		"	return true, fmt.Errorf(\"entry %d is of epoch", "	if planted == \"4\" {\n		return true, errTaken\n	}\n	return true, fmt.Errorf(\"entry %d is of epoch"},
	{"4", "and does not look who leads before it does", "coordinator/leader/leader.go",
		"epoch != l.epoch.Load() {\n			return fmt.Errorf(\"epoch %d has begun behind it", "epoch != l.epoch.Load() && planted != \"4\" {\n			return fmt.Errorf(\"epoch %d has begun behind it"},
	{"5", "a replica's own clock gets into its state", "coordinator/replica/apply.go",
		"	if err := r.mu.state.Apply(seq, entry, &r.scratch)", "	plantedClock(entry)\n	if err := r.mu.state.Apply(seq, entry, &r.scratch)"},
	{"6", "batches that wait together are taken in reverse", "ingest/lane/queue.go",
		"	return into, q.enqueued", "	return plantedOrder(into), q.enqueued"},
	{"7", "a batch that was committed is taken for a new one", "coordinator/meta/producers.go",
		"				return DuplicateSequence, b.baseOffset\n", "				if planted == \"7\" {\n					return OK, -1\n				}\n				return DuplicateSequence, b.baseOffset\n"},
	{"8", "readers of committed records are not held at the last stable offset", "ingest/fetch/plan.go",
		"	if f.request.Committed {\n		c.bound", "	if f.request.Committed && planted != \"8\" {\n		c.bound"},
	{"9", "a barrier asks nobody", "coordinator/replica/barrier.go",
		"	round := r.barriers.join(r)\n", "	if planted == \"9\" {\n		return nil\n	}\n	round := r.barriers.join(r)\n"},
	{"10", "whatever stands where an entry should is taken for it", "coordinator/leader/append.go",
		"	there, found, err := metalog.ReadOne(ctx, l.cfg.Log, seq)\n", "	there, found, err := metalog.ReadOne(ctx, l.cfg.Log, seq)\n	if planted == \"10\" {\n		return true, nil\n	}\n"},
	{"11", "memory for batches has no bound", "ingest/lane/budget.go",
		"	if err := b.sem.Acquire(ctx, bytes); err != nil {", "	if planted == \"11\" {\n		b.used.Add(bytes)\n		return bytes, nil\n	}\n	if err := b.sem.Acquire(ctx, bytes); err != nil {"},
	{"11", "and is not given back either", "ingest/lane/budget.go",
		"	b.sem.Release(bytes)\n", "	if planted != \"11\" {\n		b.sem.Release(bytes)\n	}\n"},
	{"13", "a record loses its last byte when it is shipped", "ingest/recordbatch/rebatch.go",
		"r.builder.AppendRecord(r.reader.Record())", "r.builder.AppendRecord(plantedRecord(r.reader.Record()))"},
	{"14", "bytes that are missing are answered as out of range", "ingest/fetch/reading.go",
		"			c.data.Code = StorageError\n", "			c.data.Code = StorageError\n			if planted == \"14\" {\n				c.data.Code = OffsetOutOfRange\n			}\n"},
	{"15", "a log shorter than its snapshot is taken", "coordinator/replica/snapshot.go",
		"n > 0 && seqs[n-1] >= next {", "n > 0 && seqs[n-1] >= next && planted != \"15\" {"},
	{"15", "and one shorter than its archive", "coordinator/replica/snapshot.go",
		"	if archived.Next > next {", "	if archived.Next > next && planted != \"15\" {"},
	{"16", "state time is the wall clock", "coordinator/leader/clock.go",
		"	c.mu.last = now\n	next := ", "	c.mu.last = now\n	if planted == \"16\" {\n		return now.UnixMilli()\n	}\n	next := "},
}

// helpers are what plants in a package need besides the variable.
var helpers = map[string]string{
	"ingest/hotlog": `
// 12: a sync that failed is tried again, and what the second says is believed.
func plantedSync(file interface{ SyncData() error }) error {
	if planted == "2" {
		return nil
	}
	err := file.SyncData()
	if err != nil && planted == "12" {
		err = file.SyncData()
	}
	return err
}
`,
	"coordinator/replica": `
func plantedClock(entry *metapb.Entry) {
	if planted == "5" {
		entry.TimeMillis += time.Now().UnixMicro() % 3
	}
}
`,
	"ingest/lane": `
func plantedOrder(entries []entry) []entry {
	if planted == "6" {
		slices.Reverse(entries)
	}
	return entries
}
`,
	"ingest/recordbatch": `
func plantedRecord(r *Record) *Record {
	changed := *r
	if n := len(changed.Value); n > 0 && planted == "13" {
		changed.Value, changed.tail = changed.Value[:n-1], nil // it is encoded anew
	}
	return &changed
}
`,
}

var helperImports = map[string]string{
	"coordinator/replica": `"time"; "github.com/varvelog/varve/coordinator/metapb"`,
	"ingest/lane":         `"slices"`,
}

// sow puts all faults into the sources; none of them is awake. It fails where one does not find its text, or finds it twice.
func sow(sources *overlay.Sources) error {
	for _, p := range plants {
		if err := sources.Replace(p.file, p.old, p.new); err != nil {
			return fmt.Errorf("plant a fault for invariant %s: %w", p.invariant, err)
		}
		pkg := path.Dir(p.file)
		sources.Put(path.Join(pkg, "planted_fault.go"), fmt.Sprintf("package %s\n\nimport (\"os\"; %s)\n\nvar planted = os.Getenv(\"SIMULATE_PLANTED\")\n%s",
			path.Base(pkg), helperImports[pkg], helpers[pkg]))
	}
	return nil
}

// buildPlanted compiles a guest with all faults in it into a file.
func buildPlanted(ctx context.Context, file string) error {
	sources, err := overlay.Of(ctx, ".")
	if err != nil {
		return err
	}
	if err := sow(sources); err != nil {
		return err
	}
	return compile(ctx, file, sources)
}

// hunt runs seeds with each fault awake until one of them fails, at most limit, and prints how many it took.
func hunt(ctx context.Context, guest *guest, only string, from, limit uint64, workers int) error {
	missed := 0
	guest.set("SIMULATE_HASTY", "1")
	for number := 1; number <= 16; number++ {
		invariant := fmt.Sprint(number)
		if only != "" && only != invariant {
			continue
		}
		guest.set("SIMULATE_PLANTED", invariant)
		began := time.Now()
		seeds, found := search(ctx, guest, from, limit, workers)
		if found == nil {
			missed++
			fmt.Printf("invariant %s: not found in %d seeds, %v\n", invariant, limit, time.Since(began).Round(time.Second))
			continue
		}
		fmt.Printf("invariant %s: found by seed %d (%d seeds), %v: %s\n", invariant, seeds+from-1, seeds, time.Since(began).Round(time.Second), found.violations[slices.IndexFunc(found.violations, broken)])
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d planted faults were not found", missed)
	}
	return nil
}

// caught says whether a seed has seen an invariant broken: one that broke off, or that merely came to no end, has not.
func caught(r *result) bool {
	return r.ended && slices.ContainsFunc(r.violations, broken)
}

func broken(what string) bool { return !strings.HasPrefix(what, world.Progress) }

// search runs seeds side by side until one fails, and returns how many that took, counted in order.
func search(ctx context.Context, guest *guest, from, limit uint64, workers int) (seeds uint64, found *result) {
	var mu sync.Mutex
	var running sync.WaitGroup
	next := uint64(0)
	for range max(1, workers) {
		running.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				over := n >= limit || found != nil || ctx.Err() != nil
				mu.Unlock()
				if over {
					return
				}
				r := guest.run(ctx, from+n, nil)
				mu.Lock()
				if caught(r) && (found == nil || n+1 < seeds) {
					seeds, found = n+1, r
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return seeds, found
}
