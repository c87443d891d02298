package meta

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

// copiesMachine is nodes with disks, which do what the state tells them to: they write chunks to segments of their own and of each
// other, send commits late and seals early, delete what is released, start again, and lose their disks.
type copiesMachine struct {
	log     *testLog
	nodes   []*diskNode
	next    int // the number of the next chunk
	records map[TopicPartition][]copiedRecord
	start   map[TopicPartition]int64
	disks   int
}

type diskNode struct {
	id     NodeID
	disk   string
	epoch  uint64
	active uint64
	at     uint32
	toSeal []uint64
	seqs   [3]uint64 // of chunks that were sent off
	files  map[uint64]map[uint32]int
	queues [3][]*metapb.CommitChunk
	gone   bool // with its disk
}

// copiedRecord is one committed record: which chunk it is in, where within, and whether it was declared lost.
type copiedRecord struct {
	chunk  int
	offset uint32
	places int // on how many disks it was written
	lost   bool
}

func (m *copiesMachine) node(t *rapid.T, label string) *diskNode {
	var there []*diskNode
	for _, n := range m.nodes {
		if !n.gone {
			there = append(there, n)
		}
	}
	if len(there) == 0 {
		t.Skip("no node")
	}
	return rapid.SampledFrom(there).Draw(t, label)
}

func (n *diskNode) append(chunk int, bytes uint64) (segment uint64, position uint32) {
	if n.files[n.active] == nil {
		n.files[n.active] = map[uint32]int{}
	}
	segment, position = n.active, n.at
	n.files[segment][position] = chunk
	n.at += uint32(bytes) + 32
	return segment, position
}

// add registers a node with a new disk.
func (m *copiesMachine) add(t *rapid.T) {
	living := 0
	for _, n := range m.nodes {
		if !n.gone {
			living++
		}
	}
	if living >= 4 {
		t.Skip("enough")
	}
	m.disks++
	n := &diskNode{disk: fmt.Sprint("disk", m.disks), files: map[uint64]map[uint32]int{}}
	m.register(n)
	m.nodes = append(m.nodes, n)
}

func (m *copiesMachine) register(n *diskNode) {
	var segments []uint64
	for segment := range n.files {
		segments = append(segments, segment)
	}
	v := m.log.register(n.disk, segments...)
	n.id, n.epoch = v.NodeID, v.NodeEpoch
	n.active, n.at, n.seqs, n.queues, n.toSeal = n.active+1, 64, [3]uint64{}, [3][]*metapb.CommitChunk{}, nil
	for _, segment := range v.UnreferencedSegments {
		delete(n.files, segment)
	}
	if len(v.MissingSegments) > 0 {
		m.log.t.Fatalf("node %d lacks %v, which are referred to", n.id, v.MissingSegments)
	}
}

// restart begins a new epoch. What the old one had not committed may still come to the log.
func (m *copiesMachine) restart(t *rapid.T) {
	n := m.node(t, "node")
	var late *metapb.CommitChunk
	if len(n.queues[2]) > 0 {
		late = n.queues[2][0]
	}
	m.register(n)
	if late != nil {
		m.log.do(late)
		expect(t, m.log.chunks[0].Code, Fenced)
	}
}

// away has a node leave, or go without a word, and come back hours or days later: as another one where it is not known any more.
func (m *copiesMachine) away(t *rapid.T) {
	n := m.node(t, "node")
	var late *metapb.CommitChunk
	if len(n.queues[2]) > 0 {
		late = n.queues[2][0]
	}
	if rapid.Bool().Draw(t, "drains") {
		m.retireNode(t, n)
		m.log.do(&metapb.DrainNode{NodeId: int32(n.id), NodeEpoch: n.epoch})
	}
	m.log.do(&metapb.SetNodeLive{NodeId: int32(n.id), NodeEpoch: n.epoch, Live: false})
	m.log.now += rapid.SampledFrom([]int64{leftMillis - 1, leftMillis, missingMillis - 1, missingMillis}).Draw(t, "absence")
	m.log.do(&metapb.Tick{})
	want, next := n.id, m.log.s.NextNode()
	if m.log.s.Node(n.id) == nil {
		want = next
	}
	m.register(n)
	expect(t, n.id, want)
	if late != nil {
		m.log.do(late)
		expect(t, m.log.chunks[0].Code, Fenced)
	}
}

