package meta

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/chunk"
)

var update = flag.Bool("update", false, "rewrite the scenarios' expected output")

// TestScenarios plays testdata/*.txt: a line is a command, the indented lines below it are what it must answer. After every
// command the state's invariants are checked, and that it survives a snapshot.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(script))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(script) {
				t.Errorf("%s: %s", file, firstDifference(string(script), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		wl, gl := "", ""
		if i < len(w) {
			wl = w[i]
		}
		if i < len(g) {
			gl = g[i]
		}
		if wl != gl {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, wl, gl)
		}
	}
	return "no difference"
}

func play(t *testing.T, script string) string {
	l := newTestLog(t)
	l.lead(1)
	p := player{testLog: l, seqs: map[[3]uint64]uint64{}, positions: map[[2]uint64]uint32{}}
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || line[0] == '#' {
			continue
		}
		for answer := range strings.Lines(p.line(line)) {
			fmt.Fprintf(&out, "\t%s\n", strings.TrimRight(answer, "\n"))
		}
		if err := l.s.invariants(); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if again := l.s.reread(t); again.Hash() != l.s.Hash() {
			t.Fatalf("after %q: another hash after a snapshot", line)
		}
	}
	return out.String()
}

// player knows the words of the scenarios.
type player struct {
	*testLog
	seqs      map[[3]uint64]uint64
	positions map[[2]uint64]uint32
}

