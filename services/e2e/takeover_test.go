package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// pulse produces a record every few milliseconds, and knows how long the slowest took to be acknowledged.
type pulse struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}
	mu     struct {
		sync.Mutex
		sent, acknowledged int
		worst              time.Duration
		failed             error
	}
}

func startPulse(t *testing.T, n *cluster.Node, topic string, each time.Duration, options ...kgo.Opt) *pulse {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &pulse{client: dial(t, n, options...), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		tick := time.NewTicker(each)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p.mu.Lock()
			p.mu.sent++
			p.mu.Unlock()
			sent := time.Now()
			p.client.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "pulse-%d", i)}, func(_ *kgo.Record, err error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.mu.acknowledged++
				p.mu.worst = max(p.mu.worst, time.Since(sent))
				if err != nil && p.mu.failed == nil {
					p.mu.failed = err
				}
			})
		}
	}()
	return p
}

// during returns how long the slowest record took of those that were under way while do ran, or were sent before the pulse had
// become regular again.
func (p *pulse) during(t *testing.T, do func()) time.Duration {
	t.Helper()
	p.mu.Lock()
	p.mu.worst = 0
	p.mu.Unlock()
	do()
	p.mu.Lock()
	sent := p.mu.sent
	p.mu.Unlock()
	cluster.Eventually(t, patience, "records are acknowledged again", func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.mu.acknowledged < sent+20 {
			return fmt.Errorf("%d of %d", p.mu.acknowledged, sent+20)
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.worst
}

// finish stops the pulse and returns how many records it has sent, all of which were acknowledged.
func (p *pulse) finish(t *testing.T) int {
	t.Helper()
	p.stop()
	<-p.done
	if err := p.client.Flush(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if p.mu.failed != nil {
		t.Errorf("a producer saw an error: %v", p.mu.failed)
	}
	return p.mu.sent
}

func TestAStandbyTakesOver(t *testing.T) {
	for metalog, limit := range map[string]time.Duration{"bucket": 3 * time.Second, "jetstream": 12 * time.Second} {
		t.Run(metalog, func(t *testing.T) {
			t.Parallel()
			testTakeover(t, metalog, limit)
		})
	}
}

func testTakeover(t *testing.T, metalog string, limit time.Duration) {
	r := cluster.StartRoles(t, cluster.RolesConfig{Coordinators: 3, Ingest: 1, Flags: []string{"--metalog=" + metalog}})
	createTopic(t, r.Ingest[0], "pulse", 1, "varve.durability", "local")
	p := startPulse(t, r.Ingest[0], "pulse", 5*time.Millisecond)
	p.during(t, func() {})
	var killed, stopped []time.Duration
	for range takeoverRounds() {
		leader, _ := cluster.AwaitLeader(t, patience, r.Coordinators...)
		killed = append(killed, p.during(t, leader.Kill))
		leader.Start()
		leader, _ = cluster.AwaitLeader(t, patience, r.Coordinators...)
		stopped = append(stopped, p.during(t, leader.Stop))
		leader.Start()
	}
	t.Logf("the slowest record took %v after SIGKILL of the leader, %v after SIGTERM", killed, stopped)
	if worst := slices.Max(killed); worst > limit {
		t.Errorf("after SIGKILL commits stood still for %v", worst)
	}
	slices.Sort(stopped)
	if n := len(stopped); n >= 20 && stopped[n*95/100-1] > 500*time.Millisecond {
		t.Errorf("after SIGTERM commits stood still for %v, 95th percentile of %d", stopped[n*95/100-1], n)
	}
	sent := p.finish(t)
	if got := len(flatten(readAll(t, r.Ingest[0], "pulse"))); got != sent {
		t.Errorf("%d of %d records", got, sent)
	}
}

// takeoverRounds is how often the leader is killed and stopped: VARVE_TAKEOVER_ROUNDS, or twice.
func takeoverRounds() int {
	rounds, err := strconv.Atoi(os.Getenv("VARVE_TAKEOVER_ROUNDS"))
	if err != nil {
		return 2
	}
	return rounds
}

// The log is in the bucket, so that everything begins and goes on without NATS; wake-ups are slower.
func TestAClusterOnTheBucketNeedsNoNATS(t *testing.T) {
	t.Parallel()
	address := cluster.FreeAddress(t)
	r := cluster.StartRoles(t, cluster.RolesConfig{Coordinators: 3, NATSURL: "nats://" + address, Flags: append([]string{"--metalog=bucket"}, quickTiering...)})
	createTopic(t, r.Ingest[0], "quiet", 2, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	client := dial(t, r.Ingest[0])
	consumer := dial(t, r.Ingest[1], kgo.ConsumeTopics("quiet"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	sent := 0
	exchange := func(count int) {
		t.Helper()
		for range count {
			produce(t, client, &kgo.Record{Topic: "quiet", Value: fmt.Append(nil, sent)})
			collect(t, consumer, 1)
			sent++
		}
	}
	exchange(5)
	leader, others := cluster.AwaitLeader(t, patience, r.Coordinators...)
	leader.Kill()
	exchange(2)
	cluster.AwaitLeader(t, patience, others...)
	leader.Start()
	awaitShipped(t, r.Ingest[0], "quiet", 2) // the worker has found the new leader, too
	startNATS(t, address)
	for _, n := range append(r.Coordinators, append(r.Ingest, r.Tiering)...) {
		cluster.Eventually(t, patience, n.String()+" finds NATS", func() error {
			if !strings.Contains(n.Log(), "nats connected") {
				return errors.New("not yet")
			}
			return nil
		})
	}
	exchange(20)
	if got := len(flatten(readAll(t, r.Ingest[1], "quiet"))); got != sent {
		t.Errorf("%d records of %d", got, sent)
	}
}