func (m *copiesMachine) write(t *rapid.T) {
	n := m.node(t, "source")
	lane := rapid.SampledFrom([]int{0, 2, 2, 2}).Draw(t, "lane")
	topic := map[int]string{0: "once", 2: "twice"}[lane]
	var batches []chunk.Batch
	for range rapid.IntRange(1, 4).Draw(t, "batches") {
		batches = append(batches, chunk.Batch{
			Topic: topicID(topic), Partition: rapid.Int32Range(0, 1).Draw(t, "partition"), Records: rapid.Uint32Range(1, 3).Draw(t, "records"), ProducerID: -1,
			MaxTimestamp: m.log.now, Data: make([]byte, rapid.IntRange(1, 100).Draw(t, "bytes")),
		})
	}
	c := commitOf(n.id, n.epoch, uint32(lane), n.seqs[lane]+1, n.active, 0, batches...)
	m.next++
	if lane == 2 {
		// Some copies are made in vain: of a peer that did not answer in time.
		for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "attempts") {
			peer := m.node(t, "peer")
			if peer == n {
				t.Skip("no peer")
			}
			segment, position := peer.append(m.next, c.ChunkBytes)
			c.Copy = &metapb.ChunkCopy{NodeId: int32(peer.id), NodeEpoch: peer.epoch, Segment: segment, Position: position}
		}
		c.Durability = metapb.Durability_DURABILITY_REPLICATED
	}
	c.Segment, c.Position = n.append(m.next, c.ChunkBytes)
	n.seqs[lane]++
	n.queues[lane] = append(n.queues[lane], c)
}

// commit brings a node's oldest chunk of a lane to the log.
func (m *copiesMachine) commit(t *rapid.T) {
	n := m.node(t, "node")
	lane := rapid.SampledFrom([]int{0, 2}).Draw(t, "lane")
	if len(n.queues[lane]) == 0 {
		t.Skip("nothing to commit")
	}
	c := n.queues[lane][0]
	n.queues[lane] = n.queues[lane][1:]
	m.log.do(c)
	v := m.log.chunks[0]
	switch v.Code {
	case OK:
	case SegmentSealed:
		m.register(n) // the epoch is over
		return
	default:
		t.Fatalf("chunk of node %d: %v", n.id, v.Code)
	}
	table, err := chunk.ParseTable(c.RunTable)
	if err != nil {
		t.Fatal(err)
	}
	places := 1
	if c.Copy != nil {
		places = 2
	}
	id, ok := n.files[c.Segment][c.Position]
	if !ok {
		t.Fatalf("node %d has committed to segment %d, which it has deleted", n.id, c.Segment)
	}
	for i := range table.Runs() {
		r := table.Run(i)
		tp := TopicPartition{r.Topic, r.Partition}
		expect(t, v.Runs[i].BaseOffset, int64(len(m.records[tp])))
		for range r.Records {
			m.records[tp] = append(m.records[tp], copiedRecord{chunk: id, offset: r.Position, places: places})
		}
	}
}

// roll begins another segment; the seal follows at any time, in order.
func (m *copiesMachine) roll(t *rapid.T) {
	n := m.node(t, "node")
	n.toSeal = append(n.toSeal, n.active)
	n.active, n.at = n.active+1, 64
}

func (m *copiesMachine) seal(t *rapid.T) {
	n := m.node(t, "node")
	if len(n.toSeal) == 0 {
		t.Skip("nothing to seal")
	}
	segment := n.toSeal[0]
	n.toSeal = n.toSeal[1:]
	expect(t, m.log.do(&metapb.SealContainer{NodeId: int32(n.id), NodeEpoch: n.epoch, Segment: segment}).Code, OK)
}

