package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Leader hands out rounds and judges what is reported of them.
type Leader interface {
	LeaseCompaction(ctx context.Context, r *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error)
	ReportCompaction(ctx context.Context, r *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error)
	FinishJob(ctx context.Context, r *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error)
}

// Config of a Worker. The zero value is the default.
type Config struct {
	// Name tells workers apart in the leader's state; default "worker".
	Name string
	// MapBytes bounds the memory for keys; default 128 MiB, which holds about five million.
	MapBytes int
	// ObjectBytes is the size up to which parts are put together in one object; default 64 MiB.
	ObjectBytes int
	// BatchBytes is the uncompressed size up to which records are gathered in one batch; default 1 MiB.
	BatchBytes int
	// ZstdLevel is the level batches are compressed at; default that of shipping.
	ZstdLevel int
	// Lease is how long a round is this worker's alone, from its last report on; default 2 min.
	Lease time.Duration
	// MergeAge is how old the small parts are at least that a round puts together where the topic is not compacted; default 10 min, none are where it
	// is negative.
	MergeAge time.Duration
	// MergeParts and MergeBytes are what is worth such a round: so many requests less for each who reads it. Defaults 10 and 4 MiB. A dozen times
	// MergeParts are worth it however small they are.
	MergeParts, MergeBytes int
	// Poll is how often the worker asks for a round where there was none; default 15 s.
	Poll time.Duration
}

// manyParts is how many times MergeParts are many.
const manyParts = 12

// Validate names the field that is wrong.
func (c Config) Validate() error {
	switch {
	case c.MapBytes < 0:
		return fmt.Errorf("MapBytes %d is negative", c.MapBytes)
	case c.ObjectBytes < 0 || c.ObjectBytes > 1<<30:
		return fmt.Errorf("ObjectBytes %d: want 0 to 1 GiB", c.ObjectBytes)
	case c.BatchBytes < 0 || c.BatchBytes > recordbatch.DefaultMaxBatchBytes:
		return fmt.Errorf("BatchBytes %d: want 0 to %d", c.BatchBytes, recordbatch.DefaultMaxBatchBytes)
	case c.ZstdLevel < 0 || c.ZstdLevel > 22:
		return fmt.Errorf("ZstdLevel %d is not between 0 and 22", c.ZstdLevel)
	case c.MergeParts < 0 || c.MergeParts == 1 || c.MergeBytes < 0:
		return fmt.Errorf("MergeParts %d, MergeBytes %d: want at least 2 parts", c.MergeParts, c.MergeBytes)
	case c.Lease < 0 || c.Poll < 0:
		return errors.New("Lease and Poll must not be negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	orDefault := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	orDefault(&c.MapBytes, 128<<20)
	orDefault(&c.ObjectBytes, 64<<20)
	orDefault(&c.BatchBytes, recordbatch.DefaultRebatchBytes)
	orDefault(&c.MergeParts, 10)
	orDefault(&c.MergeBytes, 4<<20)
	orDefault(&c.ZstdLevel, recordbatch.DefaultRebatchLevel)
	if c.Name == "" {
		c.Name = "worker"
	}
	if c.Lease == 0 {
		c.Lease = 2 * time.Minute
	}
	if c.MergeAge == 0 {
		c.MergeAge = 10 * time.Minute
	}
	if c.Poll == 0 {
		c.Poll = 15 * time.Second
	}
	return c
}

// Observer is told of rounds.
type Observer interface {
	Compacted(stats Stats, took time.Duration)
	CompactionFailed()
}

// Worker carries out one round at a time.
type Worker struct {
	config  Config
	leader  Leader
	store   objstore.Store
	log     *slog.Logger
	observe Observer
	codec   recordbatch.Codec // zstd, but for tests on a clock of their own: encoders are shared, and cannot be there
}

// New returns a worker.
func New(config Config, leader Leader, store objstore.Store, observe Observer, log *slog.Logger) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure compaction: %w", err)
	}
	return &Worker{config: config.withDefaults(), leader: leader, store: store, observe: observe, log: log, codec: recordbatch.Zstd}, nil
}

