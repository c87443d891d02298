package meta

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

var testLogID = [16]byte{'t', 'e', 's', 't'}

// failer is what the tests need of testing.T, rapid.T and testing.F.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// testLog is a leader without a log: it applies each command as an entry of its own and catches the verdicts.
type testLog struct {
	t     failer
	s     *State
	epoch uint64
	now   int64

	verdict   Verdict
	chunks    []ChunkVerdict
	committed map[TopicPartition]int64
	entries   []*metapb.Entry
	ids       uint32
}

func newTestLog(t failer) *testLog {
	return &testLog{t: t, s: New(testLogID), now: 1_000_000, committed: map[TopicPartition]int64{}}
}

func (l *testLog) Wants([]byte) bool                               { return true }
func (l *testLog) Verdict(_ []byte, v Verdict)                     { l.verdict = v }
func (l *testLog) WantsChunks(NodeID, uint64) bool                 { return true }
func (l *testLog) Committed(p TopicPartition, highWatermark int64) { l.committed[p] = highWatermark }
func (l *testLog) Changed(ChangeKind)                              {}

func (l *testLog) ChunkVerdict(_ *metapb.CommitChunk, v *ChunkVerdict) {
	kept := *v
	kept.Runs = slices.Clone(v.Runs)
	for i := range kept.Runs {
		kept.Runs[i].Batches = slices.Clone(kept.Runs[i].Batches)
	}
	l.chunks = append(l.chunks, kept)
}

// command wraps the kinds of command.
func command(m proto.Message) *metapb.Command {
	c := &metapb.Command{}
	r := c.ProtoReflect()
	fields := r.Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message().FullName() == m.ProtoReflect().Descriptor().FullName() {
			r.Set(f, protoreflect.ValueOfMessage(m.ProtoReflect()))
			return c
		}
	}
	panic(fmt.Sprintf("%T is no command", m))
}

// do applies one command and answers its verdict.
func (l *testLog) do(m proto.Message) Verdict {
	l.t.Helper()
	l.ids++
	c := command(m)
	c.Id = fmt.Appendf(nil, "%016d", l.ids)
	return l.entry(c)
}

// entry applies commands as one entry and answers the last verdict.
func (l *testLog) entry(commands ...*metapb.Command) Verdict {
	l.t.Helper()
	e := &metapb.Entry{Format: EntryFormat, LogId: testLogID[:], LeaderEpoch: l.epoch, TimeMillis: l.now, Commands: commands}
	l.verdict, l.chunks = Verdict{}, l.chunks[:0]
	if err := l.s.Apply(l.s.Seq()+1, e, l); err != nil {
		l.t.Fatal(err)
	}
	l.entries = append(l.entries, e)
	return l.verdict
}

func (l *testLog) lead(epoch uint64) {
	l.t.Helper()
	l.epoch = epoch
	l.do(&metapb.LeaderStart{Epoch: epoch, InternalAddress: "leader:1", Name: "L"})
}

func (l *testLog) register(disk string, segments ...uint64) Verdict {
	l.t.Helper()
	return l.do(&metapb.RegisterNode{
		DiskId: diskID(disk), Incarnation: fmt.Appendf(nil, "%s-%d", disk, l.ids), KafkaHost: "host-" + disk, KafkaPort: 9092, Segments: segments,
	})
}

func diskID(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }

// topicID is the id the tests give to the topic of this name.
func topicID(name string) TopicID {
	return TopicID(append([]byte(name), make([]byte, 16-len(name))...))
}

func (l *testLog) topic(name string, partitions int32, configs ...*metapb.ConfigEntry) Verdict {
	l.t.Helper()
	id := topicID(name)
	return l.do(&metapb.CreateTopic{Name: name, TopicId: id[:], Partitions: partitions, Configs: configs})
}

// commitOf is the command for a chunk of these batches.
func commitOf(node NodeID, epoch uint64, lane uint32, seq, segment uint64, position uint32, batches ...chunk.Batch) *metapb.CommitChunk {
	var b chunk.Builder
	for _, batch := range batches {
		if batch.Data == nil {
			batch.Data = make([]byte, 100)
		}
		if !b.Add(batch) {
			panic("batch does not fit")
		}
	}
	sealed := b.Seal(chunk.Header{NodeID: int32(node), NodeEpoch: epoch, Lane: lane, Seq: seq})
	c := &metapb.CommitChunk{
		NodeId: int32(node), NodeEpoch: epoch, Lane: lane, Seq: seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: segment,
		Position: position, ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
	}
	if segment == 0 {
		c.Durability = metapb.Durability_DURABILITY_OBJECT
	}
	return c
}