func (p *player) line(line string) string {
	f := strings.Fields(line)
	args := f[1:]
	switch f[0] {
	case "at": // at MILLIS: time of what follows
		p.now = number(args[0])
		return ""
	case "lead":
		p.epoch = uint64(number(args[0]))
		return describe(p.do(&metapb.LeaderStart{Epoch: p.epoch}))
	case "level": // level LEVEL: what everybody knows
		return describe(p.do(&metapb.RaiseFeatureLevel{Level: uint32(number(args[0]))}))
	case "register": // register DISK [SEGMENT...]
		var segments []uint64
		for _, a := range args[1:] {
			segments = append(segments, uint64(number(a)))
		}
		v := p.register(args[0], segments...)
		return fmt.Sprintf("%s node %d epoch %d unreferenced %v missing %v", v.Code, v.NodeID, v.NodeEpoch, v.UnreferencedSegments, v.MissingSegments)
	case "live": // live NODE true|false
		n := p.s.Node(NodeID(number(args[0])))
		return describe(p.do(&metapb.SetNodeLive{NodeId: int32(n.ID), NodeEpoch: n.Epoch, Live: args[1] == "true"}))
	case "drain": // drain NODE [closed]
		n := p.s.Node(NodeID(number(args[0])))
		return describe(p.do(&metapb.DrainNode{NodeId: int32(n.ID), NodeEpoch: n.Epoch, Closed: len(args) > 1}))
	case "unshipped": // unshipped NODE
		alone, copied := p.s.UnshippedOn(NodeID(number(args[0])))
		n := p.s.Node(NodeID(number(args[0])))
		also := ""
		if copied.Segments > 0 {
			also = fmt.Sprintf("; %d segments, %d bytes on nodes %v too", copied.Segments, copied.Bytes, copied.Peers)
		}
		return fmt.Sprintf("%d segments, %d bytes%s; serves %v, answers %v", alone.Segments, alone.Bytes, also, n.Serves(), n.Answers())
	case "topic": // topic NAME PARTITIONS [CONFIG=VALUE...]
		return describe(p.topic(args[0], int32(number(args[1])), entries(args[2:])...))
	case "delete":
		id := topicID(args[0])
		return describe(p.do(&metapb.DeleteTopic{TopicId: id[:]}))
	case "partitions":
		id := topicID(args[0])
		return describe(p.do(&metapb.CreatePartitions{TopicId: id[:], Count: int32(number(args[1]))}))
	case "config": // config topic|cluster|node NAME CONFIG=VALUE...
		c := &metapb.AlterConfig{Name: args[1], Entries: entries(args[2:])}
		switch args[0] {
		case "cluster":
			c.Resource, c.Name = metapb.AlterConfig_BROKER, ""
		case "node":
			c.Resource = metapb.AlterConfig_BROKER
		}
		return describe(p.do(c))
	case "chunk":
		return p.chunk(args)
	case "seal": // seal NODE SEGMENT
		c := &metapb.SealContainer{NodeId: int32(number(args[0])), Segment: uint64(number(args[1]))}
		if n := p.s.Node(NodeID(c.NodeId)); n != nil {
			c.NodeEpoch = n.Epoch
		}
		return describe(p.do(c))
	case "trim": // trim TOPIC-PARTITION OFFSET
		tp := partition(args[0])
		v := p.do(&metapb.AdvanceLogStart{TopicId: tp.Topic[:], Partition: tp.Partition, Offset: number(args[1])})
		return fmt.Sprintf("%s log start %d", v.Code, v.LogStartOffset)
	case "lease":
		return p.lease(args)
	case "finish":
		return p.finish(args)
	case "tick": // tick [retention]
		return describe(p.do(&metapb.Tick{Retention: len(args) > 0}))
	case "due": // due MILLIS
		d := p.s.Due(number(args[0]))
		next := "never"
		if d.NextMillis < math.MaxInt64 {
			next = strconv.FormatInt(d.NextMillis, 10)
		}
		return fmt.Sprintf("tick %v retention %v next %s", d.Tick, d.Retention, next)
	case "locate": // locate TOPIC-PARTITION OFFSET
		location, ok := p.s.Locate(partition(args[0]), number(args[1]))
		return describeLocation(location, ok)
	case "time": // time TOPIC-PARTITION MILLIS FROM
		location, ok := p.s.OffsetForTime(partition(args[0]), number(args[1]), number(args[2]))
		return describeLocation(location, ok)
	case "released": // released NODE
		return fmt.Sprint(p.s.Released(NodeID(number(args[0]))))
	case "remove": // remove NODE SEGMENT...
		c := &metapb.LocalReleased{NodeId: int32(number(args[0]))}
		for _, a := range args[1:] {
			c.Segments = append(c.Segments, uint64(number(a)))
		}
		return describe(p.do(c))
	case "garbage":
		var out []string
		for _, g := range p.s.Garbage() {
			out = append(out, g.Key)
		}
		return strings.Join(out, "\n")
	case "forget":
		return describe(p.do(&metapb.ForgetGarbage{Keys: args}))
	case "referenced":
		return fmt.Sprint(p.s.Referenced(args[0]))
	case "producer":
		return fmt.Sprint(p.do(&metapb.AllocateProducerId{}).ProducerID)
	case "group": // group NAME MEMBERS
		c := &metapb.StoreGroup{Group: args[0], Kind: "classic", StateSinceMillis: p.now}
		for i := range number(args[1]) {
			c.Members = append(c.Members, &metapb.GroupMember{MemberId: fmt.Sprint("m", i)})
		}
		return describe(p.do(c))
	case "commit": // commit GROUP TOPIC-PARTITION=OFFSET...
		c := &metapb.CommitOffsets{Group: args[0]}
		for _, a := range args[1:] {
			name, offset, _ := strings.Cut(a, "=")
			tp := partition(name)
			c.Offsets = append(c.Offsets, &metapb.CommittedOffset{TopicId: tp.Topic[:], Partition: tp.Partition, Offset: number(offset), CommitMillis: p.now})
		}
		return fmt.Sprint(p.do(c).Codes)
	case "forget-offsets": // forget-offsets GROUP TOPIC-PARTITION...
		c := &metapb.DeleteOffsets{Group: args[0]}
		for _, a := range args[1:] {
			tp := partition(a)
			c.Offsets = append(c.Offsets, &metapb.CommittedOffset{TopicId: tp.Topic[:], Partition: tp.Partition})
		}
		return describe(p.do(c))
	case "delete-groups":
		return fmt.Sprint(p.do(&metapb.DeleteGroups{Groups: args}).Codes)
	case "nodes": // by number, with their epochs
		var out []string
		for _, n := range p.s.Nodes() {
			_, puts := p.s.NodeOverride(strconv.Itoa(int(n.ID)), ObjectPutsPerSecond)
			out = append(out, fmt.Sprintf("node %d epoch %d live %v own settings %v", n.ID, n.Epoch, n.Live, puts))
		}
		return strings.Join(out, "\n")
	case "state": // the topics, containers and groups
		return p.state()
	}
	if answer, ok := p.transactionLine(f[0], args); ok {
		return answer
	}
	if answer, ok := p.compactionLine(f[0], args); ok {
		return answer
	}
	p.t.Fatalf("no such word: %s", line)
	return ""
}

