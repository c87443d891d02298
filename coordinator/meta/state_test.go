package meta

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

func entryOf(epoch uint64, millis int64, commands ...*metapb.Command) *metapb.Entry {
	return &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: epoch, TimeMillis: millis, Commands: commands}
}

func TestAnEntryOfASucceededLeaderIsVoid(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.lead(2)
	before := l.s.TimeMillis()
	l.epoch, l.now = 1, l.now+5000
	if v := l.topic("t", 1); v.Code != StaleLeader {
		t.Errorf("a command of leader 1 under leader 2: %s", v.Code)
	}
	if l.s.TopicByName("t") != nil || l.s.VoidEntries() != 1 || l.s.TimeMillis() != before {
		t.Error("a void entry changed the state")
	}
	l.epoch = 2
	for _, epoch := range []uint64{1, 2} {
		l.entry(command(&metapb.LeaderStart{Epoch: epoch}))
		if l.s.LeaderEpoch() != 2 {
			t.Errorf("leader %d started behind leader 2", epoch)
		}
	}
	l.epoch = 3
	if v := l.topic("t", 1); v.Code != StaleLeader {
		t.Errorf("a command of a leader that has not started: %s", v.Code)
	}
	l.epoch = 2
	if v := l.topic("t", 1); v.Code != OK {
		t.Errorf("a command of the leader: %s", v.Code)
	}
}

func TestALeaderStartsOnlyAtTheHeadOfAnEntry(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	start := command(&metapb.LeaderStart{Epoch: 2})
	start.Id = []byte("start")
	if v := l.entry(command(&metapb.Noop{}), start); v.Code != Malformed || l.s.LeaderEpoch() != 1 {
		t.Errorf("verdict %s, leader epoch %d", v.Code, l.s.LeaderEpoch())
	}
}

func TestEntriesThisBuildCannotFollow(t *testing.T) {
	for _, test := range []struct {
		name string
		seq  uint64
		edit func(*metapb.Entry)
		want error
	}{
		{"gap", 3, func(*metapb.Entry) {}, ErrSequence},
		{"again", 1, func(*metapb.Entry) {}, ErrSequence},
		{"another log", 2, func(e *metapb.Entry) { e.LogId = make([]byte, 16) }, ErrForeignLog},
		{"another format", 2, func(e *metapb.Entry) { e.Format = 9 }, ErrFormat},
		{"a later feature level", 2, func(e *metapb.Entry) {
			e.Commands = []*metapb.Command{command(&metapb.RaiseFeatureLevel{Level: FeatureLevel + 1})}
		}, ErrFeatureLevel},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newTestLog(t)
			l.lead(1)
			before := l.s.Hash()
			e := entryOf(1, 2_000_000)
			test.edit(e)
			if err := l.s.Apply(test.seq, e, nil); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if l.s.Hash() != before {
				t.Error("the state changed")
			}
		})
	}
}

func TestStateTimeNeverGoesBack(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	at := l.s.TimeMillis()
	l.now = at - 500
	l.do(&metapb.Noop{})
	if l.s.TimeMillis() != at {
		t.Errorf("state time went from %d to %d", at, l.s.TimeMillis())
	}
}

