package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// replicatedPerSecond is how many records of 1 KiB come a second, each in a request of its own.
const replicatedPerSecond = 500

// measureReplicated compares two topics of one cluster: a record of the one is on the disk of the node that took it, one of the other on
// another node's as well.
func measureReplicated(ctx context.Context, e *env) ([]Result, error) {
	_, nodes, err := e.startCluster(ctx)
	if err != nil {
		return nil, err
	}
	classes := []string{"local", "replicated"}
	frames := map[string][]frame{}
	for _, class := range classes {
		if frames[class], err = singleFrames(class, recordbatch.None); err != nil {
			return nil, err
		}
		if _, err := createTopic(ctx, nodes[0], class, 1, map[string]string{"varve.durability": class}); err != nil {
			return nil, err
		}
		if err := warmUp(ctx, nodes[0], frames[class]); err != nil {
			return nil, err
		}
	}
	const pairs = 7
	slice := pick(e, 3*time.Second, time.Second)
	var p50, p99, copied, alone []float64
	for i := range pairs {
		got := map[string]latencies{}
		for _, class := range classes {
			samples, err := producePaced(ctx, nodes[0], frames[class], replicatedPerSecond, newStamps(int(slice.Seconds()*replicatedPerSecond)))
			if err != nil {
				return nil, fmt.Errorf("produce %s: %w", class, err)
			}
			got[class] = summarise(samples)
		}
		one, two := got["local"], got["replicated"]
		p50 = append(p50, ratio(millis(two.p50), millis(one.p50)))
		p99 = append(p99, ratio(millis(two.p99), millis(one.p99)))
		alone, copied = append(alone, millis(one.p50)), append(copied, millis(two.p50))
		e.say("pair %d: replicated p50 %.3f ms, p99 %.3f ms; local p50 %.3f ms, p99 %.3f ms", i+1, millis(two.p50), millis(two.p99), millis(one.p50), millis(one.p99))
	}
	return []Result{
		required("p50 / local", median(p50), "x", atMost, 2.5, fmt.Sprintf("p50 %.3f ms, local %.3f ms, median of %d", median(copied), median(alone), pairs)),
		info("p99 / local", median(p99), "x", ""),
	}, nil
}