func (p *player) state() string {
	var out strings.Builder
	if err := p.s.Dump(&out, true); err != nil {
		p.t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(out.String()) {
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "log", "leader", "next", "node", "config":
		default:
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(kept, "\n")
}

// chunk NODE LANE[/SEQ] SEGMENT [epoch=E] [copy=NODE/SEGMENT] RUN...; segment 0 is an object chunk. A run is TOPIC-PARTITION:BATCH[,BATCH...], a batch
// RECORDS[@TIMESTAMP] or RECORDS/pPRODUCERsSEQUENCE[eEPOCH][t|j], each of 100 bytes: t is transactional, j joins its transaction too.
func (p *player) chunk(args []string) string {
	node, segment := NodeID(number(args[0])), uint64(number(args[2]))
	var epoch uint64
	if n := p.s.Node(node); n != nil {
		epoch = n.Epoch
	}
	laneName, seqName, given := strings.Cut(args[1], "/")
	lane := number(laneName)
	var batches []chunk.Batch
	void := false
	var copied *metapb.ChunkCopy
	var hedgeWon, hedges uint32
	for _, a := range args[3:] {
		if e, ok := strings.CutPrefix(a, "epoch="); ok {
			epoch = uint64(number(e))
			continue
		}
		if place, ok := strings.CutPrefix(a, "copy="); ok {
			peer, in, _ := strings.Cut(place, "/")
			copied = &metapb.ChunkCopy{NodeId: int32(number(peer)), NodeEpoch: p.s.Node(NodeID(number(peer))).Epoch, Segment: uint64(number(in))}
			continue
		}
		if hedge, ok := strings.CutPrefix(a, "hedge="); ok {
			won, of, _ := strings.Cut(hedge, "/")
			hedgeWon, hedges = uint32(number(won)), uint32(number(of))
			continue
		}
		if a == "void" {
			void = true
			continue
		}
		name, list, _ := strings.Cut(a, ":")
		tp := partition(name)
		for b := range strings.SplitSeq(list, ",") {
			batches = append(batches, batchOf(tp, b))
		}
	}
	key := [3]uint64{uint64(node), epoch, uint64(lane)}
	seq := p.seqs[key] + 1
	if given {
		seq = uint64(number(seqName))
	} else {
		p.seqs[key] = seq
	}
	position := p.positions[[2]uint64{uint64(node), segment}]
	c := commitOf(node, epoch, uint32(lane), seq, segment, position, batches...)
	c.VoidChunk, c.Hedge, c.Hedges = void, hedgeWon, hedges
	if segment != 0 {
		p.positions[[2]uint64{uint64(node), segment}] += uint32(c.ChunkBytes)
	}
	if copied != nil {
		at := [2]uint64{uint64(copied.NodeId), copied.Segment}
		copied.Position = p.positions[at]
		p.positions[at] += uint32(c.ChunkBytes)
		c.Copy, c.Durability = copied, metapb.Durability_DURABILITY_REPLICATED
	}
	p.do(c)
	return describeChunk(p.chunks[0])
}

func batchOf(tp TopicPartition, text string) chunk.Batch {
	b := chunk.Batch{Topic: tp.Topic, Partition: tp.Partition, ProducerID: -1, MaxTimestamp: -1}
	text, joins := strings.CutSuffix(text, "j")
	text, transactional := strings.CutSuffix(text, "t")
	if joins {
		b.Attributes = attrTransactional | chunk.AttrJoinsTransaction
	} else if transactional {
		b.Attributes = attrTransactional
	}
	count, rest, idempotent := strings.Cut(text, "/p")
	count, timestamp, timed := strings.Cut(count, "@")
	b.Records = uint32(number(count))
	if timed {
		b.MaxTimestamp = number(timestamp)
	}
	if idempotent {
		producer, sequence, _ := strings.Cut(rest, "s")
		sequence, epoch, hasEpoch := strings.Cut(sequence, "e")
		b.ProducerID, b.BaseSequence = number(producer), int32(number(sequence))
		if hasEpoch {
			b.ProducerEpoch = int16(number(epoch))
		}
	}
	return b
}

func describeChunk(v ChunkVerdict) string {
	if v.Code != OK {
		return fmt.Sprintf("%s expected %d", v.Code, v.Expected)
	}
	if len(v.Runs) == 0 {
		return "ok, nothing in it"
	}
	var lines []string
	for _, r := range v.Runs {
		line := r.Code.String()
		if r.Code == OK {
			line = fmt.Sprintf("ok at %d", r.BaseOffset)
		}
		for _, b := range r.Batches {
			line += fmt.Sprintf(" | %s %d", b.Code, b.BaseOffset)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// lease [containers=N] [bytes=N]
func (p *player) lease(args []string) string {
	c := &metapb.LeaseJob{Worker: "w", LeaseMillis: 60_000}
	for _, a := range args {
		if n, ok := strings.CutPrefix(a, "containers="); ok {
			c.MaxContainers = uint32(number(n))
		}
		if n, ok := strings.CutPrefix(a, "bytes="); ok {
			c.MaxBytes = uint64(number(n))
		}
	}
	v := p.do(c)
	if v.Code != OK {
		return describe(v)
	}
	out := fmt.Sprintf("job %d", v.JobID)
	for c, runs := range p.s.JobContainers(v.JobID) {
		out += fmt.Sprintf("\ncontainer %d:", c.ID)
		for _, r := range runs {
			if r.Marker != nil {
				out += fmt.Sprintf(" %s-%d marker %d;", p.s.Topic(r.Partition.Topic).Name, r.Partition.Partition, r.BaseOffset)
				continue
			}
			out += fmt.Sprintf(" %s-%d [%d, %d) at %d+%d;", p.s.Topic(r.Partition.Topic).Name, r.Partition.Partition, r.BaseOffset, r.BaseOffset+int64(r.Records), r.Position, r.Length)
		}
	}
	return out
}

// finish JOB [failed] [OBJECT=TOPIC-PARTITION:BASE..NEXT[@MAXTIMESTAMP],...]...
func (p *player) finish(args []string) string {
	c := &metapb.FinishJob{JobId: uint64(number(args[0]))}
	for _, a := range args[1:] {
		if a == "failed" {
			c.Failed = true
			continue
		}
		ordinal, list, _ := strings.Cut(a, "=")
		o := &metapb.SegmentObject{JobId: c.JobId, Ordinal: uint32(number(ordinal)), SizeBytes: 1000}
		for text := range strings.SplitSeq(list, ",") {
			name, offsets, _ := strings.Cut(text, ":")
			offsets, timestamp, timed := strings.Cut(offsets, "@")
			from, to, _ := strings.Cut(offsets, "..")
			tp := partition(name)
			part := &metapb.Part{TopicId: tp.Topic[:], Partition: tp.Partition, BaseOffset: number(from), NextOffset: number(to), Length: 50, MaxTimestamp: -1}
			part.Records = uint64(part.NextOffset - part.BaseOffset)
			if timed {
				part.MaxTimestamp = number(timestamp)
			}
			o.Parts = append(o.Parts, part)
		}
		c.Objects = append(c.Objects, o)
	}
	v := p.do(c)
	return fmt.Sprintf("%s taken %d dropped %d", v.Code, v.PartsTaken, v.PartsDropped)
}

func describe(v Verdict) string {
	if v.Message != "" {
		return v.Code.String() + ": " + v.Message
	}
	return v.Code.String()
}

func describeLocation(l Location, ok bool) string {
	switch {
	case !ok:
		return "nowhere"
	case l.Tier == TierMarker:
		return fmt.Sprintf("[%d, %d) marker of producer %d", l.BaseOffset, l.NextOffset, l.Marker.ProducerID)
	case l.Tier == TierHot:
		return fmt.Sprintf("[%d, %d) on node %d in segment %d at %d+%d", l.BaseOffset, l.NextOffset, l.Node, l.Segment, l.Position, l.Length)
	}
	return fmt.Sprintf("[%d, %d) in %s at %d+%d", l.BaseOffset, l.NextOffset, l.Key(), l.Position, l.Length)
}

func partition(text string) TopicPartition {
	at := strings.LastIndexByte(text, '-')
	return TopicPartition{topicID(text[:at]), int32(number(text[at+1:]))}
}

func entries(args []string) []*metapb.ConfigEntry {
	m := map[string]string{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		m[name] = value
	}
	var out []*metapb.ConfigEntry
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &metapb.ConfigEntry{Name: name, Value: m[name], Unset: m[name] == "(unset)"})
	}
	return out
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
