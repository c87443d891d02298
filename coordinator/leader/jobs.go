package leader

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

const (
	defaultLeaseMillis = 5 * 60 * 1000
	maxGarbageKeys     = 10_000
	maxReferencedKeys  = 100_000
	// maxJobRuns bounds the runs of a job. An answer that tells a worker of a run has 50 bytes or so, and a result in which each is a part of its own 80 for
	// each: less than a call's answer, its request, and a command may have.
	maxJobRuns = 512 << 10
)

// LeaseJob gives a worker the next job, or none. Nothing is logged when nothing waits.
func (l *Leader) LeaseJob(ctx context.Context, request *metapb.JobLeaseRequest) (*metapb.JobLeaseResponse, error) {
	if !l.queue.isOpen() {
		return nil, replica.ErrNotLeader
	}
	waiting, bound := 0, uint32(0)
	now := l.clock.Load().millis()
	l.cfg.Replica.View(func(s *meta.State) {
		if waiting, _ = s.Waiting(now); waiting > 0 {
			bound = s.LeaseBound(now, maxJobRuns)
		}
	})
	if waiting == 0 {
		return &metapb.JobLeaseResponse{}, nil
	}
	lease := request.LeaseMillis
	if lease <= 0 {
		lease = defaultLeaseMillis
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{
		Worker: request.Worker, LeaseMillis: lease, MaxBytes: request.MaxBytes, MaxContainers: bound,
	}}})
	switch {
	case err != nil:
		return nil, err
	case verdict.Code == meta.NothingWaits:
		return &metapb.JobLeaseResponse{}, nil
	case verdict.Code != meta.OK:
		return nil, fmt.Errorf("lease job: %s %s", verdict.Code, verdict.Message)
	}
	l.awaitArchived(ctx)
	return &metapb.JobLeaseResponse{Job: l.job(verdict.JobID, lease)}, nil
}

// archivePatience bounds how long a job waits for the archive. Where the bucket takes nothing for as long, it will hardly take segments.
const archivePatience = 3 * time.Second

// awaitArchived returns when the bucket's archive has all that a job's runs were committed by. Segments do not tell whose batches they were made of: so a
// recovery finds none with records of which it does not know whether their producers may send them again.
func (l *Leader) awaitArchived(ctx context.Context) {
	if l.archiver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	seq, _ := l.cfg.Replica.Position()
	if err := l.archiver.Await(ctx, seq); err != nil {
		l.complain("a job is begun before the archive has what it ships", err)
	}
}

// job describes a leased job; nil where it has ended meanwhile.
func (l *Leader) job(id meta.JobID, leaseMillis int64) *metapb.Job {
	var out *metapb.Job
	l.cfg.Replica.View(func(s *meta.State) {
		if _, ok := s.Job(id); !ok {
			return
		}
		out = &metapb.Job{Id: uint64(id), LeaseMillis: leaseMillis}
		topics := map[meta.TopicID]bool{}
		for container, runs := range s.JobContainers(id) {
			out.Containers = append(out.Containers, jobContainer(s, container, runs))
			for _, run := range runs {
				topics[run.Partition.Topic] = true
			}
		}
		for topicID := range topics {
			if t := s.Topic(topicID); t != nil {
				out.Topics = append(out.Topics, jobTopic(t))
			}
		}
	})
	return out
}

func jobContainer(s *meta.State, c meta.Container, runs []meta.ContainerRun) *metapb.JobContainer {
	out := &metapb.JobContainer{Container: uint64(c.ID), NodeId: int32(c.Node), Runs: make([]*metapb.JobRun, 0, len(runs))}
	if c.IsChunk() {
		out.ObjectKey = c.Chunk.Key()
	} else if n := s.Node(c.Node); n != nil {
		out.NodeAddress, out.DiskId, out.Segment = n.InternalAddress, append([]byte(nil), n.DiskID[:]...), c.Segment
		if held := s.Node(c.CopyNode); held != nil {
			out.CopyAddress, out.CopyDiskId, out.CopySegment = held.InternalAddress, append([]byte(nil), held.DiskID[:]...), c.CopySegment
			if !n.Live {
				out.NodeAddress = ""
			}
			if !held.Live {
				out.CopyAddress = ""
			}
		}
	}
	for _, run := range runs {
		topic := run.Partition.Topic
		var epoch int32
		var logStart int64
		if p := s.Partition(run.Partition); p != nil {
			epoch, logStart = p.EpochAt(run.BaseOffset), p.LogStartOffset()
		}
		out.Runs = append(out.Runs, &metapb.JobRun{
			TopicId: topic[:], Partition: run.Partition.Partition, BaseOffset: run.BaseOffset, LeaderEpoch: epoch, LogStart: logStart,
			Records: run.Records, Position: run.Position, Length: run.Length, CopyPosition: run.CopyPosition, Marker: jobMarker(run.Marker),
		})
	}
	return out
}

