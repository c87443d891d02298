package meta

import (
	"math"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// round is the compaction that a job is: one pass over a partition from its log start to an offset; or one that merges, which begins anywhere.
type round struct {
	partition TopicPartition
	to        int64 // it goes up to there
	done      int64 // it has come so far; no more than to
	merges    bool  // it drops nothing
}

// Round is a view of a round of compaction under lease.
type Round struct {
	JobID                 JobID
	Partition             TopicPartition
	Topic                 *Topic
	LogStart              int64
	CleanedTo             int64
	NowMillis             int64
	DeleteRetentionMillis int64
	Merges                bool  // nothing is to be dropped
	ObjectBytes           int64 // what is stored is to be about as large at most
	Parts                 []Location
	// Sources says of each part whether it may be made of object chunks and hot segments that are still there, which are There.
	Sources []bool
	There   There
	Aborted []AbortedTransaction // with records in the parts
}

// Round describes the round that a job is, false where it has ended or is none.
func (s *State) Round(id JobID) (Round, bool) {
	j := s.jobs[id]
	if j == nil || j.round == nil {
		return Round{}, false
	}
	p := s.Partition(j.round.partition)
	if p == nil {
		return Round{}, false
	}
	out := Round{
		JobID: id, Partition: j.round.partition, Topic: p.topic, LogStart: p.logStart, CleanedTo: p.CleanedOffset(), NowMillis: s.timeMillis,
		DeleteRetentionMillis: p.topic.Config.DeleteRetentionMillis, Merges: j.round.merges, ObjectBytes: p.topic.Config.SegmentBytes,
	}
	first, settled := 0, s.settledMillis()
	if out.Merges {
		first, out.ObjectBytes = firstPart(p.parts, j.round.done), int64(p.topic.mergedBytes())
	}
	for i := first; i < len(p.parts) && p.parts[i].next <= j.round.to; i++ {
		out.Parts = append(out.Parts, p.parts[i].location())
		out.Sources = append(out.Sources, p.parts[i].object.createdMillis >= settled)
	}
	if slices.Contains(out.Sources, true) {
		out.There = s.there(maxThere)
	}
	if out.Merges {
		return out, true
	}
	for _, t := range p.aborted {
		if t.FirstOffset < j.round.to {
			out.Aborted = append(out.Aborted, t)
		}
	}
	return out, true
}

func (a *applier) leaseCompaction(c *metapb.LeaseCompaction) Verdict {
	if c.LeaseMillis <= 0 || c.LeaseMillis > maxLeaseMillis {
		return refuse(Malformed, "lease of %d ms", c.LeaseMillis)
	}
	r := a.nextRound(a.timeMillis, c.Merging)
	if r == nil {
		return Verdict{Code: NothingWaits}
	}
	j := &job{id: a.nextJob, worker: c.Worker, leaseUntilMillis: a.timeMillis + c.LeaseMillis, round: r}
	a.nextJob++
	a.jobs[j.id] = j
	a.Partition(r.partition).clean().job = j.id
	a.dueBy(j.leaseUntilMillis)
	return Verdict{JobID: j.id}
}

// endRound ends a job that is a round of compaction. One that came to nothing waits a while.
func (a *applier) endRound(j *job, failed bool) {
	delete(a.jobs, j.id)
	p := a.Partition(j.round.partition)
	if p == nil {
		return
	}
	c := p.clean()
	c.job = 0
	if failed {
		c.notBeforeMillis = a.timeMillis + min(int64(retryMillis)<<min(c.attempts, 16), maxRetryMillis)
		c.attempts++
	}
}

// compactRange takes a report of a round. One that does not fit what is there ends it.
func (a *applier) compactRange(c *metapb.CompactRange) Verdict {
	id := JobID(c.JobId)
	j := a.jobs[id]
	if j == nil || j.round == nil {
		a.discardCompacted(c)
		return Verdict{Code: UnknownJob, JobID: id}
	}
	r := j.round
	switch {
	case c.LeaseMillis <= 0 || c.LeaseMillis > maxLeaseMillis:
		return refuse(Malformed, "lease of %d ms", c.LeaseMillis)
	case c.ToOffset < c.FromOffset || c.ToOffset > r.to || c.Part != nil && (c.ToOffset == c.FromOffset || c.Part.Length == 0 || c.Part.Length > maxOffsetDistance),
		c.Done && c.CleanedTo > c.ToOffset:
		return refuse(Malformed, "range [%d, %d) cleaned to %d", c.FromOffset, c.ToOffset, c.CleanedTo)
	case c.FromOffset < r.done && c.ToOffset <= r.done && !c.Done && (c.Part == nil || a.objects[compactedID(c)] != nil):
		return Verdict{JobID: id} // a repeat
	}
	p := a.Partition(r.partition)
	if p != nil && c.FromOffset > r.done && c.FromOffset <= p.logStart {
		r.done = c.FromOffset // retention took what lay between before the worker saw it
	}
	if p != nil && p.isGap(r.done, c.FromOffset) {
		r.done = c.FromOffset
	}
	if p == nil || p.topic.Config.Compact == r.merges || c.FromOffset != r.done || !a.replaceParts(p, r, c) {
		a.discardCompacted(c)
		a.endRound(j, true)
		return Verdict{Code: UnknownJob, JobID: id}
	}
	r.done = c.ToOffset
	if c.Done {
		if r.merges {
			p.clean().attempts = 0
		} else {
			p.cleaned(c.CleanedTo, c.HorizonMillis)
		}
		a.endRound(j, false)
		return Verdict{JobID: id}
	}
	j.leaseUntilMillis = max(j.leaseUntilMillis, a.timeMillis+c.LeaseMillis)
	return Verdict{JobID: id}
}

func compactedID(c *metapb.CompactRange) SegmentID {
	return SegmentID{JobID(c.JobId), c.Part.GetOrdinal()}
}

// discardCompacted makes garbage of the object of a report that came to nothing, unless a first copy of the report brought it in.
func (a *applier) discardCompacted(c *metapb.CompactRange) {
	if c.Part == nil || c.JobId == 0 || JobID(c.JobId) >= a.nextJob {
		return
	}
	if id := compactedID(c); a.objects[id] == nil {
		a.addGarbage(id.Key())
	}
}

// replaceParts puts a report's part in the place of those it was made of: false where they are not, with what the log start has left of
// them, exactly the report's range.
func (a *applier) replaceParts(p *Partition, r *round, c *metapb.CompactRange) bool {
	if c.ToOffset <= p.logStart || c.ToOffset == c.FromOffset {
		a.discardCompacted(c) // retention was faster
		return true
	}
	from := firstPart(p.parts, max(c.FromOffset, p.logStart))
	if from == len(p.parts) || p.parts[from].base < c.FromOffset || p.parts[from].base > max(c.FromOffset, p.logStart) {
		return false
	}
	to := from + 1
	for ; p.parts[to-1].next < c.ToOffset; to++ {
		if to == len(p.parts) || p.parts[to].base != p.parts[to-1].next && (r.merges || !p.isGap(p.parts[to-1].next, p.parts[to].base)) {
			return false
		}
	}
	if p.parts[to-1].next != c.ToOffset {
		return false
	}
	if c.Part == nil {
		return true
	}
	if a.objects[compactedID(c)] != nil {
		return false
	}
	replaced := slices.Clone(p.parts[from:to])
	maxTimestampOffset, createdMillis := int64(-1), a.timeMillis
	if r.merges || a.leader.featureLevel >= retentionLevel {
		createdMillis = newestObject(replaced) // records without times are as old as they were
	}
	if r.merges {
		maxTimestampOffset = offsetOfTimestamp(replaced, c.Part.MaxTimestamp)
	} else {
		p.dropGaps(c.FromOffset, c.ToOffset)
		a.dropLocalRange(p, c.FromOffset, c.ToOffset)
	}
	stored := &object{id: compactedID(c), sizeBytes: c.Part.SizeBytes, createdMillis: createdMillis, refs: 1}
	a.objects[stored.id] = stored
	p.parts = slices.Replace(p.parts, from, to, part{
		base: c.FromOffset, next: c.ToOffset, maxTimestamp: c.Part.MaxTimestamp, maxTimestampOffset: maxTimestampOffset, minTimestamp: c.Part.MinTimestamp,
		position: c.Part.Position, length: c.Part.Length, indexPosition: c.Part.IndexPosition, indexLength: c.Part.IndexLength,
		records: c.Part.Records, object: stored,
	})
	p.partBytes += c.Part.Length
	for i := range replaced {
		p.partBytes -= replaced[i].length
		a.unref(replaced[i].object)
	}
	a.dueByRetention(p)
	return true
}

// dropLocalRange lets go of local copies that overlap a range: they would show what was compacted away.
func (a *applier) dropLocalRange(p *Partition, from, to int64) {
	first := firstRun(p.local, from)
	last := first
	for last < len(p.local) && p.local[last].base < to {
		last++
	}
	if first == last {
		return
	}
	gone := slices.Clone(p.local[first:last])
	p.localBytes -= sumLengths(gone)
	p.local = cutRuns(p.local, first, last)
	a.dropLocal(gone)
}

// snapshotCleaning is what a snapshot keeps of a partition's compaction. Which job is at it follows from the jobs.
func (p *Partition) snapshotCleaning() *metapb.SnapshotCleaning {
	c := p.cleaning
	if c == nil {
		return nil
	}
	return &metapb.SnapshotCleaning{CleanedTo: c.cleanedTo, HorizonMillis: c.horizonMillis, NotBeforeMillis: c.notBeforeMillis, Attempts: c.attempts}
}

func (r *round) snapshot() *metapb.SnapshotRound {
	if r == nil {
		return nil
	}
	return &metapb.SnapshotRound{TopicId: slices.Clone(r.partition.Topic[:]), Partition: r.partition.Partition, ToOffset: r.to, DoneOffset: r.done, Merges: r.merges}
}

func restoreCleaning(from *metapb.SnapshotCleaning) *cleaning {
	if from == nil {
		return nil
	}
	return &cleaning{cleanedTo: from.CleanedTo, horizonMillis: from.HorizonMillis, notBeforeMillis: from.NotBeforeMillis, attempts: from.Attempts}
}

// restoreRound answers false where from is not what a snapshot keeps.
func restoreRound(from *metapb.SnapshotRound) (*round, bool) {
	if from == nil {
		return nil, true
	}
	if len(from.TopicId) != 16 || from.DoneOffset < 0 || from.DoneOffset > from.ToOffset || from.ToOffset == math.MaxInt64 {
		return nil, false
	}
	return &round{partition: TopicPartition{TopicID(from.TopicId), from.Partition}, to: from.ToOffset, done: from.DoneOffset, merges: from.Merges}, true
}

// rounds tells partitions of the jobs that compact them. A round of a partition that is no more ends with its lease.
func (r *restorer) rounds() error {
	for _, j := range r.s.jobs {
		if j.round == nil {
			continue
		}
		p := r.s.Partition(j.round.partition)
		if p == nil {
			continue
		}
		if p.cleaning == nil || p.cleaning.job != 0 {
			return bad("job %d compacts %s, which does not know of it", j.id, j.round.partition)
		}
		p.cleaning.job = j.id
	}
	return nil
}
