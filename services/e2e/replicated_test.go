package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// resumption is how soon after a node's death every producer has to go on.
const resumption = 3 * time.Second

// TestReplicatedRecordsSurviveANodeAndItsDisk: the node dies under load and its disk with it; producers go on at once, and nothing is
// lost or doubled, before and after shipping.
func TestReplicatedRecordsSurviveANodeAndItsDisk(t *testing.T) {
	for name, flags := range map[string][]string{"unshipped": {"--seal-age=1h"}, "while it ships": quickTiering} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3, Flags: flags})
			awaitNodes(t, r.Ingest[0], r.Ingest...)
			const partitions = 4
			createTopic(t, r.Ingest[0], "twice", partitions, "varve.durability", "replicated")
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l := startLoad(t, ctx, r.Ingest, "twice", partitions, true, true, true)
			l.await(t, 500)
			r.Ingest[0].Kill()
			if err := os.RemoveAll(r.Ingest[0].DataDir); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			l.awaitEach(t)
			if took := time.Since(killed); took > resumption {
				t.Errorf("it took the producers %v to go on", took)
			} else {
				t.Logf("every producer went on within %v", took)
			}
			l.await(t, 500)
			stop()
			l.finish(t)
			// What the dead node had is with the others, be it a source's or a copy.
			content := readAll(t, r.Ingest[1], "twice")
			l.check(t, content)
			if name == "while it ships" {
				awaitShipped(t, r.Ingest[1], "twice", partitions)
				compare(t, flatten(readAll(t, r.Ingest[2], "twice")), flatten(content))
				for _, n := range r.Ingest[1:] {
					awaitHotLogReleased(t, n)
				}
			}
		})
	}
}

// TestReplicatedRecordsSurviveEveryDeath: single nodes die under load and come back, and then everything at once, again and again.
func TestReplicatedRecordsSurviveEveryDeath(t *testing.T) {
	random := crashSeed(t)
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3, Flags: append([]string{"--snapshot-entries=200"}, quickTiering...)})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	const partitions = 4
	createTopic(t, r.Ingest[0], "deaths", partitions, "varve.durability", "replicated")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := startLoad(t, ctx, r.Ingest, "deaths", partitions, true, true, true)
	l.await(t, 300)
	for range deathRounds {
		victim := r.Ingest[random.IntN(len(r.Ingest))]
		victim.Kill()
		killed := time.Now()
		l.awaitEach(t)
		if took := time.Since(killed); took > resumption {
			t.Errorf("it took the producers %v to go on", took)
		}
		victim.Start()
		l.await(t, 100+random.Int64N(300))
	}
	everything := append([]*cluster.Node{r.Coordinator, r.Tiering}, r.Ingest...)
	for range deathRounds {
		for _, n := range everything {
			n.Kill()
		}
		for _, n := range everything {
			n.Launch()
		}
		for _, n := range everything {
			if err := n.AwaitReady(patience); err != nil {
				t.Fatal(err)
			}
		}
		l.await(t, 100+random.Int64N(300))
	}
	stop()
	l.finish(t)
	for _, n := range r.Ingest {
		l.check(t, readAll(t, n, "deaths"))
	}
}

// deathRounds is how often a node, and everything, dies.
const deathRounds = 5

// awaitEach returns when each producer has had an acknowledgement of something sent after the call.
func (l *load) awaitEach(t *testing.T) {
	t.Helper()
	for _, p := range l.producers {
		count := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.mu.offsets)
		}
		// Up to the bound of records in flight may have been acknowledged before.
		before := count()
		cluster.Eventually(t, patience, "acknowledgements of "+p.name, func() error {
			if got := count() - before; got <= maxInFlight {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
}