func jobMarker(m *meta.TransactionMarker) *metapb.JobMarker {
	if m == nil {
		return nil
	}
	return &metapb.JobMarker{
		ProducerId: m.ProducerID, ProducerEpoch: int32(m.ProducerEpoch), CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit,
		TimestampMillis: m.TimestampMillis,
	}
}

func jobTopic(t *meta.Topic) *metapb.JobTopic {
	id := t.ID
	out := &metapb.JobTopic{TopicId: id[:], Name: t.Name, Configs: make(map[string]string, len(t.Overrides)), Partitions: int32(t.Partitions())}
	for name, value := range t.Overrides {
		out.Configs[name] = value
	}
	return out
}

// RenewJob goes on with the lease of a job, unless that has ended. Job ids are given once, so a job that is there is the worker's that has its id.
func (l *Leader) RenewJob(ctx context.Context, request *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
	if !l.queue.isOpen() {
		return nil, replica.ErrNotLeader
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_RenewJob{RenewJob: &metapb.RenewJob{
		JobId: request.JobId, LeaseMillis: request.LeaseMillis,
	}}})
	switch {
	case err != nil:
		return nil, err
	case verdict.Code == meta.UnknownJob:
		return &metapb.JobRenewResponse{Ended: true}, nil
	case verdict.Code != meta.OK:
		return nil, fmt.Errorf("renew job %d: %s %s", request.JobId, verdict.Code, verdict.Message)
	}
	return &metapb.JobRenewResponse{}, nil
}

// FinishJob logs a job's result and says what became of it.
func (l *Leader) FinishJob(ctx context.Context, request *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	if request.Finish == nil {
		return nil, fmt.Errorf("finish job: nothing is finished")
	}
	verdict, err := l.cfg.Replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: request.Finish}})
	if err != nil {
		return nil, err
	}
	return &metapb.JobFinishResponse{
		Accepted: verdict.Code == meta.OK, PartsTaken: verdict.PartsTaken, PartsDropped: verdict.PartsDropped,
	}, nil
}

// Garbage lists objects that may be deleted, oldest first, without the first few that are to be left out. They stay listed until ForgetGarbage.
func (l *Leader) Garbage(ctx context.Context, request *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	// A leader that has been succeeded without noticing must not name anything.
	if err := l.cfg.Replica.Barrier(ctx); err != nil {
		return nil, err
	}
	bound := int(request.Max)
	if bound == 0 || bound > maxGarbageKeys {
		bound = maxGarbageKeys
	}
	out := &metapb.GarbageResponse{}
	l.cfg.Replica.View(func(s *meta.State) {
		garbage := s.Garbage()
		garbage = garbage[min(len(garbage), int(request.Skip)):]
		for _, g := range garbage[:min(len(garbage), bound)] {
			if !s.Refers(g.Key) { // a rule that is broken elsewhere does no harm here
				out.Keys = append(out.Keys, g.Key)
			}
		}
	})
	return out, nil
}

// ForgetGarbage logs that objects have been deleted.
func (l *Leader) ForgetGarbage(ctx context.Context, request *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error) {
	if len(request.Keys) == 0 {
		return &metapb.GarbageForgetResponse{}, nil
	}
	command := &metapb.Command{Kind: &metapb.Command_ForgetGarbage{ForgetGarbage: &metapb.ForgetGarbage{Keys: request.Keys}}}
	if _, err := l.cfg.Replica.Propose(ctx, command); err != nil {
		return nil, err
	}
	return &metapb.GarbageForgetResponse{}, nil
}

// Referenced says of each key whether the state refers to it or may come to.
func (l *Leader) Referenced(ctx context.Context, request *metapb.ReferencedRequest) (*metapb.ReferencedResponse, error) {
	if len(request.Keys) > maxReferencedKeys {
		return nil, fmt.Errorf("referenced: %d keys, at most %d are judged at once", len(request.Keys), maxReferencedKeys)
	}
	if err := l.cfg.Replica.Barrier(ctx); err != nil {
		return nil, err
	}
	out := &metapb.ReferencedResponse{Referenced: make([]bool, len(request.Keys))}
	l.cfg.Replica.View(func(s *meta.State) {
		for i, key := range request.Keys {
			out.Referenced[i] = s.Referenced(key)
		}
	})
	return out, nil
}
