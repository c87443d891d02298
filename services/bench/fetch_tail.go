package bench

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// fetchConnections is how many consumers share the partitions.
const fetchConnections = 3

// measureFetchTail writes for a while and then reads it all, several times over, while it is in the page cache. That counts only
// what fetching costs. What it costs to follow the tail while it moves is told as well: the cost of both together without
// that of producing alone.
func measureFetchTail(ctx context.Context, e *env) ([]Result, error) {
	s, l, err := startLarge(ctx, e)
	if err != nil {
		return nil, err
	}
	produced, err := costOf(ctx, s, func() (moved, error) { return l.run(ctx, s.kafkaAddr, pick(e, int64(384<<20), 192<<20)) })
	if err != nil {
		return nil, err
	}
	profile := e.profile(ctx, s)
	var fetched cost
	for i := range pick(e, 5, 3) {
		c, err := costOf(ctx, s, func() (moved, error) { return drain(ctx, s.kafkaAddr, largeTopic, largePartitions, fetchConnections) })
		if err != nil {
			return nil, err
		}
		fetched.add(c)
		e.say("read %d: %.2f CPU s/GB, %.0f MB/s", i+1, secondsPerGB(c.cpu, c.bytes), c.bytesPerSecond()/1e6)
	}
	if err := profile.finish(); err != nil {
		return nil, err
	}
	perRequest := ratio(float64(fetched.bytes), float64(fetched.requests)) / (1 << 20)
	results := []Result{
		required("server CPU", secondsPerGB(fetched.cpu, fetched.bytes), "s/GB", atMost, 0.7, fmt.Sprintf("%.2f GB, %.1f MiB an answer", float64(fetched.bytes)/bytesPerGB, perRequest)),
		info("throughput", fetched.bytesPerSecond()/1e6, "MB/s", ""),
		info("allocations per request", ratio(fetched.mallocs, float64(fetched.requests)), "", ""),
	}
	following, err := followTail(ctx, e, s, produced)
	return append(results, following...), err
}

// followTail has consumers follow the tail of another topic while a producer replays.
func followTail(ctx context.Context, e *env, s *server, alone cost) ([]Result, error) {
	l, err := largeLoad(followedTopic)
	if err != nil {
		return nil, err
	}
	if _, err := createTopic(ctx, s.kafkaAddr, followedTopic, largePartitions, nil); err != nil {
		return nil, err
	}
	var fetched moved
	both, err := costOf(ctx, s, func() (produced moved, err error) {
		stop := make(chan struct{})
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			fetched, err = follow(ctx, s.kafkaAddr, followedTopic, largePartitions, fetchConnections, stop)
			return err
		})
		group.Go(func() (err error) {
			defer close(stop)
			produced, err = l.run(ctx, s.kafkaAddr, pick(e, int64(256<<20), 128<<20))
			return err
		})
		err = group.Wait()
		return produced, err
	})
	if err != nil {
		return nil, err
	}
	producing := secondsPerGB(alone.cpu, alone.bytes) * float64(both.bytes) / bytesPerGB
	fetching := ratio(max(both.cpu.Seconds()-producing, 0)*bytesPerGB, float64(fetched.bytes))
	return []Result{info("server CPU while it is written", fetching, "s/GB",
		fmt.Sprintf("%.2f GB at the moving tail; with producing %.2f CPU s, producing alone %.2f", float64(fetched.bytes)/bytesPerGB, both.cpu.Seconds(), producing))}, nil
}
