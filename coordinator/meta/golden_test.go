package meta

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

// golden compares bytes with testdata/name; with -update it writes them.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	dump := hex.Dump(got)
	if *update {
		if err := os.WriteFile(path, []byte(dump), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if dump != string(want) {
		t.Errorf("the format has changed: %s", firstDifference(string(want), dump))
	}
}

func TestGoldenEntry(t *testing.T) {
	e := entryOf(3, 1_700_000_000_000, command(&metapb.SealContainer{NodeId: 1, NodeEpoch: 2, Segment: 3, SizeBytes: 4}))
	e.PreviousHash = HashEntry([]byte("before"))
	e.EntryNonce = 99
	b, err := EncodeEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "entry.hex", b)
}

// TestGoldenSnapshot holds every packed record: a container of each kind, an object, runs, parts, local copies, producers.
func TestGoldenSnapshot(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 1, &metapb.ConfigEntry{Name: "local.retention.ms", Value: "1000"})
	tp := TopicPartition{topicID("t"), 0}
	l.do(commitOf(1, 1, 0, 1, 1, 0, batchOf(tp, "5/p3s0"), batchOf(tp, "2@1000000")))
	l.do(&metapb.SealContainer{NodeId: 1, NodeEpoch: 1, Segment: 1})
	job := uint64(l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"}).JobID)
	l.do(&metapb.FinishJob{JobId: job, Objects: []*metapb.SegmentObject{{JobId: job, SizeBytes: 77, Parts: []*metapb.Part{{
		TopicId: tp.Topic[:], NextOffset: 7, Position: 1, Length: 30, IndexPosition: 40, IndexLength: 5, MaxTimestamp: 1_000_000,
		MaxTimestampOffset: 6, Records: 7, MinTimestamp: 999_999,
	}}}}})
	l.do(commitOf(1, 1, 1, 1, 0, 0, batchOf(tp, "9@1000001")))
	l.do(&metapb.CommitOffsets{Group: "g", Offsets: []*metapb.CommittedOffset{{TopicId: tp.Topic[:], Offset: 3, Metadata: "m"}}})
	var all bytes.Buffer
	m, err := l.s.Snapshot(HashEntry([]byte("entry")), func(_ [32]byte, part []byte) error { all.Write(part); return nil })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "snapshot.hex", all.Bytes())
	b, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.hex", b)
}

func TestUnknownFormatsAreRefusedByName(t *testing.T) {
	for _, format := range []uint32{2, EntryFormat} {
		e := entryOf(1, 1)
		e.Format = format
		b, err := EncodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		b[4] = 2
		if _, err := DecodeEntry(b); errors.Is(err, ErrFormat) != (format == 2) || errors.Is(err, ErrCorrupt) != (format == EntryFormat) {
			t.Errorf("an entry whose header says format 2, and whose body %d: %v", format, err)
		}
		b, err = EncodeManifest(&metapb.Manifest{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		b[4] = 2
		if _, err := DecodeManifest(b); errors.Is(err, ErrFormat) != (format == 2) || errors.Is(err, ErrCorrupt) != (format == EntryFormat) {
			t.Errorf("a manifest whose header says format 2, and whose body %d: %v", format, err)
		}
	}
}

// TestGoldenCompaction holds what a snapshot keeps of compaction: of a partition that is clean, and of a round under way.
func TestGoldenCompaction(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	l.register("A")
	l.topic("t", 2, &metapb.ConfigEntry{Name: "cleanup.policy", Value: "compact"})
	first, second := TopicPartition{topicID("t"), 0}, TopicPartition{topicID("t"), 1}
	l.do(commitOf(1, 1, 0, 1, 1, 0, batchOf(first, "5@1000000"), batchOf(second, "3@1000000")))
	l.do(&metapb.SealContainer{NodeId: 1, NodeEpoch: 1, Segment: 1})
	job := uint64(l.do(&metapb.LeaseJob{LeaseMillis: 1000, Worker: "w"}).JobID)
	part := func(tp TopicPartition, next int64, position uint64) *metapb.Part {
		return &metapb.Part{TopicId: tp.Topic[:], Partition: tp.Partition, NextOffset: next, Position: position, Length: 30, MaxTimestamp: 1_000_000, MinTimestamp: 999_999, Records: uint64(next)}
	}
	l.do(&metapb.FinishJob{JobId: job, Objects: []*metapb.SegmentObject{{JobId: job, SizeBytes: 77, Parts: []*metapb.Part{part(first, 5, 48), part(second, 3, 78)}}}})
	for _, report := range []*metapb.CompactRange{
		{ToOffset: 5, Done: true, CleanedTo: 5, HorizonMillis: 2_000_000, Part: &metapb.CompactedPart{Ordinal: 2, SizeBytes: 300, Position: 48, Length: 20, IndexPosition: 68, IndexLength: 20, Records: 2, MaxTimestamp: 1_000_000, MinTimestamp: 999_999}},
		{ToOffset: 3},
	} {
		round := l.do(&metapb.LeaseCompaction{Worker: "c", LeaseMillis: 60_000})
		report.JobId, report.LeaseMillis = uint64(round.JobID), 60_000
		if v := l.do(report); v.Code != OK {
			t.Fatal(v)
		}
	}
	var all bytes.Buffer
	if err := l.s.WriteSnapshot(func(part []byte) error { all.Write(part); return nil }); err != nil {
		t.Fatal(err)
	}
	golden(t, "compaction.hex", all.Bytes())
	if again := l.s.reread(t); again.Hash() != l.s.Hash() || again.Partition(second).cleaning.job == 0 {
		t.Error("a restart forgets")
	}
}