// Run compacts until ctx ends. Failures are logged and tried again, with back-off.
func (w *Worker) Run(ctx context.Context) {
	const maxBackOff = 5 * time.Minute
	backOff := w.config.Poll
	for ctx.Err() == nil {
		compacted, err := w.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.observe.CompactionFailed()
			w.log.Warn("compaction failed; it will be tried again", "error", err, "in", backOff)
			w.wait(ctx, backOff/2+rand.N(backOff))
			backOff = min(backOff*2, max(maxBackOff, w.config.Poll))
		case compacted:
			backOff = w.config.Poll
		default:
			backOff = w.config.Poll
			w.wait(ctx, w.config.Poll)
		}
	}
}

func (w *Worker) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// errEnded: the leader has ended the round, because its lease expired or the partition is not what it was.
var errEnded = errors.New("the round has ended")

// Once takes a round and carries it out; compacted is false where no partition needs one.
func (w *Worker) Once(ctx context.Context) (compacted bool, err error) {
	request := &metapb.CompactionLeaseRequest{Worker: w.config.Name, LeaseMillis: w.config.Lease.Milliseconds(), CarriesSources: true}
	if parts := uint32(w.config.MergeParts); w.config.MergeAge >= 0 {
		request.Merging = &metapb.Merging{
			AgeMillis: w.config.MergeAge.Milliseconds(), Parts: parts, Bytes: uint64(w.config.MergeBytes), ManyParts: manyParts * parts,
		}
	}
	answer, err := w.leader.LeaseCompaction(ctx, request)
	if err != nil {
		return false, fmt.Errorf("lease compaction: %w", err)
	}
	job := answer.Round
	if job == nil {
		return false, nil
	}
	started := time.Now()
	if len(job.Parts) == 0 || len(job.TopicId) != 16 {
		return false, errors.Join(fmt.Errorf("round %d of %d parts of topic %x", job.JobId, len(job.Parts), job.TopicId), w.giveBack(ctx, job.JobId))
	}
	leased, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lease := time.AfterFunc(w.config.Lease, func() { cancel(fmt.Errorf("the lease of %s ended", w.config.Lease)) })
	defer lease.Stop()
	r := &round{
		worker: w, job: job, tx: newTransactions(job.Aborted), source: source{store: w.store},
		assembler: newAssembler(w.config.BatchBytes, w.codec, w.config.ZstdLevel), extend: func() { lease.Reset(w.config.Lease) },
	}
	err = r.run(leased)
	place := fmt.Sprintf("%s-%d", job.Topic, job.Partition)
	switch {
	case errors.Is(err, errEnded):
		w.log.Debug("compaction was overtaken", "job", job.JobId, "partition", place)
	case err != nil:
		err = fmt.Errorf("%s %s: job %d: %w", doing(job), place, job.JobId, errors.Join(err, context.Cause(leased)))
		return false, errors.Join(err, w.giveBack(ctx, job.JobId))
	default:
		w.log.Debug("round is over", "does", doing(job), "job", job.JobId, "partition", place, "to", r.end, "records_kept", r.stats.Kept, "records_removed", r.stats.Removed,
			"objects", r.stats.Objects, "bytes_in", r.stats.BytesIn, "bytes_out", r.stats.BytesOut)
	}
	r.stats.Merged = job.Merges
	w.observe.Compacted(r.stats, time.Since(started))
	return true, nil
}

// doing names what a round does.
func doing(job *metapb.CompactionRound) string {
	if job.Merges {
		return "merge"
	}
	return "compact"
}

// tell brings a report to the leader, which may be restarting or moving. Told twice, a report counts once.
func (w *Worker) tell(leased context.Context, c *metapb.CompactRange) error {
	const maxBackOff = 5 * time.Second
	for backOff := min(200*time.Millisecond, w.config.Poll); ; backOff = min(2*backOff, maxBackOff) {
		answer, err := w.leader.ReportCompaction(leased, &metapb.CompactionReportRequest{Range: c})
		if err == nil && !answer.Accepted {
			return errEnded
		}
		if err == nil {
			return nil
		}
		w.log.Warn("the leader does not take a report of compaction; it is told again", "job", c.JobId, "error", err, "in", backOff)
		w.wait(leased, backOff/2+rand.N(backOff))
		if leased.Err() != nil {
			return errors.Join(err, context.Cause(leased))
		}
	}
}

// giveBack ends the lease early, so that the partition need not wait for it to expire.
func (w *Worker) giveBack(ctx context.Context, job uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := w.leader.FinishJob(ctx, &metapb.JobFinishRequest{Finish: &metapb.FinishJob{JobId: job, Failed: true}})
	return err
}