func TestEntryEncoding(t *testing.T) {
	e := entryOf(7, 123, command(&metapb.Noop{}))
	e.PreviousHash = HashEntry([]byte("before"))
	b, err := EncodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeEntry(b)
	if err != nil || !proto.Equal(e, again) {
		t.Fatalf("%v, %v", again, err)
	}
	if err := VerifyEntry(HashEntry([]byte("before")), testLogID, again); err != nil {
		t.Error(err)
	}
	if err := VerifyEntry(HashEntry([]byte("other")), testLogID, again); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another predecessor: %v", err)
	}
	if err := VerifyEntry(e.PreviousHash, [16]byte{1}, again); !errors.Is(err, ErrForeignLog) {
		t.Errorf("another log: %v", err)
	}
	for i := range len(b) * 8 {
		bad := slices.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := DecodeEntry(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range b {
		if _, err := DecodeEntry(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
}

func TestFrames(t *testing.T) {
	big := func(name string) *metapb.Command {
		id := topicID(name)
		c := command(&metapb.CreateTopic{Name: name, TopicId: id[:], Partitions: 3})
		c.Id = []byte("id of " + name)
		return c
	}
	split := func(c *metapb.Command) []*metapb.Command {
		out, err := Split(c, 10)
		if err != nil || len(out) < 3 {
			t.Fatalf("%d frames, %v", len(out), err)
		}
		return out
	}
	t.Run("one behind the other, over entries", func(t *testing.T) {
		l := newTestLog(t)
		l.lead(1)
		for _, f := range split(big("t")) {
			l.s = l.s.reread(t) // what is pending is in the snapshot
			l.entry(f)
		}
		if l.s.TopicByName("t") == nil || l.verdict.Code != OK {
			t.Errorf("not applied: %s", l.verdict.Code)
		}
	})
	t.Run("void after a new leader", func(t *testing.T) {
		l := newTestLog(t)
		l.lead(1)
		frames := split(big("t"))
		l.entry(frames[:2]...)
		l.lead(2)
		l.entry(frames[2:]...)
		if l.s.TopicByName("t") != nil || l.verdict.Code != Incomplete {
			t.Errorf("verdict %s", l.verdict.Code)
		}
		l.entry(frames...)
		if l.s.TopicByName("t") == nil {
			t.Error("not applied when it came whole")
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		l := newTestLog(t)
		l.lead(1)
		frames := split(big("t"))
		l.entry(append(append(frames[:1:1], big("u")), frames[1:]...)...)
		if l.s.TopicByName("t") != nil || l.s.TopicByName("u") == nil {
			t.Error("a command between frames")
		}
	})
	t.Run("small commands are left alone", func(t *testing.T) {
		c := big("t")
		if out, err := Split(c, 0); err != nil || len(out) != 1 || out[0] != c {
			t.Errorf("%v, %v", out, err)
		}
		c.Id = nil
		if _, err := Split(c, 10); err == nil {
			t.Error("a command without an id was cut")
		}
	})
}

// storyLog has a bit of everything in it.
func storyLog(t failer) *testLog {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.register("B")
	for i := range 5 {
		l.topic(fmt.Sprint("t", i), 100, &metapb.ConfigEntry{Name: "local.retention.ms", Value: "1000"})
	}
	l.topic("big", 600)
	l.do(&metapb.AlterConfig{Resource: metapb.AlterConfig_BROKER, Entries: []*metapb.ConfigEntry{{Name: "num.partitions", Value: "4"}}})
	tp := func(name string, p int32) TopicPartition { return TopicPartition{topicID(name), p} }
	l.do(commitOf(1, 1, 0, 1, 1, 0, batchOf(tp("t1", 4), "5@1000000"), batchOf(tp("t1", 4), "5/p3s0"), batchOf(tp("big", 599), "7")))
	l.do(commitOf(2, 1, 0, 1, 1, 0, batchOf(tp("t1", 4), "5@1000000")))
	l.do(commitOf(1, 1, 1, 1, 0, 0, batchOf(tp("t2", 0), "9@1000000")))
	l.do(&metapb.SealContainer{NodeId: 1, NodeEpoch: 1, Segment: 1})
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000, MaxContainers: 1, Worker: "w"}).JobID
	t1 := topicID("t1")
	l.do(&metapb.FinishJob{JobId: uint64(job), Objects: []*metapb.SegmentObject{{
		JobId: uint64(job), SizeBytes: 77,
		Parts: []*metapb.Part{{TopicId: t1[:], Partition: 4, BaseOffset: 0, NextOffset: 10, Length: 30, MaxTimestamp: 1_000_000}},
	}}})
	l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"})
	l.do(&metapb.CommitOffsets{Group: "g", Offsets: []*metapb.CommittedOffset{{TopicId: t1[:], Partition: 4, Offset: 3, Metadata: "m"}}})
	l.do(&metapb.StoreGroup{Group: "h", Kind: "classic", Members: []*metapb.GroupMember{{MemberId: "m"}}})
	l.do(&metapb.SealContainer{NodeId: 2, NodeEpoch: 1, Segment: 9})
	l.entry(&metapb.Command{Id: []byte("x"), PartCount: 2, Part: []byte("half")})
	return l
}

func TestManifestLeadsBackToTheState(t *testing.T) {
	l := storyLog(t)
	if err := l.s.invariants(); err != nil {
		t.Fatal(err)
	}
	parts := map[[32]byte][]byte{}
	m, err := l.s.Snapshot(HashEntry([]byte("entry")), func(hash [32]byte, part []byte) error { parts[hash] = part; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if want := l.s.Hash(); string(m.StateHash) != string(want[:]) {
		t.Error("the manifest's state hash is not the state's")
	}
	b, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = DecodeManifest(b); err != nil {
		t.Fatal(err)
	}
	fetch := func(hash [32]byte) ([]byte, error) { return parts[hash], nil }
	s, err := Restore(m, fetch)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.invariants(); err != nil {
		t.Fatal(err)
	}
	if s.Hash() != l.s.Hash() {
		t.Error("another state came back")
	}
	var was, is strings.Builder
	if err := errors.Join(l.s.Dump(&was, true), s.Dump(&is, true)); err != nil {
		t.Fatal(err)
	}
	if was.String() != is.String() {
		t.Error(firstDifference(was.String(), is.String()))
	}
	t.Run("a damaged part is refused", func(t *testing.T) {
		if _, err := Restore(m, func(hash [32]byte) ([]byte, error) {
			part := slices.Clone(parts[hash])
			part[len(part)-1] ^= 1
			return part, nil
		}); !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	})
	t.Run("a part that cannot be had is told", func(t *testing.T) {
		gone := errors.New("gone")
		if _, err := Restore(m, func([32]byte) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
			t.Error(err)
		}
	})
	t.Run("missing parts are refused", func(t *testing.T) {
		for i := range m.Parts {
			cut := proto.CloneOf(m)
			cut.Parts = slices.Delete(cut.Parts, i, i+1)
			if _, err := Restore(cut, fetch); !errors.Is(err, ErrCorrupt) {
				t.Errorf("without part %d: %v", i, err)
			}
		}
	})
}

func TestLookUpByTime(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1)
	tp := TopicPartition{topicID("t"), 0}
	if _, ok := l.s.MaxTimestamp(tp, 0); ok {
		t.Error("a timestamp in an empty partition")
	}
	for i, at := range []string{"10@100", "10@500", "10@300", "10@900", "10@700"} {
		l.do(commitOf(1, 1, 0, uint64(i+1), uint64(i+1), 0, batchOf(tp, at)))
	}
	// The second run is shipped: look-ups go over both lists.
	l.do(&metapb.SealContainer{NodeId: 1, NodeEpoch: 1, Segment: 2})
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000}).JobID
	l.do(&metapb.FinishJob{JobId: uint64(job), Objects: []*metapb.SegmentObject{{JobId: uint64(job), Parts: []*metapb.Part{
		{TopicId: tp.Topic[:], BaseOffset: 10, NextOffset: 20, MaxTimestamp: 500, MaxTimestampOffset: 13, Length: 1},
	}}}})
	for _, test := range []struct{ millis, from, want int64 }{
		{0, 0, 0}, {100, 0, 0}, {101, 0, 10}, {500, 0, 10}, {501, 0, 30}, {900, 0, 30}, {901, 0, -1}, {100, 20, 20}, {600, 40, 40}, {100, 50, -1},
	} {
		got := int64(-1)
		if location, ok := l.s.OffsetForTime(tp, test.millis, test.from); ok {
			got = location.BaseOffset
		}
		if got != test.want {
			t.Errorf("time %d from %d: extent at %d, want %d", test.millis, test.from, got, test.want)
		}
	}
	if location, ok := l.s.MaxTimestamp(tp, 0); !ok || location.BaseOffset != 30 {
		t.Errorf("greatest timestamp in %+v", location)
	}
	p := l.s.Partition(tp)
	if p.EarliestLocalOffset() != 0 || p.LatestTieredOffset() != -1 {
		t.Errorf("earliest local %d, latest tiered %d", p.EarliestLocalOffset(), p.LatestTieredOffset())
	}
}

func TestReferenced(t *testing.T) {
	l := storyLog(t)
	for _, test := range []struct {
		key  string
		want bool
	}{
		{ChunkKey(1, 1, 1, 1), true},          // has runs
		{ChunkKey(1, 1, 1, 2), true},          // may be committed next
		{ChunkKey(1, 2, 1, 1), true},          // of an epoch this state has not seen yet
		{ChunkKey(9, 1, 1, 1), true},          // of a node this state has not seen yet
		{ChunkKey(1, 0, 1, 9), false},         // of a fenced epoch
		{ChunkID{1, 1, 1, 1, 1}.Key(), false}, // a hedge that lost
		{ChunkID{1, 1, 1, 2, 1}.Key(), true},  // a hedge that may win
		{SegmentKey(1, 0), true},
		{SegmentKey(1, 1), false}, // of a job that has ended
		{SegmentKey(2, 5), true},  // of a job under lease
		{SegmentKey(99, 0), true}, // of a job this state has not seen yet
		{"segment/00/1-1", true},  // not a key of ours
		{"meta/snapshot/1", true},
	} {
		if got := l.s.Referenced(test.key); got != test.want {
			t.Errorf("%s: %v", test.key, got)
		}
	}
	l.register("A")
	if l.s.Referenced(ChunkKey(1, 1, 1, 2)) {
		t.Error("a chunk that was not committed before its epoch ended")
	}
}

func TestKeysLeadBack(t *testing.T) {
	for _, c := range []ChunkID{{Node: 12, Epoch: 3, Lane: 1, Seq: 99}, {Node: 12, Epoch: 3, Lane: 1, Seq: 99, Hedge: 2}} {
		if got, ok := ParseChunkKey(c.Key()); !ok || got != c {
			t.Errorf("%s gives %+v", c.Key(), got)
		}
	}
	s := SegmentID{Job: 7, Ordinal: 2}
	if got, ok := ParseSegmentKey(s.Key()); !ok || got != s {
		t.Errorf("%s gives %+v", s.Key(), got)
	}
	for _, key := range []string{"", "chunk/", "chunk/aa/1-2-3", "chunk/zz/1-2-3-4", "chunk/aa/1-2-3-4-h1", hashedKey("chunk/", "1-2-3-4-h0"), hashedKey("chunk/", "1-2-3-4-h01"), "segment/aa/01-2", "segment/aa/1--2"} {
		_, isChunk := ParseChunkKey(key)
		_, isSegment := ParseSegmentKey(key)
		if isChunk || isSegment {
			t.Errorf("%q is no key", key)
		}
	}
}

func TestProducersAreBounded(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1)
	tp := TopicPartition{topicID("t"), 0}
	commit := func(producer int, seq uint64) {
		l.now++
		l.do(commitOf(1, 1, 0, seq, seq, 0, batchOf(tp, fmt.Sprintf("1/p%ds0", producer))))
	}
	for i := range MaxPartitionProducers + 1 {
		commit(i, uint64(i+1))
	}
	got := l.s.Partition(tp).Producers()
	if len(got) != MaxPartitionProducers*7/8+1 {
		t.Errorf("%d producers are remembered", len(got))
	}
	if got[0].ProducerID != MaxPartitionProducers/8 || got[len(got)-1].ProducerID != MaxPartitionProducers {
		t.Errorf("producers %d to %d are remembered", got[0].ProducerID, got[len(got)-1].ProducerID)
	}
}

