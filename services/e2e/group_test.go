package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// tally counts how often each record was received.
type tally struct {
	mu struct {
		sync.Mutex
		seen map[string]int
	}
}

func (s *tally) add(records []*kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.seen == nil {
		s.mu.seen = map[string]int{}
	}
	for _, r := range records {
		s.mu.seen[fmt.Sprintf("%d@%d=%s", r.Partition, r.Offset, r.Value)]++
	}
}

func (s *tally) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.seen)
}

// member is one consumer of a group that polls until it is told to leave. What it received it commits on leaving.
type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}
}

func join(t *testing.T, n *cluster.Node, group, topic string, received *tally, options ...kgo.Opt) *member {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &member{stop: stop, done: make(chan struct{})}
	m.client = dial(t, n, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(100 * time.Millisecond),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(500 * time.Millisecond),
	}, options...)...)
	go func() {
		defer close(m.done)
		for ctx.Err() == nil {
			received.add(m.client.PollFetches(ctx).Records())
			m.client.AllowRebalance()
		}
	}()
	t.Cleanup(m.leave)
	return m
}

func (m *member) leave() {
	m.stop()
	<-m.done
	m.client.CloseAllowingRebalance() // commits and leaves
}

// awaitMembers returns when the group is stable with that many members that have all partitions between them.
func awaitMembers(t *testing.T, n *cluster.Node, group, topic string, members, partitions int) {
	t.Helper()
	a := admin(t, n)
	cluster.Eventually(t, patience, fmt.Sprintf("group %s with %d members", group, members), func() error {
		described, err := a.DescribeGroups(within(t, patience), group)
		if err != nil {
			return err
		}
		g := described[group]
		assigned := len(g.AssignedPartitions()[topic])
		if g.State != "Stable" || len(g.Members) != members || assigned != partitions {
			return fmt.Errorf("state %s, %d members, %d partitions assigned, error %v", g.State, len(g.Members), assigned, g.Err)
		}
		return nil
	})
}

func TestGroupsRebalanceAsMembersComeAndGo(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	for name, balancer := range map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		t.Run(name, func(t *testing.T) {
			topic := "balanced-" + name
			createTopic(t, n, topic, 6)
			producer := dial(t, n)
			var received tally
			total := 0
			send := func() {
				t.Helper()
				produce(t, producer, numbered(topic, "r", total, 300)...)
				total += 300
			}
			awaitAll := func() {
				t.Helper()
				cluster.Eventually(t, patience, "every record received", func() error {
					if got := received.distinct(); got != total {
						return fmt.Errorf("%d of %d", got, total)
					}
					return nil
				})
			}
			first := join(t, n, name, topic, &received, kgo.Balancers(balancer))
			send()
			awaitAll()
			second := join(t, n, name, topic, &received, kgo.Balancers(balancer))
			third := join(t, n, name, topic, &received, kgo.Balancers(balancer))
			awaitMembers(t, n, name, topic, 3, 6)
			send()
			awaitAll()
			first.leave()
			second.leave()
			awaitMembers(t, n, name, topic, 1, 6)
			send()
			awaitAll()
			third.leave()
			received.mu.Lock()
			defer received.mu.Unlock()
			for record, times := range received.mu.seen {
				if times != 1 {
					t.Errorf("%s received %d times, though every member committed before it left", record, times)
				}
			}
		})
	}
}

func TestGroupsResumeFromWhatTheyCommitted(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "resume", 1)
	produce(t, dial(t, n), numbered("resume", "r", 0, 100)...)
	options := []kgo.Opt{kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("resume"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit()}
	first := dial(t, n, options...)
	records := collect(t, first, 40)
	if err := first.CommitRecords(within(t, patience), records[39]); err != nil {
		t.Fatal(err)
	}
	first.CloseAllowingRebalance()
	second := dial(t, n, options...)
	if got := collect(t, second, 1)[0].Offset; got != 40 {
		t.Errorf("resumed at %d, want 40", got)
	}
	second.CloseAllowingRebalance()

	a := admin(t, n)
	lags, err := a.Lag(within(t, patience), "readers")
	if err != nil {
		t.Fatal(err)
	}
	if lag := lags["readers"].Lag.Total(); lag != 60 {
		t.Errorf("lag %d, want 60", lag)
	}
	// Offsets survive the process.
	n.Kill()
	n.Start()
	third := dial(t, n, options...)
	if got := collect(t, third, 1)[0].Offset; got != 40 {
		t.Errorf("after a restart: resumed at %d, want 40", got)
	}
	third.CloseAllowingRebalance()
	if _, err := a.DeleteGroup(within(t, patience), "readers"); err != nil {
		t.Errorf("delete group: %v", err)
	}
	if _, err := a.DeleteGroup(within(t, patience), "readers"); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("delete group again: %v", err)
	}
}

func TestAGroupWithMembersRefusesDeletionAndForeignCommits(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	createTopic(t, n, "held", 1)
	join(t, n, "holders", "held", &tally{})
	awaitMembers(t, n, "holders", "held", 1, 1)
	a := admin(t, n)
	if _, err := a.DeleteGroup(within(t, patience), "holders"); !errors.Is(err, kerr.NonEmptyGroup) {
		t.Errorf("delete a group with members: %v", err)
	}
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "held", Partition: 0, At: 5, LeaderEpoch: -1})
	answers, err := a.CommitOffsets(within(t, patience), "holders", offsets)
	if err = errors.Join(err, answers.Error()); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("commit without membership: %v", err)
	}
}
