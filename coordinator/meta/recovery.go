package meta

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// What a recovery skips, so that nothing that a process of a former log has given, unseen, is given again: epochs of nodes and jobs name
// objects in the bucket, producer ids and leader epochs are known to clients. Each log has a range of its own of all of them, by the number of logs
// before it: a state that knew nothing of the former log's would else begin where that has begun.
const (
	recoveryEpochs       = 1_000_000
	recoveryJobs         = 1 << 40
	recoveryProducers    = 1 << 40
	recoveryLeaderEpochs = 1000 // of two billion
)

// Recovery turns the last state that is known of a lost log into the first of a new one. What is in the bucket beyond that state is adopted,
// what was nowhere but on disks that are gone is declared lost:
//
//	NewRecovery → SetTime → NoteStoredEnds… → AdoptPart…, AdoptChunk…, KeepDisks → EndTransactions → SealAll → Rescues, AdoptPart… → Lost, DeclareLost → PlaceFill… → Finish
//
// It is as deterministic as the state itself: what it decides depends on its input alone.
type Recovery struct {
	a        applier
	lost     map[*Partition][]span
	kept     func(*Node) bool
	holds    func(node NodeID, segment uint64, position, length uint32) bool // of disks that are kept
	adopted  map[TopicID]bool                                                // topics that the state did not know
	below    map[*Partition]map[int64]int64                                  // where transactions begin in adopted parts below the partition's end, by producer
	belowEnd map[*Partition]int64                                            // where the last part ended that below was asked of
	rescuing bool
	first    JobID          // of the jobs that the state did not know yet
	underWay map[JobID]bool // of those that it knew, the ones that had not ended
	former   uint64         // logs that the new one follows on, as far as is known
	cut      []cutShort
	aborted  map[string]bool     // transactional ids of which a transaction was aborted
	holed    map[*Partition]bool // partitions in which offsets were skipped behind the state
	// seen are batches of producers that are in the log though it does not remember them; filled counts those of them that are held to have been where
	// nothing is known. coming counts those that stand in chunks which are still to be adopted, storedIn names them by chunk.
	seen     map[seenBatch]bool
	filled   map[*Partition]int64
	coming   map[seenBatch]int
	storedIn map[*metapb.CommitChunk][]seenBatch
	// storedEnds are markers that an earlier recovery has stored, by offset.
	storedEnds map[*Partition]map[int64]PartEvent
	anew       map[*Partition]bool // partitions that have given offsets to chunks, in an epoch of the new log's
	others     int                 // transactions that were aborted and whose ids are not known
	ended      []*Node             // that were live as far as the state knew
}

// span is a range of offsets of which the bytes are gone.
type span struct {
	base, next int64
	node       NodeID // on whose disk they were, 0 where that is not known
	known      bool   // the state knew what was there, so that every offset is one that was given
}

// NewRecovery begins with a state that is not used any more otherwise; New(logID) where nothing is left. former is how many logs the new one follows
// on: those of a cluster that have been recovered, and this one.
func NewRecovery(s *State, former int) *Recovery {
	r := &Recovery{
		former: uint64(former),
		a:      applier{State: s, recovering: true, endings: newEndings()}, lost: map[*Partition][]span{}, kept: func(*Node) bool { return false },
		first: s.nextJob, underWay: map[JobID]bool{},
		adopted: map[TopicID]bool{}, below: map[*Partition]map[int64]int64{}, belowEnd: map[*Partition]int64{},
		storedEnds: map[*Partition]map[int64]PartEvent{},
		holed:      map[*Partition]bool{}, seen: map[seenBatch]bool{}, filled: map[*Partition]int64{},
		coming: map[seenBatch]int{}, storedIn: map[*metapb.CommitChunk][]seenBatch{}, anew: map[*Partition]bool{}, aborted: map[string]bool{},
	}
	r.a.precedes, r.a.noteStored, r.a.isSeen = r.precedes, r.noteStored, r.isSeen
	s.pending = frames{}
	for _, j := range s.Jobs() {
		r.underWay[j.ID] = true
		r.a.endJob(s.jobs[j.ID], false)
	}
	for _, n := range s.nodes {
		if n.Live {
			n.Live = false
			r.a.depart(n)
			r.ended = append(r.ended, n)
		}
	}
	return r
}

