package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// rollingRounds is how many processes the test restarts, and whether its times are judged: ROLLING_ROUNDS, on a machine that has nothing else to
// do; or each once, on one that may be busy.
func rollingRounds(t *testing.T, processes int) (rounds int, judged bool) {
	t.Helper()
	text := os.Getenv("ROLLING_ROUNDS")
	if text == "" {
		return processes, false
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("ROLLING_ROUNDS=%q: want a number", text)
	}
	return rounds, true
}

// stalls are the stalls of a kind of client, one of each round.
type stalls []time.Duration

// quantile is the stall that so many percent of the rounds stay within.
func (s stalls) quantile(percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, (len(sorted)*percent+99)/100-1)]
}

// TestARollingRestartShowsNothingToClients stops process after process with SIGTERM, under load, and starts it again when it has ended.
// Clients have default settings: none may be told an error or lose a record, and no group may be disturbed. With `make rolling` they have to go on
// within half a second, too, in 95 of 100 rounds.
func TestARollingRestartShowsNothingToClients(t *testing.T) {
	const partitions, bound = 6, 500 * time.Millisecond
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3, Coordinators: 3})
	createTopic(t, r.Ingest[0], "rolled", partitions, "varve.durability", "local")
	createTopic(t, r.Ingest[0], "foreign", partitions, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	s := startSteady(t, r.Ingest, "rolled", partitions)
	foreign := startSteadyForeign(t, r.Ingest, "foreign", partitions)
	victims := []*cluster.Node{r.Ingest[0], r.Coordinators[0], r.Ingest[1], r.Tiering, r.Ingest[2], r.Coordinators[1], r.Coordinators[2]}
	measured := map[string]stalls{}
	table := &strings.Builder{}
	rounds, judged := rollingRounds(t, len(victims))
	for i := range rounds {
		victim := victims[i%len(victims)]
		from := s.rest(t)
		victim.Stop()
		stopped := time.Since(from)
		victim.Start()
		started := time.Since(from)
		to := time.Now().Add(time.Second)
		fmt.Fprintf(table, "%2d %-11s stopped after %5d ms, back after %5d ms;", i+1, victim.Role, stopped.Milliseconds(), started.Milliseconds())
		note := func(name string, stall time.Duration) {
			measured[name] = append(measured[name], stall)
			fmt.Fprintf(table, " %s %d ms", name, stall.Milliseconds())
		}
		acknowledged, read := s.around(t, from, to)
		note("franz-go producer", acknowledged)
		note("franz-go consumer", read)
		for _, p := range foreign {
			note(p.name+" producer", p.longest(from, to))
		}
		fmt.Fprintln(table)
	}
	s.finish(t)
	for _, p := range foreign {
		p.finish()
	}
	for name, stall := range measured {
		fmt.Fprintf(table, "%s: the longest wait of a round is %d ms at the median, %d ms at the 95th percentile of %d, %d ms at most\n",
			name, stall.quantile(50).Milliseconds(), stall.quantile(95).Milliseconds(), rounds, slices.Max(stall).Milliseconds())
		if judged && stall.quantile(95) > bound {
			t.Errorf("%s stalled for more than %v", name, bound)
		}
	}
	t.Logf("%d restarts\n%s", rounds, table)
}
