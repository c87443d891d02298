package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// rollingRounds is how many processes of each kind a test restarts, and whether its times are judged: ROLLING_ROUNDS, on a machine that has
// nothing else to do; or a few, on one that may be busy.
func rollingRounds(t *testing.T, few int) (rounds int, judged bool) {
	t.Helper()
	text := os.Getenv("ROLLING_ROUNDS")
	if text == "" {
		return few, false
	}
	rounds, err := strconv.Atoi(text)
	if err != nil || rounds < 1 {
		t.Fatalf("ROLLING_ROUNDS=%q: want a number", text)
	}
	return rounds, true
}

// rollingKinds are the kinds of processes to restart: those that ROLLING_KINDS names, or all.
func rollingKinds(t *testing.T, all ...string) []string {
	t.Helper()
	kinds := strings.Fields(os.Getenv("ROLLING_KINDS"))
	for _, kind := range kinds {
		if !slices.Contains(all, kind) {
			t.Fatalf("ROLLING_KINDS names %q, want some of %q", kind, all)
		}
	}
	return slices.DeleteFunc(all, func(kind string) bool { return len(kinds) > 0 && !slices.Contains(kinds, kind) })
}

// stalls are the stalls of a kind of client, one of each round.
type stalls []time.Duration

// quantile is the stall that so many percent of the rounds stay within.
func (s stalls) quantile(percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, (len(sorted)*percent+99)/100-1)]
}

// clients are producers and consumers of several client libraries under steady load, and what they have noticed of processes that ended.
type clients struct {
	steady   *steady
	foreign  []*steadyForeign
	table    strings.Builder
	rounds   int
	measured map[stalled]stalls
}

// stalled says which client noticed what became of which kind of process.
type stalled struct{ kind, client string }

// startClients creates the topics of all clients, with the settings given, and starts them.
func startClients(t *testing.T, nodes []*cluster.Node, partitions int32, settings ...string) *clients {
	t.Helper()
	createTopic(t, nodes[0], "rolled", partitions, settings...)
	for _, f := range foreignClients() {
		createTopic(t, nodes[0], f.name, partitions, settings...)
	}
	awaitNodes(t, nodes[0], nodes...)
	return &clients{
		steady: startSteady(t, nodes, "rolled", partitions), foreign: startSteadyForeign(t, nodes, partitions),
		measured: map[stalled]stalls{},
	}
}

// during ends a process of a kind, which the victim has, has it start again, and takes down how long each client stood still.
func (c *clients) during(t *testing.T, kind string, victim *cluster.Node, end func()) {
	t.Helper()
	from := c.steady.rest(t)
	end()
	ended := time.Since(from)
	victim.Start()
	started := time.Since(from)
	to := time.Now().Add(time.Second)
	c.rounds++
	fmt.Fprintf(&c.table, "%2d %-11s %s ended after %5d ms, back after %5d ms;", c.rounds, kind, from.Format("04:05.000"), ended.Milliseconds(), started.Milliseconds())
	note := func(client string, stall time.Duration) {
		at := stalled{kind, client}
		c.measured[at] = append(c.measured[at], stall)
		fmt.Fprintf(&c.table, " %s %d ms", client, stall.Milliseconds())
	}
	acknowledged, read := c.steady.around(t, from, to)
	note("franz-go producer", acknowledged)
	note("franz-go consumer", read)
	for _, f := range c.foreign {
		note(f.name, f.longest(from, to))
	}
	fmt.Fprintln(&c.table)
}

// finish ends the clients, fails the test where one was told an error, or stood still for longer than bound in more than 5 of 100 rounds of a kind, and
// says what was measured. A bound of 0 is none.
func (c *clients) finish(t *testing.T, bound time.Duration) {
	t.Helper()
	c.steady.finish(t)
	for _, f := range c.foreign {
		f.finish()
	}
	byName := func(a, b stalled) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.client, b.client)) }
	for _, at := range slices.SortedFunc(maps.Keys(c.measured), byName) {
		s := c.measured[at]
		fmt.Fprintf(&c.table, "| %s | %s | %d ms | %d ms | %d ms |\n",
			at.kind, at.client, s.quantile(50).Milliseconds(), s.quantile(95).Milliseconds(), slices.Max(s).Milliseconds())
		if bound > 0 && s.quantile(95) > bound {
			t.Errorf("%s: %s stood still for more than %v", at.kind, at.client, bound)
		}
	}
	t.Logf("the longest wait of a round, at the median, at the 95th percentile, at most\n%s", &c.table)
}

// TestARollingRestartShowsNothingToClients stops process after process with SIGTERM, under load, and starts it again when it has ended.
// Clients have default settings: none may be told an error or lose a record, and no group may be disturbed. With `make rolling` they have to go on
// within half a second, too, in 95 of 100 rounds of each kind of process.
func TestARollingRestartShowsNothingToClients(t *testing.T) {
	t.Parallel() // it holds no time against a bound but where it runs alone
	metalog := cmp.Or(os.Getenv("ROLLING_METALOG"), "jetstream")
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3, Coordinators: 3, Flags: []string{"--metalog=" + metalog}})
	c := startClients(t, r.Ingest, 6, "varve.durability", "local")
	rounds, judged := rollingRounds(t, 1)
	victims := map[string]func(round int) *cluster.Node{
		"ingest":  func(round int) *cluster.Node { return r.Ingest[round%len(r.Ingest)] },
		"tiering": func(int) *cluster.Node { return r.Tiering },
		"leader": func(int) *cluster.Node {
			leader, _ := cluster.AwaitLeader(t, patience, r.Coordinators...)
			return leader
		},
		"standby": func(round int) *cluster.Node {
			_, others := cluster.AwaitLeader(t, patience, r.Coordinators...)
			return others[round%len(others)]
		},
	}
	kinds := rollingKinds(t, "ingest", "leader", "tiering", "standby")
	for round := range rounds {
		for _, kind := range kinds {
			victim := victims[kind](round)
			c.during(t, kind, victim, victim.Stop)
		}
	}
	var bound time.Duration
	if judged {
		bound = 500 * time.Millisecond
	}
	c.finish(t, bound)
}

// TestAKilledNodesClientsGoOnWithinThreeSeconds kills ingest nodes under load, whose clients have default settings. `make killing` does so many times.
func TestAKilledNodesClientsGoOnWithinThreeSeconds(t *testing.T) {
	for _, durability := range rollingKinds(t, "object", "replicated") {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3, Flags: []string{"--object-puts-per-second=100"}})
			c := startClients(t, r.Ingest, 6, "varve.durability", durability)
			rounds, _ := rollingRounds(t, 2)
			for round := range rounds {
				victim := r.Ingest[round%len(r.Ingest)]
				c.during(t, durability, victim, victim.Kill)
			}
			c.finish(t, 3*time.Second)
		})
	}
}
