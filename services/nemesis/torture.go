//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/varvelog/varve/services/nemesis/cluster"
)

const (
	// tortureLife lets most clients live through several deaths of the cluster.
	tortureLife = 2 * time.Minute
	// thoroughRounds is how often groups are waited for, one of whose members died needing longer than a round, and logs are read from their start instead of
	// from where they were read last.
	thoroughRounds = 10
	// auditPatience bounds the reading of all logs at one node, when everything serves.
	auditPatience = time.Minute
)

// torture ends everything at one moment, round after round, without ever removing what is left, and compares what was written since each time, and all records every tenth. Every
// other time power goes as well, with what no disk had been told to sync, and sometimes everything ends again while it starts or recovers.
func (r *run) torture(ctx context.Context) error {
	random := rand.New(rand.NewPCG(r.options.seed, 2))
	for round := 1; round <= r.options.rounds; round++ {
		pause(ctx, time.Duration(random.ExpFloat64()*float64(500*time.Millisecond)))
		if ctx.Err() != nil {
			return nil
		}
		if err := r.endEverything(ctx, random, round); err != nil {
			return err
		}
		if !r.awaitLive(ctx, "", round%thoroughRounds == 0) || !r.audit(ctx, random, round%thoroughRounds == 0) {
			return nil // the complaint stands, and everything is left as it is
		}
	}
	return nil
}

// endEverything kills all processes, once or several times, and starts them again.
func (r *run) endEverything(ctx context.Context, random *rand.Rand, round int) error {
	for death := 0; ; death++ {
		processes, what := r.cluster.Processes, "everything"
		if random.IntN(4) == 0 {
			processes, what = append([]*cluster.Process{r.cluster.MinIO}, processes...), "everything and the store"
		}
		var failed []error
		if r.cluster.Powered() && random.IntN(2) == 0 {
			r.tell("round %d: power off %s", round, what)
			failed = append(failed, cluster.CutPower(processes))
		} else {
			r.tell("round %d: kill %s", round, what)
			failed = append(failed, cluster.Kill(processes))
		}
		// Not always in the same order, and not always at once.
		processes = slices.Clone(processes)
		random.Shuffle(len(processes), func(i, j int) { processes[i], processes[j] = processes[j], processes[i] })
		for _, p := range processes {
			if random.IntN(8) == 0 {
				pause(ctx, time.Duration(random.Int64N(int64(300*time.Millisecond))))
			}
			failed = append(failed, p.Start())
		}
		if err := errors.Join(failed...); err != nil || death == 2 || random.IntN(3) > 0 {
			return err
		}
		// While it starts, or while it recovers.
		pause(ctx, time.Duration(random.Int64N(int64([]time.Duration{300 * time.Millisecond, 5 * time.Second}[random.IntN(2)]))))
	}
}

// audit compares all records with those that were acknowledged. It is false where some are missing.
func (r *run) audit(ctx context.Context, random *rand.Rand, fromStart bool) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	nodes, began, before := r.cluster.Bootstrap(), time.Now(), len(r.cluster.Complaints())
	records, err := r.work.Audit(ctx, nodes[random.IntN(len(nodes))], fromStart)
	if err != nil {
		r.cluster.Complain("%v", err)
	}
	r.tell("%d records were read, and are where they were said to be (%.1f s)", records, time.Since(began).Seconds())
	return len(r.cluster.Complaints()) == before
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