// SetTime has state time go on to a time, unless it is there already. It comes before everything that is adopted or lost: that is as old as the recovery, and
// not as the last state that is known, or the new log's first Tick would find it to have expired.
func (r *Recovery) SetTime(millis int64) {
	r.a.timeMillis = max(r.a.timeMillis, millis)
	for _, n := range r.ended {
		r.a.depart(n)
	}
}

// State is the state as far as it has come, for looking at.
func (r *Recovery) State() *State { return r.a.State }

// Adoptable says whether an object that the bucket holds may have become part of the log after the last state that is known. Of all others
// that state says that they had not, and never would.
func (r *Recovery) Adoptable(key string) bool {
	s := r.a.State
	if o, ok := ParseSegmentKey(key); ok {
		return s.objects[o] == nil && (o.Job >= r.first || r.underWay[o.Job])
	}
	c, ok := ParseChunkKey(key)
	return ok && s.chunks[c] == nil && s.Referenced(key)
}

// FirstJob is the first number that the state had not given to a job.
func (r *Recovery) FirstJob() JobID { return r.first }

// Refers says whether the state has something in a segment object.
func (r *Recovery) Refers(id SegmentID) bool { return r.a.objects[id] != nil }

// KeepDisks says which nodes' disks are there, and what they hold: bytes of a hot segment. What the state has there stays. Everything else that it has on
// disks is lost.
func (r *Recovery) KeepDisks(kept func(*Node) bool, holds func(node NodeID, segment uint64, position, length uint32) bool) {
	r.kept, r.holds = kept, holds
}

// SealAll seals what is open, and gives up the runs on disks that are gone.
func (r *Recovery) SealAll() {
	s := r.a.State
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			r.dropLost(p)
		}
	}
	for _, c := range slices.Collect(s.byID) {
		if !c.sealed {
			r.a.seal(c)
		}
	}
	for _, n := range s.nodes {
		if !r.kept(n) {
			n.released = nil
		}
	}
	r.rescuing = true
}

func (r *Recovery) isLost(run *run, c *container) bool {
	if c.isChunk() || r.isThere(c.node, c.segment, run.position, run.length) {
		return false
	}
	return c.copy.node == 0 || !r.isThere(c.copy.node, c.copy.segment, c.copyPosition(run.position), run.length)
}

func (r *Recovery) isThere(node NodeID, segment uint64, position, length uint32) bool {
	return r.kept(r.a.Node(node)) && r.holds(node, segment, position, length)
}

// dropLost takes out the runs and local copies whose disk is gone.
func (r *Recovery) dropLost(p *Partition) {
	r.dropRuns(p, r.isLost)
	var copies []run
	p.local = slices.DeleteFunc(slices.Clone(p.local), func(run run) bool {
		lost := r.isLost(&run, r.a.containerSlots[run.container])
		if lost {
			copies = append(copies, run)
		}
		return lost
	})
	if len(p.local) == 0 {
		p.local = nil
	}
	p.localBytes -= sumLengths(copies)
	r.a.dropLocal(copies)
}

// dropRuns gives up some runs.
func (r *Recovery) dropRuns(p *Partition, lost func(*run, *container) bool) {
	var gone []run
	p.runs = slices.DeleteFunc(slices.Clone(p.runs), func(run run) bool {
		c := r.a.containerSlots[run.container]
		if !lost(&run, c) {
			return false
		}
		gone = append(gone, run)
		s := span{base: run.base, next: run.next(), known: true}
		if !c.isChunk() {
			s.node = c.node
		}
		r.addSpan(p, s)
		return true
	})
	if len(p.runs) == 0 {
		p.runs = nil
	}
	p.runBytes -= sumLengths(gone)
	r.a.dropLive(gone)
}

func (r *Recovery) addSpan(p *Partition, s span) {
	spans := r.lost[p]
	if n := len(spans); n > 0 && spans[n-1].next == s.base && spans[n-1].node == s.node && spans[n-1].known == s.known {
		spans[n-1].next = s.next
		return
	}
	r.lost[p] = append(spans, s)
}