// retire seals all that a node has written, and deletes what is released by that.
func (m *copiesMachine) retire(t *rapid.T) {
	m.retireNode(t, m.node(t, "node"))
}

func (m *copiesMachine) retireNode(t *rapid.T, n *diskNode) {
	for _, segment := range append(n.toSeal, n.active) {
		expect(t, m.log.do(&metapb.SealContainer{NodeId: int32(n.id), NodeEpoch: n.epoch, Segment: segment}).Code, OK)
	}
	n.toSeal, n.active, n.at = nil, n.active+1, 64
	m.cleanOf(n)
}

// clean deletes what is released.
func (m *copiesMachine) clean(t *rapid.T) { m.cleanOf(m.node(t, "node")) }

func (m *copiesMachine) cleanOf(n *diskNode) {
	released := append([]uint64(nil), m.log.s.Released(n.id)...)
	for _, segment := range released {
		delete(n.files, segment)
	}
	m.log.do(&metapb.LocalReleased{NodeId: int32(n.id), Segments: released})
}

// ship stores what a job has, each run as a part, as far as one of the places has it.
func (m *copiesMachine) ship(t *rapid.T) {
	v := m.log.do(&metapb.LeaseJob{Worker: "w", LeaseMillis: 30_000, MaxContainers: rapid.Uint32Range(1, 3).Draw(t, "containers")})
	if v.Code != OK {
		return
	}
	finish := &metapb.FinishJob{JobId: uint64(v.JobID), Objects: []*metapb.SegmentObject{{JobId: uint64(v.JobID), Ordinal: 1, SizeBytes: 1}}}
	for c, runs := range m.log.s.JobContainers(v.JobID) {
		for _, r := range runs {
			want := m.records[r.Partition][r.BaseOffset]
			if !m.has(c.Node, c.Segment, uint64(r.Position), want) && !m.has(c.CopyNode, c.CopySegment, uint64(r.CopyPosition), want) {
				finish.Failed = true
				continue
			}
			topic := r.Partition.Topic
			finish.Objects[0].Parts = append(finish.Objects[0].Parts, &metapb.Part{
				TopicId: topic[:], Partition: r.Partition.Partition, BaseOffset: r.BaseOffset, NextOffset: r.BaseOffset + int64(r.Records),
				Length: 1, MaxTimestamp: m.log.now, Records: uint64(r.Records),
			})
		}
	}
	if len(finish.Objects[0].Parts) == 0 {
		finish.Objects = nil
	}
	m.log.do(finish)
}

// has tells whether a node has the record's chunk so that the run is at position.
func (m *copiesMachine) has(id NodeID, segment, position uint64, want copiedRecord) bool {
	for _, n := range m.nodes {
		if n.id != id || n.gone {
			continue
		}
		got, ok := n.files[segment][uint32(position)-want.offset]
		return ok && got == want.chunk
	}
	return false
}

func (m *copiesMachine) trim(t *rapid.T) {
	for _, name := range []string{"once", "twice"} {
		tp := TopicPartition{topicID(name), rapid.Int32Range(0, 1).Draw(t, "partition")}
		to := rapid.Int64Range(m.start[tp], max(m.start[tp], int64(len(m.records[tp])))).Draw(t, "to")
		m.log.do(&metapb.AdvanceLogStart{TopicId: tp.Topic[:], Partition: tp.Partition, Offset: to})
		m.start[tp] = to
	}
}

// destroy takes a node away with its disk, and sometimes has it forgotten.
func (m *copiesMachine) destroy(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "destroy") > 0 {
		t.Skip("not this time")
	}
	n := m.node(t, "node")
	n.gone = true
	m.log.do(&metapb.SetNodeLive{NodeId: int32(n.id), NodeEpoch: n.epoch, Live: false})
	expect(t, m.log.do(&metapb.ForgetNode{NodeId: int32(n.id), NodeEpoch: n.epoch - 1}).Code, Fenced)
}

