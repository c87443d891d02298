package lane_test

import (
	"context"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
)

// BenchmarkAppend measures what the lanes cost: requests of one batch each, over an instant coordinator.
func BenchmarkAppend(b *testing.B) {
	for _, bench := range []struct {
		name       string
		partitions int32
		valueBytes int
		inFlight   int
	}{
		{"1KiB/one-in-flight", 1, 1 << 10, 1},
		{"1KiB/64-in-flight", 12, 1 << 10, 64},
		{"1KiB/1024-in-flight/10000-partitions", 10_000, 1 << 10, 1024},
		{"128KiB/16-in-flight", 12, 128 << 10, 16},
	} {
		b.Run(bench.name, func(b *testing.B) { benchmarkAppend(b, bench.partitions, bench.valueBytes, bench.inFlight) })
	}
}

func benchmarkAppend(b *testing.B, partitions int32, valueBytes, inFlight int) {
	cluster := lanetest.NewCluster()
	log, _, err := hotlog.Open(vfs.OS{}, b.TempDir(), hotlog.Config{})
	if err != nil {
		b.Fatal(err)
	}
	set, err := lane.New(lane.Config{}, lane.Dependencies{Log: log, Replica: forgetful{cluster}, Epochs: cluster})
	if err != nil {
		b.Fatal(err)
	}
	topic := cluster.CreateTopic(b, "bench", "local", partitions)
	data, header := lanetest.RecordBatch(b, nil, 1000, string(make([]byte, valueBytes)))
	batches := []lane.Batch{{Topic: topic, Durability: metapb.Durability_DURABILITY_LOCAL, Header: header, Data: data}}
	pendings := make(chan *lane.Pending, inFlight)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for p := range pendings {
			if r := p.Wait(context.Background(), time.Minute); r[0].Failure != lane.NoFailure {
				b.Errorf("%+v", r[0])
			}
			p.Free()
		}
	}()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		batches[0].Partition = int32(i) % partitions
		p, err := set.Append(context.Background(), lane.Request{Batches: batches})
		if err != nil {
			b.Fatal(err)
		}
		if inFlight == 1 {
			p.Wait(context.Background(), time.Minute)
			p.Free()
			continue
		}
		pendings <- p
	}
	close(pendings)
	<-answered
	b.StopTimer()
	if err := set.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	if err := log.Close(); err != nil {
		b.Fatal(err)
	}
}

// forgetful keeps the cluster's own record of commands from growing.
type forgetful struct{ *lanetest.Cluster }

func (f forgetful) SubmitChunks(ctx context.Context, commands []*metapb.Command) error {
	defer f.Forget()
	return f.Cluster.SubmitChunks(ctx, commands)
}