func TestWaitingComesWithTime(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1)
	l.do(commitOf(1, 1, 0, 1, 1, 0, batchOf(TopicPartition{topicID("t"), 0}, "1")))
	l.do(&metapb.SealContainer{NodeId: 1, NodeEpoch: 1, Segment: 1})
	waiting := func(at int64) int { n, _ := l.s.Waiting(at); return n }
	if waiting(l.now) != 1 {
		t.Error("a sealed container does not wait")
	}
	l.do(&metapb.SetNodeLive{NodeId: 1, NodeEpoch: 1, Live: false})
	if waiting(l.now) != 0 {
		t.Error("a container waits whose node is away")
	}
	l.do(&metapb.SetNodeLive{NodeId: 1, NodeEpoch: 1, Live: true})
	job := l.do(&metapb.LeaseJob{LeaseMillis: 1000}).JobID
	l.do(&metapb.FinishJob{JobId: uint64(job), Failed: true})
	if waiting(l.now) != 0 || waiting(l.now+retryMillis) != 1 {
		t.Error("a container that failed does not wait a while")
	}
}

func TestDueIsNeverWithoutCause(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	if d := l.s.Due(math.MaxInt64 - 1); d.Tick || d.Retention || d.NextMillis != math.MaxInt64 {
		t.Errorf("an empty state is due: %+v", d)
	}
}