func (m *copiesMachine) forget(t *rapid.T) {
	id := NodeID(rapid.IntRange(1, int(m.log.s.NextNode())).Draw(t, "node"))
	n := m.log.s.Node(id)
	if n == nil {
		t.Skip("no node")
	}
	would := m.log.s.WouldLose(id)
	epochs := map[TopicPartition]int32{}
	for _, l := range would {
		epochs[l.Partition] = m.log.s.Partition(l.Partition).LeaderEpoch()
	}
	v := m.log.do(&metapb.ForgetNode{NodeId: int32(id), NodeEpoch: n.Epoch})
	if n.Live {
		expect(t, v.Code, NodeLive)
		return
	}
	expect(t, v.Code, OK)
	expect(t, fmt.Sprint(v.Lost), fmt.Sprint(would))
	for tp, epoch := range epochs {
		expect(t, m.log.s.Partition(tp).LeaderEpoch(), epoch+1)
	}
	for _, l := range v.Lost {
		expect(t, l.Records, uint64(l.NextOffset-l.BaseOffset))
		for offset := l.BaseOffset; offset < l.NextOffset; offset++ {
			if r := &m.records[l.Partition][offset]; r.lost {
				t.Fatalf("%s: offset %d is lost twice", l.Partition, offset)
			} else {
				r.lost = true
			}
		}
	}
}

// check: every record that was acknowledged and not declared lost is where the state says, on every disk that it was written to and that
// is still there; and what was lost had no other place.
func (m *copiesMachine) check(t *rapid.T) {
	s := m.log.s
	if err := s.invariants(); err != nil {
		t.Fatal(err)
	}
	for tp, records := range m.records {
		for offset := m.start[tp]; offset < int64(len(records)); offset++ {
			want := records[offset]
			l, ok := s.Locate(tp, offset)
			found := ok && l.BaseOffset <= offset
			switch {
			case want.lost && found:
				t.Fatalf("%s: offset %d is lost, and found at %+v", tp, offset, l)
			case want.lost || found && l.Tier == TierSegment:
				continue
			case !found:
				t.Fatalf("%s: offset %d is nowhere", tp, offset)
			}
			if (l.Copy.Node != 0) != (want.places == 2) {
				t.Fatalf("%s: offset %d was written to %d disks, and is at %+v", tp, offset, want.places, l)
			}
			m.mustHave(t, tp, offset, l.Node, l.Segment, l.Position, want)
			if l.Copy.Node != 0 {
				m.mustHave(t, tp, offset, l.Copy.Node, l.Copy.Segment, l.Copy.Position, want)
			}
		}
	}
	if s.Hash() != s.reread(t).Hash() {
		t.Fatal("a snapshot is not the state")
	}
}

func (m *copiesMachine) mustHave(t *rapid.T, tp TopicPartition, offset int64, id NodeID, segment, position uint64, want copiedRecord) {
	for _, n := range m.nodes {
		if n.id == id && n.gone {
			return
		}
	}
	if !m.has(id, segment, position, want) {
		t.Fatalf("%s: offset %d, of chunk %d, is not at %d in segment %d of node %d", tp, offset, want.chunk, position, segment, id)
	}
}

// TestModelOfCopies: whatever is sealed, shipped, restarted and lost, in whatever order, nothing is deleted that is referred to, and a
// replicated record is lost only with both its disks.
func TestModelOfCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &copiesMachine{log: newTestLog(t), records: map[TopicPartition][]copiedRecord{}, start: map[TopicPartition]int64{}}
		m.log.lead(1)
		m.log.topic("once", 2, &metapb.ConfigEntry{Name: "varve.durability", Value: "local"})
		m.log.topic("twice", 2, &metapb.ConfigEntry{Name: "varve.durability", Value: "replicated"})
		m.add(t)
		m.add(t)
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "add": m.add, "restart": m.restart, "away": m.away, "write": m.write, "write2": m.write, "write3": m.write, "commit": m.commit, "commit2": m.commit,
			"commit3": m.commit, "roll": m.roll, "seal": m.seal, "clean": m.clean, "retire": m.retire, "ship": m.ship, "trim": m.trim, "destroy": m.destroy, "forget": m.forget,
		})
	})
}