// Lost is a range of offsets whose records are gone.
type Lost struct {
	Topic     string
	TopicID   TopicID
	Partition int32
	// Offsets [BaseOffset, NextOffset).
	BaseOffset, NextOffset int64
	// Node is on whose disk they were, 0 where that is not known.
	Node NodeID
	// Known: the metadata knew of the records. Otherwise offsets were skipped, because what is behind them is there.
	Known bool
	// Deletable: the log began with them when what is behind them was stored, and retention may have taken them since.
	Deletable bool
}

// Lost are the ranges that are gone, in order of topic name, partition and offset.
func (r *Recovery) Lost() (out []Lost) {
	for _, t := range r.a.topicOrder {
		for _, p := range t.partitions {
			spans := r.spans(p)
			for _, s := range spans {
				out = append(out, Lost{
					Topic: t.Name, TopicID: t.ID, Partition: p.index, BaseOffset: max(s.base, p.logStart), NextOffset: s.next, Node: s.node, Known: s.known,
					Deletable: !s.known && s.base <= p.logStart && t.Config.Delete,
				})
			}
		}
	}
	return out
}

func (r *Recovery) spans(p *Partition) []span {
	spans := slices.DeleteFunc(slices.Clone(r.lost[p]), func(s span) bool { return s.next <= p.logStart })
	slices.SortFunc(spans, func(x, y span) int { return cmp.Compare(x.base, y.base) })
	return spans
}

// DeclareLost makes gaps of what is lost, as forgetting a node does, but for markers that have to be there.
func (r *Recovery) DeclareLost() {
	for _, t := range r.a.topicOrder {
		for _, p := range t.partitions {
			r.markAborts(p)
			for _, s := range r.spans(p) {
				p.addGap(gap{max(s.base, p.logStart), s.next, r.a.timeMillis})
			}
		}
	}
	clear(r.lost)
}

// Fill is a range of a partition that a stored part is to take: markers that have no run left to be stored with, one behind the other.
type Fill struct {
	Topic       *Topic
	Partition   int32
	LeaderEpoch int32
	Markers     []TransactionMarker
}

// Fills are the parts that PlaceFill wants, in order of topic id, partition and offset. Without them the markers would never be stored, and
// keep compaction from what lies behind them.
func (r *Recovery) Fills() (fills []Fill) {
	for _, t := range r.a.topicOrder {
		for _, p := range t.partitions {
			fills = append(fills, r.fills(p)...)
		}
	}
	slices.SortFunc(fills, func(x, y Fill) int {
		return cmp.Or(slices.Compare(x.Topic.ID[:], y.Topic.ID[:]), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Markers[0].Offset, y.Markers[0].Offset))
	})
	return fills
}

func (r *Recovery) fills(p *Partition) (fills []Fill) {
	with := map[int64]bool{}
	for i := range p.runs {
		p.markersWith(&p.runs[i], func(m TransactionMarker) { with[m.Offset] = true })
	}
	for _, m := range p.markers {
		if with[m.Offset] {
			continue
		}
		epoch := p.EpochAt(m.Offset)
		if n := len(fills); n > 0 && fills[n-1].Markers[len(fills[n-1].Markers)-1].Offset == m.Offset-1 && fills[n-1].LeaderEpoch == epoch {
			fills[n-1].Markers = append(fills[n-1].Markers, m)
			continue
		}
		fills = append(fills, Fill{p.topic, p.index, epoch, []TransactionMarker{m}})
	}
	return fills
}

// PlaceFill puts a stored object's parts, which are Fills, in their places.
func (r *Recovery) PlaceFill(o *metapb.SegmentObject) error {
	stored := &object{id: SegmentID{JobID(o.JobId), o.Ordinal}, sizeBytes: o.SizeBytes, createdMillis: r.a.timeMillis}
	for _, c := range o.Parts {
		p := r.a.Partition(TopicPartition{TopicID(c.GetTopicId()), c.Partition})
		if p == nil {
			return fmt.Errorf("place part of %x-%d: no such partition", c.TopicId, c.Partition)
		}
		p.cutMarkers(c.BaseOffset, c.NextOffset)
		r.insertPart(p, stored, c)
	}
	r.a.objects[stored.id] = stored
	return nil
}

