package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/ingest/recordbatch"
)

const (
	rawTopic      = "raw"
	besideTopic   = "beside"
	rawBatchBytes = 256 << 10
	rawFrames     = 8 // per connection
	rawWindow     = 4
	// besidePerSecond is slow enough for the compressed batches to be no load of their own.
	besidePerSecond = 200
)

// rawLoad is Produce requests of one uncompressed batch each, and the bytes that are to be compressed in them.
func rawLoad() (load, [][]byte, error) {
	content := newContent(4)
	l := load{window: rawWindow}
	var payloads [][]byte
	for connection := range largeConnections {
		var frames []frame
		for i := range rawFrames {
			batch, err := content.batch(recordbatch.None, rawBatchBytes)
			if err != nil {
				return load{}, nil, err
			}
			partition := int32((connection + i*largeConnections) % largePartitions)
			frames = append(frames, produceFrame(rawTopic, partitionBatch{partition, batch}))
			payloads = append(payloads, batch[recordbatch.HeaderBytes:])
		}
		l.perConnection = append(l.perConnection, frames)
	}
	return l, payloads, nil
}

func measureZstd(ctx context.Context, e *env) ([]Result, error) {
	l, payloads, err := rawLoad()
	if err != nil {
		return nil, err
	}
	s, err := e.start(ctx, noShipping...)
	if err != nil {
		return nil, err
	}
	for _, topic := range []string{rawTopic, besideTopic} {
		if _, err := createTopic(ctx, s.kafkaAddr, topic, largePartitions, nil); err != nil {
			return nil, err
		}
	}
	if _, err := l.run(ctx, s.kafkaAddr, 32<<20); err != nil { // warms up
		return nil, s.explain(err)
	}
	profile := e.profile(ctx, s)
	results, err := compareEncoding(ctx, e, s, l, payloads)
	if err != nil {
		return nil, err
	}
	if err := profile.finish(); err != nil {
		return nil, err
	}
	beside, err := measureBeside(ctx, e, s, l, payloads)
	return append(results, beside...), err
}

// compareEncoding alternates between producing uncompressed batches and the encoder alone over the same bytes on all cores: at its default level,
// which is the server's too, and at its fastest, which the server takes while it does not keep up, as here.
func compareEncoding(ctx context.Context, e *env, s *server, l load, payloads [][]byte) ([]Result, error) {
	sliceBytes, pairs := pick(e, int64(512<<20), 256<<20), pick(e, 5, 3)
	cores := runtime.GOMAXPROCS(0)
	var total cost
	var bareTotal, fastestTotal moved
	var ratios, fastestRatios []float64
	for i := range pairs {
		bare, err := bareEncode(ctx, zstd.SpeedDefault, payloads, cores, sliceBytes, nil)
		if err != nil {
			return nil, fmt.Errorf("bare encoder: %w", err)
		}
		c, err := costOf(ctx, s, func() (moved, error) { return l.run(ctx, s.kafkaAddr, sliceBytes) })
		if err != nil {
			return nil, err
		}
		fastest, err := bareEncode(ctx, zstd.SpeedFastest, payloads, cores, sliceBytes, nil)
		if err != nil {
			return nil, fmt.Errorf("bare encoder: %w", err)
		}
		bareTotal.add(bare)
		fastestTotal.add(fastest)
		total.add(c)
		ratios = append(ratios, ratio(c.bytesPerSecond(), bare.bytesPerSecond()))
		fastestRatios = append(fastestRatios, ratio(c.bytesPerSecond(), fastest.bytesPerSecond()))
		e.say("round %d: server %.0f MB/s, %.2f CPU s/GB; encoder %.0f MB/s, at its fastest %.0f", i+1, c.bytesPerSecond()/1e6, secondsPerGB(c.cpu, c.bytes),
			bare.bytesPerSecond()/1e6, fastest.bytesPerSecond()/1e6)
	}
	return []Result{
		required("throughput / encoder alone", median(ratios), "x", atLeast, 0.8, fmt.Sprintf("%.0f MB/s against %.0f MB/s on %d cores, median of %d", total.bytesPerSecond()/1e6, bareTotal.bytesPerSecond()/1e6, cores, pairs)),
		info("throughput / encoder alone at its fastest", median(fastestRatios), "x", fmt.Sprintf("%.0f MB/s", fastestTotal.bytesPerSecond()/1e6)),
		info("server CPU", secondsPerGB(total.cpu, total.bytes), "s/GB", fmt.Sprintf("encoder alone %.2f s/GB on %d cores; sending takes another %.2f s/GB of them", ratio(float64(cores)*bytesPerGB, bareTotal.bytesPerSecond()), cores, secondsPerGB(total.loadCPU, total.bytes))),
		info("allocations per request", ratio(total.mallocs, float64(total.requests)), "", ""),
	}, nil
}

