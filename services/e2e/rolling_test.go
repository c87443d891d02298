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

// rollingRounds is how many processes the test restarts: ROLLING_ROUNDS, or one of each kind.
func rollingRounds(t *testing.T, kinds int) int {
	t.Helper()
	text := os.Getenv("ROLLING_ROUNDS")
	if text == "" {
		return kinds
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("ROLLING_ROUNDS=%q: want a number", text)
	}
	return rounds
}

// stalls are the stalls of a kind of client, one of each round.
type stalls []time.Duration

// quantile is the stall that so many percent of the rounds stay within.
func (s stalls) quantile(percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, (len(sorted)*percent+99)/100-1)]
}

// TestARollingRestartShowsNothingToClients stops process after process with SIGTERM, under load, and starts it again when it has ended.
// Clients have default settings: none may be told an error, and all go on within half a second.
//
//	ROLLING_ROUNDS=20 go test -v -run Rolling ./services/e2e
func TestARollingRestartShowsNothingToClients(t *testing.T) {
	const partitions, bound = 6, 500 * time.Millisecond
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3})
	createTopic(t, r.Ingest[0], "rolled", partitions, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	s := startSteady(t, r.Ingest, "rolled", partitions)
	victims := []*cluster.Node{r.Ingest[0], r.Tiering, r.Ingest[1], r.Ingest[2]}
	rounds := rollingRounds(t, len(victims))
	var acknowledged, read stalls
	table := &strings.Builder{}
	for i := range rounds {
		victim := victims[i%len(victims)]
		from := s.rest(t)
		victim.Stop()
		stopped := time.Since(from)
		victim.Start()
		started := time.Since(from)
		a, b := s.around(t, from, time.Now().Add(time.Second))
		acknowledged, read = append(acknowledged, a), append(read, b)
		fmt.Fprintf(table, "%2d %-9s stopped after %6v, back after %6v; longest acknowledgement %6v, longest way to a reader %6v\n",
			i+1, victim.Role, stopped.Round(time.Millisecond), started.Round(time.Millisecond), a.Round(time.Millisecond), b.Round(time.Millisecond))
	}
	s.finish(t)
	t.Logf("%d restarts\n%s50 %% of the rounds: acknowledged within %v, read within %v\n95 %%: acknowledged within %v, read within %v", rounds, table,
		acknowledged.quantile(50), read.quantile(50), acknowledged.quantile(95), read.quantile(95))
	if acknowledged.quantile(95) > bound || read.quantile(95) > bound {
		t.Errorf("clients stalled for more than %v", bound)
	}
}
