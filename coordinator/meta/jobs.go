package meta

import (
	"cmp"
	"slices"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Bounds of jobs.
const (
	maxJobContainers  = 1024
	maxLeaseMillis    = 60 * 60 * 1000
	retryMillis       = 1000 // doubled with every attempt that came to nothing, up to
	maxRetryMillis    = 5 * 60 * 1000
	maxObjectParts    = 1 << 20
	maxOffsetDistance = 1 << 62
)

type job struct {
	id               JobID
	worker           string
	leaseUntilMillis int64
	containers       []ContainerID // ascending
	round            *round        // set for a round of compaction, which has no containers
}

// Job is a view of a job under lease.
type Job struct {
	ID               JobID
	Worker           string
	LeaseUntilMillis int64
	Containers       []ContainerID // none for a round of compaction
}

// Job is the job with this id, false where it has ended.
func (s *State) Job(id JobID) (Job, bool) {
	j := s.jobs[id]
	if j == nil {
		return Job{}, false
	}
	return Job{ID: j.id, Worker: j.worker, LeaseUntilMillis: j.leaseUntilMillis, Containers: j.containers}, true
}

// Jobs are all jobs under lease, oldest first. The slice is the caller's.
func (s *State) Jobs() []Job {
	out := make([]Job, 0, len(s.jobs))
	for id := range s.jobs {
		j, _ := s.Job(id)
		out = append(out, j)
	}
	slices.SortFunc(out, func(x, y Job) int { return cmp.Compare(x.ID, y.ID) })
	return out
}

// JobContainers calls yield for the containers of a job, oldest first, each with the live runs that no open
// transaction holds, in order of position, and the markers that go with them.
func (s *State) JobContainers(id JobID) func(yield func(Container, []ContainerRun) bool) {
	return func(yield func(Container, []ContainerRun) bool) {
		j := s.jobs[id]
		if j == nil {
			return
		}
		held := make([]*container, 0, len(j.containers))
		for _, id := range j.containers {
			if c := s.containers[id]; c != nil {
				held = append(held, c)
			}
		}
		runs := s.runsOf(held, true)
		for _, c := range held {
			if !yield(c.view(), runs[c.slot]) {
				return
			}
		}
	}
}

// Waiting tells how many sealed containers LeaseJob could take at a state time, and their live bytes.
func (s *State) Waiting(nowMillis int64) (containers int, bytes uint64) {
	for c := range s.byID {
		if s.canLease(c, nowMillis) {
			containers++
			bytes += c.liveBytes
		}
	}
	return containers, bytes
}

// canLease says whether a job may take the container: it waits, and its bytes can be had.
func (s *State) canLease(c *container, nowMillis int64) bool {
	return c.waits(nowMillis) && (c.isChunk() || s.Node(c.node).Live || c.copy.node != 0 && s.Node(c.copy.node).Live)
}

// haste says what is shipped before other things: the lower, the sooner.
type haste int

const (
	// lastPlace is on the disk of a node that is about to leave, and on no other that stays.
	lastPlace haste = iota
	// oneStays is in two places, of which one is about to leave, or is not there.
	oneStays
	noHaste
	hastes
)

// haste of a container that can be leased.
func (s *State) haste(c *container) haste {
	if c.isChunk() {
		return noHaste
	}
	places, staying := 0, 0
	for _, id := range [...]NodeID{c.node, c.copy.node} {
		if id == 0 {
			continue
		}
		if places++; s.Node(id).Serves() {
			staying++
		}
	}
	switch staying {
	case places:
		return noHaste
	case 0:
		return lastPlace // one of the nodes is there, since the container can be leased: so it is about to leave
	}
	return oneStays
}

// LeaseBound is how many containers LeaseJob may take at most at a state time so that they have no more than so many live runs together, or are a single one: what a
// worker is told of a job, and what it tells, are bounded.
func (s *State) LeaseBound(nowMillis int64, runs int) uint32 {
	for haste := range hastes {
		count, left := uint32(0), runs
		for c := range s.byID {
			if !s.canLease(c, nowMillis) || s.haste(c) != haste {
				continue
			}
			if left -= c.liveRuns; left < 0 && count > 0 || count == maxJobContainers {
				break
			}
			count++
		}
		if count > 0 {
			return count
		}
	}
	return maxJobContainers
}

func (a *applier) leaseJob(c *metapb.LeaseJob) Verdict {
	if c.LeaseMillis <= 0 || c.LeaseMillis > maxLeaseMillis {
		return refuse(Malformed, "lease of %d ms", c.LeaseMillis)
	}
	bound := int(min(cmp.Or(c.MaxContainers, maxJobContainers), maxJobContainers))
	var taken []ContainerID
	var bytes uint64
	for haste := range hastes {
		for held := range a.byID {
			if !a.canLease(held, a.timeMillis) || a.haste(held) != haste {
				continue
			}
			if len(taken) == bound || len(taken) > 0 && c.MaxBytes > 0 && bytes+held.liveBytes > c.MaxBytes {
				break
			}
			held.job = a.nextJob
			taken = append(taken, held.id)
			bytes += held.liveBytes
		}
		if len(taken) > 0 {
			break // somebody waits for this, and for nothing with less haste
		}
	}
	if len(taken) == 0 {
		return Verdict{Code: NothingWaits}
	}
	j := &job{id: a.nextJob, worker: c.Worker, leaseUntilMillis: a.timeMillis + c.LeaseMillis, containers: taken}
	a.nextJob++
	a.jobs[j.id] = j
	a.dueBy(j.leaseUntilMillis)
	a.changed(ChangedContainers)
	return Verdict{JobID: j.id}
}

// renewJob goes on with a lease of shipping; rounds of compaction renew theirs by reporting.
func (a *applier) renewJob(c *metapb.RenewJob) Verdict {
	if c.LeaseMillis <= 0 || c.LeaseMillis > maxLeaseMillis {
		return refuse(Malformed, "lease of %d ms", c.LeaseMillis)
	}
	j := a.jobs[JobID(c.JobId)]
	if j == nil || j.round != nil {
		return Verdict{Code: UnknownJob, JobID: JobID(c.JobId)}
	}
	j.leaseUntilMillis = max(j.leaseUntilMillis, a.timeMillis+c.LeaseMillis)
	a.dueBy(j.leaseUntilMillis)
	return Verdict{JobID: j.id}
}

// endJob ends a lease. What it still holds waits again, after a while where the job came to nothing.
func (a *applier) endJob(j *job, failed bool) {
	if j.round != nil {
		a.endRound(j, failed)
		return
	}
	delete(a.jobs, j.id)
	for _, id := range j.containers {
		c := a.containers[id]
		if c == nil {
			continue
		}
		c.job = 0
		if failed {
			c.notBeforeMillis = a.timeMillis + min(int64(retryMillis)<<min(c.attempts, 16), maxRetryMillis)
			c.attempts++
		}
	}
	a.changed(ChangedContainers)
}

func (a *applier) finishJob(c *metapb.FinishJob) Verdict {
	j := a.jobs[JobID(c.JobId)]
	if j == nil {
		a.discard(c)
		return Verdict{Code: UnknownJob, JobID: JobID(c.JobId)}
	}
	if wrong := malformedObjects(c); wrong != "" {
		return refuse(Malformed, "%s", wrong)
	}
	if j.round != nil && len(c.Objects) > 0 {
		return refuse(Malformed, "objects of a round of compaction")
	}
	v := Verdict{JobID: j.id}
	for _, o := range c.Objects {
		stored := &object{id: SegmentID{j.id, o.Ordinal}, sizeBytes: o.SizeBytes, createdMillis: a.timeMillis}
		for _, p := range o.Parts {
			if a.acceptPart(j, stored, p) {
				v.PartsTaken++
			} else {
				v.PartsDropped++
			}
		}
		if stored.refs > 0 {
			a.objects[stored.id] = stored
		} else {
			a.addGarbage(stored.id.Key())
		}
	}
	a.endJob(j, c.Failed || v.PartsTaken == 0)
	return v
}

// discard makes garbage of the objects of a job that has ended, except those a first copy of the same result brought in.
func (a *applier) discard(c *metapb.FinishJob) {
	if c.JobId == 0 || JobID(c.JobId) >= a.nextJob || malformedObjects(c) != "" {
		return
	}
	for _, o := range c.Objects {
		if id := (SegmentID{JobID(c.JobId), o.Ordinal}); a.objects[id] == nil {
			a.addGarbage(id.Key())
		}
	}
}

func malformedObjects(c *metapb.FinishJob) string {
	seen := make(map[uint32]bool, len(c.Objects))
	for _, o := range c.Objects {
		switch {
		case o.GetJobId() != c.JobId:
			return "an object of another job"
		case seen[o.Ordinal]:
			return "two objects of one ordinal"
		case len(o.Parts) > maxObjectParts:
			return "too many parts in an object"
		}
		seen[o.Ordinal] = true
	}
	return ""
}

// acceptPart puts a part in the place of the unshipped runs and markers it covers. They must be the job's own, below the last stable
// offset, and cover it exactly, but for what retention has taken from below meanwhile.
func (a *applier) acceptPart(j *job, o *object, c *metapb.Part) bool {
	t := a.topicOf(c.GetTopicId())
	if t == nil {
		return false
	}
	p := t.Partition(c.Partition)
	if p == nil || c.BaseOffset < 0 || c.NextOffset <= c.BaseOffset || c.NextOffset > p.LastStableOffset() || c.Length > maxOffsetDistance {
		return false
	}
	from, to, ok := a.coveredRuns(j, p, c.BaseOffset, c.NextOffset)
	if !ok {
		return false
	}
	covered := slices.Clone(p.runs[from:to])
	p.runs = cutRuns(p.runs, from, to)
	p.cutMarkers(c.BaseOffset, c.NextOffset)
	p.runBytes -= sumLengths(covered)

	at := firstPart(p.parts, c.BaseOffset)
	p.parts = slices.Insert(p.parts, at, part{
		base: c.BaseOffset, next: c.NextOffset, maxTimestamp: c.MaxTimestamp, maxTimestampOffset: c.MaxTimestampOffset,
		minTimestamp: c.MinTimestamp, position: c.Position, length: c.Length, indexPosition: c.IndexPosition, indexLength: c.IndexLength,
		records: c.Records, object: o,
	})
	p.partBytes += c.Length
	o.refs++
	a.dueByRetention(p)
	a.keepLocal(p, covered)
	a.dropLive(covered)
	return true
}

// coveredRuns finds the runs [from, to) that, with the markers between them, tile [base, next), or what the log start has left of it.
func (s *State) coveredRuns(j *job, p *Partition, base, next int64) (from, to int, ok bool) {
	if next <= p.logStart {
		return 0, 0, false
	}
	from = firstRun(p.runs, max(base, p.logStart))
	to = from
	markers := p.markers[firstMarker(p.markers, max(base, p.logStart)):]
	for at, first := base, true; at < next; first = false {
		var b, n int64
		switch {
		case len(markers) > 0 && (to == len(p.runs) || markers[0].Offset < p.runs[to].base):
			b, n, markers = markers[0].Offset, markers[0].Offset+1, markers[1:]
		case to < len(p.runs) && s.containerSlots[p.runs[to].container].job == j.id:
			b, n = p.runs[to].base, p.runs[to].next()
			to++
		default:
			return 0, 0, false
		}
		if trimmed := first && b > base && b <= p.logStart; b != at && !trimmed || n > next {
			return 0, 0, false
		}
		at = n
	}
	return from, to, true
}

// keepLocal keeps shipped runs readable in their containers where local retention says so. Called before the runs are
// dropped from the live ones, so that their containers are not released in between.
func (a *applier) keepLocal(p *Partition, shipped []run) {
	config := &p.topic.Config
	if config.LocalRetentionMillis == 0 || config.LocalRetentionBytes == 0 {
		return
	}
	kept := make([]run, 0, len(shipped))
	for _, r := range shipped {
		c := a.containerSlots[r.container]
		if !c.isChunk() && a.localUntilMillis(p, &r) > a.timeMillis {
			kept = append(kept, r)
			c.localRuns++
			p.localBytes += uint64(r.length)
			a.dueBy(a.localUntilMillis(p, &r))
		}
	}
	if len(kept) > 0 {
		p.local = slices.Insert(p.local, firstRun(p.local, kept[0].base), kept...)
		if config.LocalRetentionBytes > 0 && p.localBytes > uint64(config.LocalRetentionBytes) {
			a.dueBy(0)
		}
	}
}

// localUntilMillis is when local retention lets go of a shipped run.
func (s *State) localUntilMillis(p *Partition, r *run) int64 {
	from := r.maxTimestamp
	if from < 0 {
		from = s.containerSlots[r.container].createdMillis
	}
	return addMillis(from, p.topic.Config.LocalRetentionMillis)
}
