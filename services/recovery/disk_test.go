package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// disk is a node whose hot log is a directory.
type disk struct {
	dir  string
	log  *hotlog.Log
	node *meta.Node
	seq  uint64
}

func (s *small) newDisk() *disk {
	s.t.Helper()
	d := &disk{dir: s.t.TempDir()}
	var err error
	if d.log, _, err = hotlog.Open(vfs.OS{}, d.dir, hotlog.Config{SegmentBytes: 64 << 10, NoSpare: true}); err != nil {
		s.t.Fatal(err)
	}
	id := d.log.DiskUUID()
	s.log(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: id[:], Incarnation: []byte{1}}}})
	d.node = s.state.NodeByDisk(id)
	return d
}

// sendTo commits a chunk with one record on a disk, with a copy on another one's unless that is nil.
func (s *small) sendTo(d, copyOn *disk) {
	s.t.Helper()
	s.commitChunk(s.writeTo(d, copyOn))
}

// commitChunk commits a chunk with one record for the first partition.
func (s *small) commitChunk(c *metapb.CommitChunk) {
	s.t.Helper()
	next := s.state.Partition(s.place(0)).NextOffset()
	s.log(&metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: c}})
	if s.state.Partition(s.place(0)).NextOffset() != next+1 {
		s.t.Fatal("the chunk was not committed")
	}
}

// writeTo writes a chunk as sendTo does, and returns what commits it.
func (s *small) writeTo(d, copyOn *disk) *metapb.CommitChunk {
	s.t.Helper()
	tp := s.place(0)
	s.values++
	value := fmt.Sprint("value ", s.values)
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	builder.Reset(0, 0)
	if err := builder.Append(0, 1000, nil, []byte(value), nil); err != nil {
		s.t.Fatal(err)
	}
	data, h, err := builder.Build(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var b chunk.Builder
	b.Add(chunk.Batch{ProducerID: -1, Topic: tp.Topic, Partition: tp.Partition, Data: bytes.Clone(data), Records: 1, MaxTimestamp: h.MaxTimestamp})
	d.seq++
	c := &metapb.CommitChunk{NodeId: int32(d.node.ID), NodeEpoch: d.node.Epoch, Seq: d.seq, Durability: metapb.Durability_DURABILITY_LOCAL}
	if copyOn != nil {
		c.Lane, c.Durability = replicatedLane, metapb.Durability_DURABILITY_REPLICATED
	}
	sealed := b.Seal(chunk.Header{NodeID: c.NodeId, NodeEpoch: c.NodeEpoch, Lane: c.Lane, Seq: c.Seq, CreatedMillis: s.state.TimeMillis()})
	whole := slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...)
	write := func(d *disk) hotlog.Place {
		places, err := d.log.Append(nil, hotlog.NewChunk(whole))
		if err != nil {
			s.t.Fatal(err)
		}
		at := [2]uint64{uint64(d.node.ID), places[0].Segment}
		padded := make([]byte, places[0].Position)
		copy(padded, s.hot[at])
		s.hot[at] = append(padded, whole...)
		return places[0]
	}
	place := write(d)
	c.Segment, c.Position, c.ChunkBytes, c.RunTable = place.Segment, place.Position, uint64(len(whole)), sealed.Table.Bytes()
	if copyOn != nil {
		place := write(copyOn)
		c.Copy = &metapb.ChunkCopy{NodeId: int32(copyOn.node.ID), NodeEpoch: copyOn.node.Epoch, Segment: place.Segment, Position: place.Position}
	}
	return c
}

func (s *small) removeSegments(d *disk) {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(d.dir, "*.seg"))
	if err != nil || len(names) == 0 {
		s.t.Fatalf("%d segments, %v", len(names), err)
	}
	for _, name := range names {
		if err := (vfs.OS{}).Remove(name); err != nil {
			s.t.Fatal(err)
		}
	}
}

