package recovery

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// As TestTheLeftPartOfOverlappingObjectsComesFromItsChunk, of what is on lost disks: one of two overlapping objects has records that are nowhere else.
func TestTheLeftPartOfOverlappingObjectsIsStoredAnew(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	end := func() {
		for node := uint64(1); node <= nodes; node++ {
			s.log(&metapb.Command{Kind: &metapb.Command_SealContainer{SealContainer: &metapb.SealContainer{NodeId: int32(node), NodeEpoch: 1, Segment: s.fill[node]}}})
			s.fill[node]++
		}
	}
	s.send(false, write{0, 2, nil})
	end()
	s.finish(s.lease(1), nil)
	s.pass(1100)
	s.send(false, write{0, 1, nil})
	end()
	both := s.lease(2)
	s.build(both)
	s.finish(both, nil)
	s.pass(1500)
	s.send(false, write{0, 5, nil})
	end()
	last := s.lease(3)
	s.finish(last, s.build(last))
	loseMetadata(t, s.store)
	s.recovered()
	loseMetadata(t, s.store)
	s.recovered()
}

// storedPart is an object of one part with a batch of records that are all the same.
func (s *small) storedPart(job meta.JobID, base, next int64, epoch int32, value string) {
	s.t.Helper()
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	b.Reset(base, epoch)
	for o := base; o < next; o++ {
		if err := b.Append(o, 1000, nil, []byte(value), nil); err != nil {
			s.t.Fatal(err)
		}
	}
	data, _, err := b.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.craft(job, base, next, 0, nil, data)
}

// A worker of the former log stores its object late. Its offsets were given again meanwhile, and then all metadata is lost.
func TestALateObjectOfTheFormerLogIsLeftOut(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	s.send(false, write{0, 1, nil})
	s.shipAll()
	s.archive()
	mustRecover(t, s.store)
	epoch := second(reopen(t, s.store)).Partition(s.place(0)).LeaderEpoch()
	s.storedPart(7, 1, 3, 0, "of the former log")
	s.storedPart(1<<40+7, 1, 2, epoch, "acknowledged")
	loseMetadata(t, s.store)
	report := mustRecover(t, s.store)
	got := readBack(t, s.store, second(reopen(t, s.store)))
	if got[spot{s.place(0), 1}] != "acknowledged" || len(got) != 2 {
		t.Errorf("%v; lost %+v, not adopted %+v", got, report.Lost, report.NotAdopted)
	}
}

// Offsets were given again after a recovery, to records on a disk that is lost, too. An object of the former log, stored late, has others under them.
func TestNothingIsRescuedFromTheFormerLog(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	s.send(false, write{0, 1, nil})
	s.shipAll()
	s.archive()
	mustRecover(t, s.store)
	cluster, state := reopen(t, s.store)
	tp := s.place(0)
	store := cluster.Metadata(s.store)
	batch, err := archive.Load(t.Context(), store, cluster.LogID, archive.Object{First: 1, Next: 2})
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(batch.Entries[0])
	// What the recovered cluster does.
	var entries [][]byte
	epoch := state.LeaderEpoch() + 1
	do := func(c *metapb.Command) {
		e := &metapb.Entry{LogId: cluster.LogID[:], PreviousHash: bytes.Clone(hash[:]), LeaderEpoch: epoch, TimeMillis: state.TimeMillis() + 10, Commands: []*metapb.Command{c}}
		encoded, err := meta.EncodeEntry(e)
		if err == nil {
			err = state.Apply(state.Seq()+1, e, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		hash = sha256.Sum256(encoded)
		entries = append(entries, encoded)
	}
	do(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: epoch, FeatureLevel: meta.FeatureLevel}}})
	do(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: bytes.Repeat([]byte{77}, 16), Incarnation: []byte{1}}}})
	n := state.NodeByDisk([16]byte(bytes.Repeat([]byte{77}, 16)))
	var b chunk.Builder
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	builder.Reset(0, 0)
	for i := range 2 {
		if err := builder.Append(int64(i), 1000, nil, []byte("new"), nil); err != nil {
			t.Fatal(err)
		}
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Add(chunk.Batch{ProducerID: -1, Topic: tp.Topic, Partition: tp.Partition, Data: bytes.Clone(data), Records: 2, MaxTimestamp: h.MaxTimestamp})
	sealed := b.Seal(chunk.Header{NodeID: int32(n.ID), NodeEpoch: n.Epoch, Seq: 1})
	do(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: int32(n.ID), NodeEpoch: n.Epoch, Seq: 1, Durability: durabilityOf(0), Segment: 1, ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: sealed.Table.Bytes(),
	}}})
	if got := state.Partition(tp).NextOffset(); got != 3 {
		t.Fatalf("the partition ends at %d", got)
	}
	next := &archive.Batch{LogID: cluster.LogID, First: 2, Entries: entries}
	if _, err := store.PutIfAbsent(t.Context(), (archive.Object{First: 2, Next: next.Next()}).Key(), archive.Encode(next)); err != nil {
		t.Fatal(err)
	}
	s.storedPart(7, 1, 3, 0, "of the former log")
	report := mustRecover(t, s.store)
	_, state = reopen(t, s.store)
	if v := readBack(t, s.store, state); report.LostOffsets != 2 || slices.Contains([]string{v[spot{tp, 1}], v[spot{tp, 2}]}, "of the former log") {
		t.Errorf("%v; lost %d %+v, rescued %+v", v, report.LostOffsets, report.Lost, report.Rescued)
	}
}