func (r *Recovery) insertPart(p *Partition, stored *object, c *metapb.Part) {
	at := firstPart(p.parts, c.BaseOffset)
	p.parts = slices.Insert(p.parts, at, part{
		base: c.BaseOffset, next: c.NextOffset, maxTimestamp: c.MaxTimestamp, maxTimestampOffset: c.MaxTimestampOffset,
		minTimestamp: c.MinTimestamp, position: c.Position, length: c.Length, indexPosition: c.IndexPosition, indexLength: c.IndexLength,
		records: c.Records, object: stored,
	})
	p.partBytes += c.Length
	stored.refs++
}

// NoteSegment keeps the id of a job that has stored something from being given again, whatever becomes of that.
// It is false where no job has had that id.
func (r *Recovery) NoteSegment(id SegmentID) bool {
	given := uint64(id.Job)/recoveryJobs < r.former+maxUnseenLogs
	if given {
		r.a.nextJob = max(r.a.nextJob, id.Job+1)
	}
	return given
}

// LogOfJob and LogOfEpoch say how many logs were before the one that has given a job's number, or a leader epoch.
func LogOfJob(id JobID) uint64      { return uint64(id) / recoveryJobs }
func LogOfEpoch(epoch int32) uint64 { return uint64(max(0, epoch)) / recoveryLeaderEpochs }

// LogOfNodeEpoch says the same of an epoch that a node was given.
func LogOfNodeEpoch(epoch uint64) uint64 { return epoch / recoveryEpochs }

// maxUnseenLogs bounds the logs that may have followed on those that are known of. An id behind their ranges is one that nobody gave: clients may name any.
const maxUnseenLogs = 1000

// generation is the number of logs that the new one follows on, by what has been given to clients and objects, too: their count may be lost.
func (r *Recovery) generation() uint64 {
	return max(r.former, uint64(r.a.nextJob)/recoveryJobs+1, uint64(r.a.nextProducerID)/recoveryProducers+1)
}

// Job is the id under which the recovery's own objects are stored, which no worker of the former log comes to. Attempts that differ must
// not share it: salt tells them apart.
func (r *Recovery) Job(salt uint32) JobID {
	return JobID(r.generation()*recoveryJobs + uint64(salt))
}

// Finish makes the state the first of the log with this id. job is what Job has given. It must have no holes any more; the state is whole
// when a snapshot of it can be read.
func (r *Recovery) Finish(logID [16]byte, job JobID) (*State, error) {
	s := r.a.State
	s.logID, s.seq, s.voidEntries, s.topicsSeq = logID, 1, 0, 1
	s.leader.address, s.leader.name = "", ""
	generation := r.generation()
	s.nextJob = JobID(generation*recoveryJobs+uint64(job)%recoveryJobs) + 1 // of the log that the epochs are of, whatever has been found since
	s.nextProducerID = int64(generation * recoveryProducers)
	highest := max(s.nodeEpochFloor, (generation-1)*recoveryEpochs)
	for _, n := range s.nodes {
		highest = max(highest, n.Epoch)
	}
	s.nodeEpochFloor = (highest/recoveryEpochs + 1) * recoveryEpochs
	for _, n := range s.nodes {
		n.succeed()
		n.Epoch, n.incarnation, n.lanes = s.nodeEpochFloor, nil, nil
	}
	for _, t := range s.topicOrder {
		for _, p := range t.partitions {
			if r.anew[p] {
				p.raiseLeaderEpoch()
			} else {
				p.beginLeaderEpochAt(newLeaderEpoch(p, generation), p.next)
			}
		}
	}
	s.garbage = slices.DeleteFunc(s.garbage, func(g Garbage) bool {
		id, ok := ParseSegmentKey(g.Key)
		taken := ok && s.objects[id] != nil
		if taken { // it was rescued
			delete(s.garbageKeys, g.Key)
		}
		return taken
	})
	s.dueMillis.Store(0)
	var parts [][]byte
	if err := s.WriteSnapshot(func(part []byte) error { parts = append(parts, part); return nil }); err != nil {
		return nil, err
	}
	whole, err := ReadSnapshot(func(yield func([]byte, error) bool) {
		for _, part := range parts {
			if !yield(part, nil) {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("the recovered state is not whole: %w", err)
	}
	return whole, nil
}