// A hot log that is given has no more what the state has in it: that is lost, but for what has a copy that is there.
func TestAHotLogLacksWhatTheStateHasInIt(t *testing.T) {
	for _, row := range []struct {
		name                    string
		copied, source, copyLog bool // whether there is a copy, and which logs have their segments still
		lost                    int64
	}{
		{"everything is there", false, true, true, 0},
		{"it is not there", false, false, true, 1},
		{"the copy is there", true, false, true, 0},
		{"the copy is not there", true, true, false, 0},
		{"neither is there", true, false, false, 1},
	} {
		s := newSmall(t, "varve.durability", map[bool]string{false: "local", true: "replicated"}[row.copied])
		first, second := s.newDisk(), s.newDisk()
		copyOn := second
		if !row.copied {
			copyOn = nil
		}
		s.sendTo(first, copyOn)
		s.archive()
		for _, d := range []*disk{first, second} {
			if err := d.log.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !row.source {
			s.removeSegments(first)
		}
		if !row.copyLog {
			s.removeSegments(second)
		}
		plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: []string{first.dir, second.dir}})
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if plan.Report.LostOffsets != row.lost || row.lost > 0 && !plan.Report.Lost[0].Read {
			t.Errorf("%s: %d offsets are lost, want %d: %+v", row.name, plan.Report.LostOffsets, row.lost, plan.Report.Lost)
		}
	}
}

// Of a hot log that is given and damaged, everything is taken that is whole, wherever the bit flipped.
func TestADamagedHotLogIsSalvaged(t *testing.T) {
	for _, row := range []struct {
		name    string
		chunk   int   // which is hit
		at      int64 // counted from where its bytes begin
		lost    int   // chunks
		damaged int
	}{
		{"a record that only the log has", 2, 100, 1, 1},
		{"the header of its frame", 2, -10, 0, 1},
		{"a record that the state has, too", 0, 100, 0, 1}, // its place is believed, and whoever reads it is told
		{"the log's last record", 3, 100, 1, 0},            // may never have been acknowledged
	} {
		s := newSmall(t, "varve.durability", "local")
		d := s.newDisk()
		var commands []*metapb.CommitChunk
		for i := range 4 {
			if i == 2 {
				s.archive()
			}
			commands = append(commands, s.writeTo(d, nil))
			s.commitChunk(commands[i])
		}
		abandoned := t.TempDir() // as a process leaves it that is killed
		if err := os.CopyFS(abandoned, os.DirFS(d.dir)); err != nil {
			t.Fatal(err)
		}
		if err := d.log.Close(); err != nil {
			t.Fatal(err)
		}
		hit := commands[row.chunk]
		flip(t, filepath.Join(abandoned, fmt.Sprintf("%020d.seg", hit.Segment)), int64(hit.Position)+row.at)
		plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: []string{abandoned}})
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		_, state := reopen(t, s.store)
		if got := state.Partition(s.place(0)).NextOffset(); got != int64(4-row.lost) || plan.Report.LostOffsets != 0 {
			t.Errorf("%s: %d records, want %d; lost %+v", row.name, got, 4-row.lost, plan.Report.Lost)
		}
		if len(plan.Report.Damaged) != row.damaged {
			t.Errorf("%s: damaged %+v", row.name, plan.Report.Damaged)
		}
	}
}