// measureBeside measures small batches that come compressed in three surroundings: alone, with the server compressing others on
// all cores, and with another process (this one) doing the same work. What the last two share is the machine's doing; only
// what the second adds is the server's.
func measureBeside(ctx context.Context, e *env, s *server, l load, payloads [][]byte) ([]Result, error) {
	frames, err := singleFrames(besideTopic, recordbatch.Zstd)
	if err != nil {
		return nil, err
	}
	cores := runtime.GOMAXPROCS(0)
	surroundings := []struct {
		name string
		load func(ctx context.Context, stop <-chan struct{}) error // nil: alone
	}{
		{"alone", nil},
		{"server compresses", func(ctx context.Context, stop <-chan struct{}) error {
			_, err := l.runUntil(ctx, s.kafkaAddr, stop)
			return err
		}},
		{"another process compresses", func(ctx context.Context, stop <-chan struct{}) error {
			_, err := bareEncode(ctx, zstd.SpeedDefault, payloads, cores, maxBytes, stop)
			return err
		}},
	}
	const rounds = 3
	p50, p99 := make([][]float64, len(surroundings)), make([][]float64, len(surroundings))
	count := int(pick(e, 3*time.Second, 1500*time.Millisecond).Seconds() * besidePerSecond)
	for range rounds {
		for i, around := range surroundings {
			samples, err := besideLoad(ctx, around.load, func(ctx context.Context) ([]time.Duration, error) {
				return producePaced(ctx, s.kafkaAddr, frames, besidePerSecond, newStamps(count))
			})
			if err != nil {
				return nil, s.explain(fmt.Errorf("%s: %w", around.name, err))
			}
			l := summarise(samples)
			p50[i], p99[i] = append(p50[i], millis(l.p50)), append(p99[i], millis(l.p99))
			e.say("compressed batches, %s: p50 %.3f ms, p99 %.3f ms", around.name, millis(l.p50), millis(l.p99))
		}
	}
	var results []Result
	for _, q := range []struct {
		name   string
		values [][]float64
	}{{"p50", p50}, {"p99", p99}} {
		alone, inside, outside := median(q.values[0]), median(q.values[1]), median(q.values[2])
		results = append(results,
			info("compressed batches' "+q.name+" / alone", ratio(inside, alone), "x",
				fmt.Sprintf("%.2f ms, alone %.2f ms; %.1fx where another process compresses", inside, alone, ratio(outside, alone))))
	}
	return results, nil
}

const maxBytes = 1 << 62

// besideLoad runs measure while load runs, if there is one.
func besideLoad(ctx context.Context, load func(context.Context, <-chan struct{}) error, measure func(context.Context) ([]time.Duration, error)) (samples []time.Duration, err error) {
	if load == nil {
		return measure(ctx)
	}
	stop := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return load(ctx, stop) })
	group.Go(func() error {
		defer close(stop)
		samples, err = measure(ctx)
		return err
	})
	if waited := group.Wait(); waited != nil {
		return nil, waited
	}
	return samples, nil
}