// compactTo carries out a round of compaction of the first partition, which leaves the records at some offsets of each of its parts.
func (s *small) compactTo(left ...int64) {
	s.t.Helper()
	lease := &metapb.Command{Kind: &metapb.Command_LeaseCompaction{LeaseCompaction: &metapb.LeaseCompaction{Worker: "c", LeaseMillis: 600_000}}}
	var r meta.Round
	for r.Partition != s.place(0) {
		s.pass(1000)
		s.log(lease)
		if jobs := s.state.Jobs(); len(jobs) > 0 {
			r, _ = s.state.Round(jobs[len(jobs)-1].ID)
		}
	}
	report := func(c *metapb.CompactRange) {
		c.JobId, c.LeaseMillis = uint64(r.JobID), 1000
		s.log(&metapb.Command{Kind: &metapb.Command_CompactRange{CompactRange: c}})
	}
	for i, l := range r.Parts {
		e := segment.NewEncoder(segment.Header{JobID: uint64(r.JobID), Ordinal: uint32(i)}, 0)
		e.Begin(s.topic, "small", 0, l.BaseOffset)
		b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
		b.Reset(l.BaseOffset, 0)
		scratch := recordbatch.GetScratch(0)
		for batch, err := range recordbatch.Batches(s.stored(l)) {
			if err != nil {
				s.t.Fatal(err)
			}
			for record, err := range recordbatch.Records(batch.Bytes, scratch) {
				if err == nil && slices.Contains(left, record.Offset) {
					err = b.AppendRecord(&record)
				}
				if err != nil {
					s.t.Fatal(err)
				}
			}
		}
		scratch.Put()
		data, h, err := b.Build(nil)
		if err == nil {
			err = e.Batch(h, data, false)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		e.End(l.NextOffset)
		body, parts := e.Finish()
		s.put(meta.SegmentKey(r.JobID, uint32(i)), body)
		report(&metapb.CompactRange{FromOffset: l.BaseOffset, ToOffset: l.NextOffset, Part: &metapb.CompactedPart{
			Ordinal: uint32(i), SizeBytes: uint64(len(body)), Position: parts[0].Position, Length: parts[0].LengthBytes, IndexPosition: parts[0].IndexPosition,
			IndexLength: parts[0].IndexLengthBytes, Records: parts[0].Records, MaxTimestamp: parts[0].MaxTimestamp, MinTimestamp: parts[0].MinTimestamp,
		}})
	}
	end := r.Parts[len(r.Parts)-1].NextOffset
	report(&metapb.CompactRange{FromOffset: end, ToOffset: end, CleanedTo: end, HorizonMillis: 1, Done: true})
}

// The metadata ends before a key was compacted away, its tombstone last. The object with the key is there still, since it has another partition's part.
func TestWhatWasCompactedAwayStaysAway(t *testing.T) {
	s := newSmall(t, "varve.durability", "object", "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0", "delete.retention.ms", "0")
	s.send(true, write{0, 2, nil}, write{1, 1, nil}) // "value b" stands for the value, and
	s.shipAllInOne()
	s.send(true, write{0, 2, nil}) // "value e" for its tombstone
	s.shipAllInOne()
	s.archive()
	s.compactTo(1, 2, 3)
	s.send(true, write{0, 1, nil})
	s.shipAllInOne()
	s.compactTo(1, 3, 4)
	s.sweep()
	got := readBack(t, s.store, s.state)
	mustRecover(t, s.store)
	if after := readBack(t, s.store, second(reopen(t, s.store))); !equalRecords(got, after) {
		t.Errorf("there was %v, and there is %v", got, after)
	}
}

// shipAllInOne ships what waits, all in one object.
func (s *small) shipAllInOne() {
	s.random = rand.New(always(1 << 63))
	s.shipAll()
}

// always is a source of the same number.
type always uint64

func (a always) Uint64() uint64 { return uint64(a) }