// flip flips a bit of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, readErr := f.ReadAt(b, at)
	b[0] ^= 1
	_, writeErr := f.WriteAt(b, at)
	if err := errors.Join(readErr, writeErr, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// The chunks of two disks say one node: one of them was a node of a log whose metadata was lost, and another has got its number since. Both are taken, and
// the disks are two nodes'.
func TestTwoDisksOfOneNumber(t *testing.T) {
	for _, row := range []struct {
		name     string
		known    bool // the state knows the number to be that of the second, in a later epoch than the first's
		oldFirst bool
		offsets  int64
	}{
		{"nothing is known", false, true, 2}, {"nothing is known, the other way round", false, false, 2}, {"the second is known", true, true, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSmall(t, "varve.durability", "local")
			later, old := s.newDisk(), &disk{dir: t.TempDir()}
			var err error
			if old.log, _, err = hotlog.Open(vfs.OS{}, old.dir, hotlog.Config{SegmentBytes: 64 << 10, NoSpare: true}); err != nil {
				t.Fatal(err)
			}
			old.node = &meta.Node{ID: later.node.ID, Epoch: 1}
			s.writeTo(old, nil)
			if row.known {
				id := later.log.DiskUUID()
				s.log(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: id[:], Incarnation: []byte{2}}}})
				s.archive()
			} else {
				loseMetadata(t, s.store)
				later.node = &meta.Node{ID: later.node.ID, Epoch: 1_000_001}
			}
			s.writeTo(later, nil)
			dirs := []string{later.dir, old.dir}
			if row.oldFirst {
				slices.Reverse(dirs)
			}
			if err := errors.Join(later.log.Close(), old.log.Close()); err != nil {
				t.Fatal(err)
			}
			plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: dirs})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(plan.Execute(t.Context()), plan.Close()); err != nil {
				t.Fatal(err)
			}
			_, state := reopen(t, s.store)
			first, second := state.NodeByDisk(later.log.DiskUUID()), state.NodeByDisk(old.log.DiskUUID())
			if first == nil || second == nil || first.ID == second.ID || len(plan.Report.Disks) != 2 {
				t.Errorf("the disks are those of nodes %+v and %+v", first, second)
			}
			if plan.Report.Hot.Offsets != row.offsets {
				t.Errorf("%+v, not adopted %+v", plan.Report.Hot, plan.Report.NotAdopted)
			}
		})
	}
}

// A chunk of a newer version in a hot log is no damage.
func TestANewerChunkInAHotLogIsRefused(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	d := s.newDisk()
	s.archive()
	var b chunk.Builder
	b.Add(s.unowned("acknowledged"))
	sealed := b.Seal(chunk.Header{NodeID: int32(d.node.ID), NodeEpoch: d.node.Epoch, Seq: 1, CreatedMillis: s.state.TimeMillis()})
	whole := ofNewerVersion(t, "chunk/", slices.Concat(append([][]byte{sealed.Head}, sealed.Body...)...))
	_, err := d.log.Append(nil, hotlog.NewChunk(whole))
	if err := errors.Join(err, d.log.Close()); err != nil {
		t.Fatal(err)
	}
	plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: []string{d.dir}})
	if err == nil {
		t.Fatalf("recovered without it: %+v, %v", plan.Report.Damaged, plan.Close())
	}
	if !errors.Is(err, chunk.ErrVersion) || !strings.Contains(err.Error(), d.dir) || !strings.Contains(err.Error(), "newer version") {
		t.Error(err)
	}
}

// The copy of a hot log is given beside it. Which of them is the newer one cannot be told: what only that one has would be missing, or lost.
func TestOneDiskIsGivenTwice(t *testing.T) {
	s := newSmall(t, "varve.durability", "local")
	d := s.newDisk()
	s.sendTo(d, nil)
	older := t.TempDir()
	if err := os.CopyFS(older, os.DirFS(d.dir)); err != nil {
		t.Fatal(err)
	}
	s.sendTo(d, nil)
	s.archive()
	if err := d.log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dirs := range [][]string{{d.dir, older}, {older, d.dir}} {
		plan, err := Prepare(t.Context(), Config{Store: s.store, HotLogs: dirs})
		if err == nil {
			t.Errorf("recovered from %v: lost %+v, %v", dirs, plan.Report.Lost, plan.Close())
		} else if !strings.Contains(err.Error(), d.dir) || !strings.Contains(err.Error(), older) || !strings.Contains(err.Error(), "one disk") {
			t.Error(err)
		}
	}
}
