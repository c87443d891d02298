package fetch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/hotlog"
)

// distantDisk is a node's hot log as other nodes read it over a network of a throughput.
type distantDisk struct {
	log     *hotlog.Log
	perByte time.Duration
}

// ReadHot implements fetch.Peer.
func (d *distantDisk) ReadHot(ctx context.Context, _ string, _ [16]byte, segment uint64, position uint32, buf []byte) (int, error) {
	began := time.Now()
	timer := time.NewTimer(time.Duration(len(buf)) * d.perByte)
	defer timer.Stop()
	select {
	case <-timer.C:
		return len(buf), d.log.ReadAt(segment, position, buf)
	case <-ctx.Done():
		n := int(time.Since(began) / d.perByte)
		if err := d.log.ReadAt(segment, position, buf[:n]); err != nil {
			return 0, err
		}
		return n, ctx.Err()
	}
}

// What another node has must come, however slow the way, if a batch fits into the time. All that a request had brought was dropped where it had
// not brought the whole of a run, and the next one began where it had begun.
func TestALargeRunElsewhereComesOverASlowNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fetch.Config{})
		tp := partition(w.cluster.CreateTopic(t, "a", "local", 1), 0)
		values := w.produceEach(tp, 16, 65000)
		disk := &distantDisk{w.log, time.Second / (2 << 20)} // a batch takes 31 ms, and the run half a second
		w.reader = w.newReader(fetch.Config{}, [16]byte{0xff}, disk)
		var got []string
		for at := int64(0); len(got) < len(values); {
			r := w.reader.Read(t.Context(), &fetch.Request{
				Partitions: []fetch.PartitionRead{{TopicPartition: tp, Offset: at, MaxBytes: 1 << 20, LeaderEpoch: -1}},
				MinBytes:   1, MaxBytes: 50 << 20, MaxWait: 300 * time.Millisecond,
			})
			some, next := records(t, &r.Partitions[0], at)
			code := r.Partitions[0].Code
			r.Release()
			if len(some) == 0 || code != fetch.OK {
				t.Fatalf("%d values at offset %d in 300 ms: %v", len(some), at, code)
			}
			got, at = append(got, some...), next
		}
		w.expect(got, values)
	})
}