// invariants recomputes what the state derives, and says where it is wrong.
func (s *State) invariants() error {
	type count struct{ live, local, bytes, held int }
	counts := map[uint32]count{}
	refs := map[*object]int{}
	partitions := 0
	for _, t := range s.topicOrder {
		if s.topics[t.ID] != t || s.topicsByName[t.Name] != t {
			return fmt.Errorf("topic %s is not where it should be", t.Name)
		}
		for i, p := range t.partitions {
			partitions++
			if s.partitions[p.slot] != p || p.index != int32(i) || p.topic != t {
				return fmt.Errorf("%s-%d is not where it should be", t.Name, i)
			}
			if err := (&restorer{s: s}).tiles(p); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Name, i, err)
			}
			for _, r := range p.runs {
				c := counts[r.container]
				held := 0
				if p.held(&r) {
					held = 1
				}
				counts[r.container] = count{c.live + 1, c.local, c.bytes + int(r.length), c.held + held}
				if !slices.Contains(s.containerSlots[r.container].partitions, p.slot) {
					return fmt.Errorf("%s-%d has a run in container %d, which does not know", t.Name, i, s.containerSlots[r.container].id)
				}
			}
			for j, r := range p.local {
				c := counts[r.container]
				counts[r.container] = count{c.live, c.local + 1, c.bytes, c.held}
				if k := firstPart(p.parts, r.base); k == len(p.parts) || p.parts[k].base > max(r.base, p.logStart) || j > 0 && p.local[j-1].next() > r.base {
					return fmt.Errorf("%s-%d: local copy at %d without a part", t.Name, i, r.base)
				}
			}
			var bytes uint64
			for j := range p.parts {
				refs[p.parts[j].object]++
				bytes += p.parts[j].length
			}
			if bytes != p.partBytes || sumLengths(p.runs) != p.runBytes || sumLengths(p.local) != p.localBytes {
				return fmt.Errorf("%s-%d: sizes %d %d %d", t.Name, i, p.runBytes, p.partBytes, p.localBytes)
			}
		}
	}
	if partitions != s.PartitionCount() || len(s.topics) != len(s.topicOrder) || len(s.topicsByName) != len(s.topicOrder) {
		return fmt.Errorf("%d partitions, counted %d", partitions, s.PartitionCount())
	}
	last := NodeID(0)
	for _, n := range s.nodes {
		if n.ID <= last || n.ID >= s.nextNode || s.nodeByDisk[n.DiskID] != n || s.Node(n.ID) != n || s.Dropped(n.ID) {
			return fmt.Errorf("node %d is not where it should be", n.ID)
		}
		last = n.ID
	}
	if len(s.nodeByDisk) != len(s.nodes) {
		return fmt.Errorf("%d nodes by disk, %d by number", len(s.nodeByDisk), len(s.nodes))
	}
	for c := range s.byID {
		if s.Node(c.node) == nil || c.copy.node != 0 && s.Node(c.copy.node) == nil {
			return fmt.Errorf("container %d is on nodes %d and %d", c.id, c.node, c.copy.node)
		}
		if got := counts[c.slot]; got.live != c.liveRuns || got.local != c.localRuns || uint64(got.bytes) != c.liveBytes || got.held != c.heldRuns {
			return fmt.Errorf("container %d: live %d local %d bytes %d held %d, counted %+v", c.id, c.liveRuns, c.localRuns, c.liveBytes, c.heldRuns, got)
		}
		if c.sealed && c.liveRuns+c.localRuns == 0 {
			return fmt.Errorf("container %d is done and still there", c.id)
		}
		if c.job != 0 && (s.jobs[c.job] == nil || !slices.Contains(s.jobs[c.job].containers, c.id)) {
			return fmt.Errorf("container %d is with job %d, which does not have it", c.id, c.job)
		}
		delete(counts, c.slot)
	}
	if len(counts) > 0 || len(s.containers) != len(slices.Collect(s.byID)) || len(s.hot)+len(s.chunks) != len(s.containers) {
		return fmt.Errorf("%d containers with runs are not there", len(counts))
	}
	for _, o := range s.objects {
		if refs[o] != o.refs || o.refs == 0 {
			return fmt.Errorf("object %v has %d parts, counted %d", o.id, o.refs, refs[o])
		}
		delete(refs, o)
	}
	if len(refs) > 0 {
		return fmt.Errorf("%d objects with parts are not there", len(refs))
	}
	for _, g := range s.garbage {
		if s.Referenced(g.Key) && s.jobs[jobOfKey(g.Key)] == nil {
			return fmt.Errorf("garbage %s is referred to", g.Key)
		}
	}
	if err := s.transactionInvariants(); err != nil {
		return err
	}
	if err := s.compactionInvariants(); err != nil {
		return err
	}
	if len(s.garbage) != len(s.garbageKeys) {
		return fmt.Errorf("%d of garbage, %d keys", len(s.garbage), len(s.garbageKeys))
	}
	return nil
}

func jobOfKey(key string) JobID {
	id, _ := ParseSegmentKey(key)
	return id.Job
}

// reread is the state after a snapshot and a restart.
func (s *State) reread(t failer) *State {
	t.Helper()
	var parts [][]byte
	if err := s.WriteSnapshot(func(part []byte) error { parts = append(parts, part); return nil }); err != nil {
		t.Fatal(err)
	}
	out, err := ReadSnapshot(func(yield func([]byte, error) bool) {
		for _, p := range parts {
			if !yield(p, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
