package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"
)

const (
	groupsTopic      = "groups"
	manyGroups       = 1000
	membersPerGroup  = 10
	beatInterval     = 5 * time.Second
	beatsPerSecond   = manyGroups * membersPerGroup / 5 // of all together
	groupsAtOnce     = 32                               // that are set up side by side
	heartbeatsInCore = 10                               // percent
)

// The protocols of groups, as their members join and stay.
var groupProtocols = []struct {
	name  string
	join  func([]*member) error
	frame func(*member) frame
}{{"classic", joinAllClassic, (*member).heartbeatFrame}, {"KIP-848", joinAllConsumer, (*member).consumerHeartbeatFrame}}

// measureGroups has every member's heartbeats come on a connection of its own, spread evenly over the interval.
func measureGroups(ctx context.Context, e *env) ([]Result, error) {
	return e.pulses(ctx, e.startWhole)
}

// measureGroupsCluster is measureGroups where the nodes pass the heartbeats on to a coordinator.
func measureGroupsCluster(ctx context.Context, e *env) ([]Result, error) {
	return e.pulses(ctx, e.startCluster)
}

func (e *env) pulses(ctx context.Context, start func(context.Context) ([]*server, []string, error)) (results []Result, err error) {
	cpu, requests, err := bareEcho(ctx, pick(e, 5*time.Second, 2*time.Second))
	if err != nil {
		return nil, fmt.Errorf("bare echo: %w", err)
	}
	bare := 100 * ratio(cpu.Seconds(), float64(requests)) * beatsPerSecond
	results = append(results, info("CPU, bare", bare, "% of a core", fmt.Sprintf("one thread's epoll, read and write of as many small requests, computed from %d", requests)))
	for _, protocol := range groupProtocols {
		result, err := e.pulse(ctx, protocol.name, start, protocol.join, protocol.frame)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", protocol.name, err)
		}
		results = append(results, result)
	}
	return results, nil
}

const moreConnections = "--max-connections=12000"

func (e *env) startWhole(ctx context.Context) ([]*server, []string, error) {
	s, err := e.start(ctx, append([]string{moreConnections}, noShipping...)...)
	if err != nil {
		return nil, nil, err
	}
	return []*server{s}, []string{s.kafkaAddr}, nil
}

// startCluster starts a coordinator and two ingest nodes.
func (e *env) startCluster(ctx context.Context) ([]*server, []string, error) {
	prefix := filepath.Join(e.dir, fmt.Sprintf("cluster-%d-", len(e.servers)))
	flags := append([]string{"--bucket", "file://" + prefix + "bucket", moreConnections}, noShipping...)
	coordinator, err := e.startRole(ctx, "coordinator", prefix+"coordinator", flags...)
	if err != nil {
		return nil, nil, err
	}
	servers, addresses := []*server{coordinator}, []string(nil)
	for i := range 2 {
		node, err := e.startRole(ctx, "ingest", fmt.Sprintf("%singest-%d", prefix, i), append(flags, "--nats-url", "nats://"+coordinator.natsAddr)...)
		if err != nil {
			return nil, nil, err
		}
		servers, addresses = append(servers, node), append(addresses, node.kafkaAddr)
	}
	return servers, addresses, nil
}

// pulse measures the processor time of all servers together under the heartbeats of many groups.
func (e *env) pulse(ctx context.Context, name string, start func(context.Context) ([]*server, []string, error), join func([]*member) error, frameOf func(*member) frame) (_ Result, err error) {
	servers, addresses, err := start(ctx)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.kill())
		}
	}()
	if _, err := createTopic(ctx, addresses[0], groupsTopic, membersPerGroup, nil); err != nil {
		return Result{}, err
	}
	groups, interval := manyGroups, beatInterval
	if e.config.Quick { // fewer members that speak more often
		groups, interval = groups/5, interval/5
	}
	members, err := joinGroups(ctx, addresses, groups, join)
	defer func() {
		for _, m := range members {
			_ = m.close() // nothing is sent any more
		}
	}()
	if err != nil {
		return Result{}, err
	}
	e.say("%s: %d members are in", name, len(members))
	beats := newBeats(members, interval, frameOf)
	if err := beats.start(ctx); err != nil {
		return Result{}, err
	}
	defer beats.stop()
	if err := wait(ctx, beatInterval); err != nil { // what joining has left to do is not heartbeats
		return Result{}, err
	}
	before, begun, count := make([]time.Duration, len(servers)), time.Now(), beats.count()
	for i, s := range servers {
		if before[i], err = s.cpu(); err != nil {
			return Result{}, err
		}
	}
	profile := e.profile(ctx, servers[len(servers)-1])
	if err := wait(ctx, pick(e, 3*beatInterval, beatInterval)); err != nil {
		return Result{}, err
	}
	took, count := time.Since(begun), beats.count()-count
	var each []string
	total := 0.0
	for i, s := range servers {
		after, err := s.cpu()
		if err != nil {
			return Result{}, err
		}
		percent := 100 * (after - before[i]).Seconds() / took.Seconds()
		total += percent
		each = append(each, fmt.Sprintf("%s %.1f %%", s.role, percent))
	}
	beats.stop()
	if err := errors.Join(profile.finish(), beats.failed()); err != nil {
		return Result{}, err
	}
	latency := beats.latency()
	detail := fmt.Sprintf("%s; %d groups of %d, heartbeats every %v, %.0f/s, answered in p50 %.2f ms, p99 %.2f ms", strings.Join(each, ", "), groups, membersPerGroup, interval,
		float64(count)/took.Seconds(), millis(latency.p50), millis(latency.p99))
	return required("CPU, "+name, total, "% of a core", atMost, heartbeatsInCore, detail), nil
}

