package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	rebalanceTopic      = "rebalance"
	rebalanceMembers    = 100
	rebalancePartitions = 1000
	// The intervals are the clients' and the server's defaults.
	classicInterval  = 3 * time.Second
	consumerInterval = 5 * time.Second
)

// measureRebalance has members leave at moments that are spread over the heartbeats' interval, one after another, and takes the longest
// time until those who remain have all partitions, in one generation or epoch.
func measureRebalance(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, rebalanceTopic, rebalancePartitions, nil); err != nil {
		return nil, s.explain(err)
	}
	leaves := pick(e, 5, 2)
	classic, err := rebalances(ctx, s.kafkaAddr, "classic", leaves, classicInterval, (*crowd).runClassic, (*member).leaveClassic)
	if err != nil {
		return nil, s.explain(err)
	}
	consumer, err := rebalances(ctx, s.kafkaAddr, "consumer", leaves, consumerInterval, (*crowd).runConsumer, func(m *member) error {
		_, err := m.beatConsumer(m.consumerHeartbeat(-1))
		return err
	})
	if err != nil {
		return nil, s.explain(err)
	}
	detail := func(took []time.Duration, interval time.Duration) string {
		return fmt.Sprintf("longest of %d, median %.2f s; heartbeats every %v; %d members, %d partitions",
			len(took), percentile(slices.Clone(took), 0.5).Seconds(), interval, rebalanceMembers, rebalancePartitions)
	}
	return []Result{
		required("classic, after a leave", slices.Max(classic).Seconds(), "s", atMost, 3, detail(classic, classicInterval)),
		required("KIP-848, after a leave", slices.Max(consumer).Seconds(), "s", atMost, 2*consumerInterval.Seconds(), detail(consumer, consumerInterval)),
	}, nil
}

// crowd is the members of one group, and what they own together.
type crowd struct {
	interval time.Duration
	mu       struct {
		sync.Mutex
		epochs map[*member]int32
		counts map[*member]int
	}
	changed chan struct{} // has a token when something has changed
}

// note is called by a member whose epoch or assignment is another.
func (c *crowd) note(m *member) {
	c.mu.Lock()
	c.mu.epochs[m], c.mu.counts[m] = m.epoch, m.count
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *crowd) drop(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.epochs, m)
	delete(c.mu.counts, m)
}

// settled tells whether all members are at one epoch above after and own all partitions.
func (c *crowd) settled(members int, after int32) (epoch int32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total, first := 0, true
	for m, e := range c.mu.epochs {
		if !first && e != epoch {
			return 0, false
		}
		epoch, first = e, false
		total += c.mu.counts[m]
	}
	return epoch, len(c.mu.epochs) == members && epoch > after && total == rebalancePartitions
}

func (c *crowd) awaitSettled(ctx context.Context, members int, after int32) (int32, error) {
	for {
		if epoch, ok := c.settled(members, after); ok {
			return epoch, nil
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return 0, fmt.Errorf("%d members have not settled: %w", members, context.Cause(ctx))
		}
	}
}

// rebalances returns how long the others took after each of the leaves.
func rebalances(ctx context.Context, addr, group string, leaves int, interval time.Duration, run func(*crowd, context.Context, *member) error, leave func(*member) error) (took []time.Duration, err error) {
	running, stop := context.WithCancel(ctx)
	tasks, running := errgroup.WithContext(running)
	quits := make([]context.CancelFunc, rebalanceMembers)
	defer func() {
		stop() // before anybody quits: none leaves any more
		if stopped := tasks.Wait(); err == nil && !errors.Is(stopped, context.Canceled) {
			err = stopped
		}
		for _, quit := range quits {
			if quit != nil {
				quit()
			}
		}
	}()
	c := &crowd{interval: interval, changed: make(chan struct{}, 1)}
	c.mu.epochs, c.mu.counts = map[*member]int32{}, map[*member]int{}
	for i := range rebalanceMembers {
		m, err := newMember(ctx, addr, group, rebalanceTopic, i)
		if err != nil {
			return nil, err
		}
		var present context.Context
		present, quits[i] = context.WithCancel(running)
		tasks.Go(func() error {
			defer m.close()
			defer context.AfterFunc(running, func() { _ = m.close() })() // what it waits for ends with the figure
			err := run(c, present, m)
			if running.Err() == nil && present.Err() != nil {
				return leave(m)
			}
			if running.Err() != nil {
				return nil
			}
			return err
		})
	}
	epoch, err := c.awaitSettled(running, rebalanceMembers, 0)
	if err != nil {
		return nil, err
	}
	for i := range leaves {
		phase := interval * time.Duration(2*i+1) / time.Duration(2*leaves)
		if err := wait(running, phase); err != nil {
			return nil, err
		}
		begun := time.Now()
		quits[i]()
		if epoch, err = c.awaitSettled(running, rebalanceMembers-1-i, epoch); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}

// runClassic is a member of the classic protocol, until ctx ends.
func (c *crowd) runClassic(ctx context.Context, m *member) error {
	defer c.drop(m)
	for {
		if err := m.joinClassic(rebalancePartitions); err != nil {
			return err
		}
		c.note(m)
		for rejoin := false; !rejoin; {
			err := wait(ctx, c.interval)
			if err == nil {
				rejoin, err = m.beatClassic()
			}
			if err != nil {
				return err
			}
		}
	}
}

// runConsumer is a member of the consumer protocol, until ctx ends: what it is given it reports at once, as clients do.
func (c *crowd) runConsumer(ctx context.Context, m *member) error {
	defer c.drop(m)
	if err := m.joinConsumer(); err != nil {
		return err
	}
	request := m.report()
	for {
		c.note(m)
		news, err := m.beatConsumer(request)
		if err != nil {
			return err
		}
		c.note(m)
		if news {
			request = m.report()
			continue
		}
		if err := wait(ctx, c.interval); err != nil {
			return err
		}
		request = m.consumerHeartbeat(m.epoch)
	}
}
