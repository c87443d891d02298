package compact

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// cleanup.policy=compact,delete: what is left of a large part at the log's head has no records.
func TestAnEmptyHeadDoesNotHoldRetentionBack(t *testing.T) {
	const retention = 1_000_000
	w := newWorld(t, "cleanup.policy", "compact,delete", "retention.ms", fmt.Sprint(retention))
	start := w.now
	w.produce(recordbatch.None, false, row("a", "1", start))
	w.ship()
	w.produce(recordbatch.None, false, row("a", "2", start))
	w.ship()
	w.now = start + retention - 10 // just before it is too old
	if !w.compact(Config{ObjectBytes: 64}, -1) {
		t.Fatal("nothing is compacted")
	}
	w.now = start + retention + 600_000 // every record is older than retention.ms by ten minutes
	w.do(&metapb.Tick{Retention: true})
	if got := w.partition().LogStartOffset(); got != 2 {
		t.Errorf("log start %d: a record of %d ms is kept with retention.ms=%d", got, w.now-start, retention)
	}
	w.now = start + 2*retention - 20
	w.do(&metapb.Tick{Retention: true})
	if got := w.partition().LogStartOffset(); got != 2 {
		t.Errorf("log start %d: a record of %d ms is kept with retention.ms=%d", got, w.now-start, retention)
	}
}

// What comes behind a head that has no records any more, and is too old at once, is noticed: the next check of retention is due for it.
func TestWhatComesBehindAnEmptyHeadIsNoticed(t *testing.T) {
	const retention = 10_000_000
	w := newWorld(t, "cleanup.policy", "compact,delete", "retention.ms", fmt.Sprint(retention))
	w.now = 100_000_000
	w.produce(recordbatch.None, false, sent{key: []byte("a"), millis: w.now}) // a tombstone
	w.ship()
	for range 6 {
		w.compact(Config{}, -1)
		w.now += 2 * deleteRetention
	}
	w.do(&metapb.Tick{Retention: true})
	w.now += 1_000_000
	w.produce(recordbatch.None, false, row("b", "1", w.now-3*retention))
	w.now += 600_000
	due := w.state.Due(w.now)
	w.do(&metapb.Tick{Retention: true})
	if got := w.partition().LogStartOffset(); got != 2 || !due.Retention {
		t.Errorf("log start %d, and before it was due: %+v", got, due)
	}
}

// A round of compaction does not make records without times younger.
func TestCompactionMakesNothingYounger(t *testing.T) {
	const retention = 1_000_000
	w := newWorld(t, "cleanup.policy", "compact,delete", "retention.ms", fmt.Sprint(retention))
	start := w.now
	for _, key := range []string{"a", "a", "b"} {
		w.produce(recordbatch.None, false, row(key, "1", -1))
		w.ship()
	}
	w.now = start + retention - 10
	if !w.compact(Config{}, -1) {
		t.Fatal("nothing is compacted")
	}
	w.now = start + retention + 10
	w.do(&metapb.Tick{Retention: true})
	if got := w.partition().LogStartOffset(); got != 3 {
		t.Errorf("log start %d: records of %d ms are kept with retention.ms=%d", got, w.now-start, retention)
	}
}

// What was lost counts from when it was declared so, but goes with what lies behind it.
func TestAGapDoesNotHoldRetentionBack(t *testing.T) {
	const retention = 1_000_000
	w := newWorld(t, "cleanup.policy", "delete", "retention.ms", fmt.Sprint(retention), "varve.durability", "local")
	start := w.now
	disk := make([]byte, 16)
	disk[0] = 2
	node := w.do(&metapb.RegisterNode{DiskId: disk, Incarnation: []byte{2}, KafkaHost: "h", KafkaPort: 2})
	w.local(node, 1, 0, 0)                                   // 0, to be lost
	w.produce(recordbatch.None, false, row("a", "1", start)) // 1
	w.ship()
	w.now = start + retention - 10
	w.do(&metapb.SetNodeLive{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch, Live: false})
	if v := w.do(&metapb.ForgetNode{NodeId: int32(node.NodeID), NodeEpoch: node.NodeEpoch}); v.Code != meta.OK {
		t.Fatal(v)
	}
	w.now = start + 2*retention - 20
	w.do(&metapb.Tick{Retention: true})
	if got := w.partition().LogStartOffset(); got != 2 {
		t.Errorf("log start %d: a record of %d ms is kept with retention.ms=%d", got, w.now-start, retention)
	}
}