// joinGroups makes groups whose members are spread over the addresses.
func joinGroups(ctx context.Context, addresses []string, groups int, join func([]*member) error) ([]*member, error) {
	members := make([]*member, 0, groups*membersPerGroup)
	for g := range groups {
		for i := range membersPerGroup {
			m, err := newMember(ctx, addresses[(g+i)%len(addresses)], fmt.Sprintf("group-%d", g), groupsTopic, i)
			if err != nil {
				return members, err
			}
			members = append(members, m)
		}
	}
	joining, ctx := errgroup.WithContext(ctx)
	joining.SetLimit(groupsAtOnce)
	for g := range groups {
		joining.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return join(members[g*membersPerGroup : (g+1)*membersPerGroup])
		})
	}
	return members, joining.Wait()
}

func joinAllClassic(members []*member) error {
	var together errgroup.Group
	for _, m := range members {
		together.Go(func() error { return m.joinClassic(membersPerGroup) })
	}
	return together.Wait()
}

// joinAllConsumer returns when every member has heard of what it is to own in the group's last epoch.
func joinAllConsumer(members []*member) error {
	for _, m := range members {
		if err := m.joinConsumer(); err != nil {
			return err
		}
	}
	for settled := false; !settled; {
		settled = true
		for _, m := range members {
			epoch := m.epoch
			news, err := m.beatConsumer(m.report())
			if err != nil {
				return err
			}
			settled = settled && !news && m.epoch == epoch
		}
	}
	return nil
}

// beats sends the heartbeats of many members.
type beats struct {
	members  []*member
	frames   []frame
	interval time.Duration
	tasks    sync.WaitGroup
	cancel   context.CancelFunc
	mu       struct {
		sync.Mutex
		took   []time.Duration
		failed error
	}
}

func newBeats(members []*member, interval time.Duration, frameOf func(*member) frame) *beats {
	b := &beats{members: members, interval: interval, cancel: func() {}}
	for _, m := range members {
		b.frames = append(b.frames, frameOf(m))
	}
	return b
}

func (b *beats) start(ctx context.Context) error {
	ctx, b.cancel = context.WithCancel(ctx)
	for i, m := range b.members {
		if err := m.net.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("start heartbeats: %w", err)
		}
		phase := b.interval * time.Duration(i) / time.Duration(len(b.members))
		b.tasks.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = m.close() })()
			err := wait(ctx, phase)
			ticks := time.NewTicker(b.interval)
			defer ticks.Stop()
			for err == nil {
				if err = b.beat(m, b.frames[i]); err != nil {
					break
				}
				select {
				case <-ticks.C:
				case <-ctx.Done():
					return
				}
			}
			if ctx.Err() == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.mu.failed = err
			}
		})
	}
	return nil
}

// beat sends one heartbeat. Both protocols' answers begin with the throttle time and the error.
func (b *beats) beat(m *member, f frame) error {
	begun := time.Now()
	m.nextID++
	f.setCorrelationID(m.nextID)
	if _, err := m.net.Write(f); err != nil {
		return fmt.Errorf("send heartbeat: %w", err)
	}
	answer, err := m.receive()
	if err != nil {
		return err
	}
	took := time.Since(begun)
	body, err := answerBody(answer, m.nextID, true)
	switch {
	case err != nil:
		return err
	case len(body) < 6:
		return errShortAnswer
	}
	if err := kerr.ErrorForCode(int16(binary.BigEndian.Uint16(body[4:]))); err != nil {
		return fmt.Errorf("heartbeat to %s: %w", m.group, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.took = append(b.mu.took, took)
	return nil
}

func (b *beats) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mu.took)
}

func (b *beats) latency() latencies {
	b.mu.Lock()
	defer b.mu.Unlock()
	return summarise(b.mu.took)
}

func (b *beats) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.failed
}

// stop ends the heartbeats and returns when none is sent any more.
func (b *beats) stop() {
	b.cancel()
	b.tasks.Wait()
}
