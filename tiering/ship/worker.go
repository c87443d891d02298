package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
	"github.com/varvelog/varve/tiering/upload"
)

// Leader hands out jobs and judges their results.
type Leader interface {
	LeaseJob(ctx context.Context, r *metapb.JobLeaseRequest) (*metapb.JobLeaseResponse, error)
	RenewJob(ctx context.Context, r *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error)
	FinishJob(ctx context.Context, r *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error)
}

// Config of a Worker. The zero value is the default.
type Config struct {
	// Name tells workers apart in the leader's state; default "worker".
	Name string
	// JobBytes bounds the bytes of the containers of one job; default 256 MiB.
	JobBytes uint64
	// ObjectBytes is the size up to which runs are gathered into one object; default 64 MiB.
	ObjectBytes int
	// Lease is how long a job is this worker's alone after it was last seen to make progress; default 2 min. LeaseMax bounds how long it is
	// altogether; default 1 h.
	Lease    time.Duration
	LeaseMax time.Duration
	// Poll is how often the worker asks for work where no hint reaches it; default 2 s.
	Poll time.Duration
	// Uploads is how many objects of one job are uploaded at once; default 2.
	Uploads int
	// Rebatch says how small batches are merged.
	Rebatch recordbatch.RebatchOptions
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	switch {
	case c.ObjectBytes < 0 || c.ObjectBytes > 1<<30:
		return fmt.Errorf("ObjectBytes %d: want 0 to 1 GiB", c.ObjectBytes)
	case c.Lease < 0 || c.LeaseMax < 0 || c.Poll < 0:
		return errors.New("Lease, LeaseMax and Poll must not be negative")
	case c.Uploads < 0:
		return fmt.Errorf("Uploads %d is negative", c.Uploads)
	}
	return c.Rebatch.Validate()
}

func (c Config) withDefaults() Config {
	orDefault := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	if c.Name == "" {
		c.Name = "worker"
	}
	if c.JobBytes == 0 {
		c.JobBytes = 256 << 20
	}
	if c.ObjectBytes == 0 {
		c.ObjectBytes = 64 << 20
	}
	if c.Uploads == 0 {
		c.Uploads = 2
	}
	orDefault(&c.Lease, 2*time.Minute)
	orDefault(&c.LeaseMax, time.Hour)
	orDefault(&c.Poll, 2*time.Second)
	return c
}

// Worker ships one job at a time.
type Worker struct {
	config  Config
	leader  Leader
	hot     HotSource
	store   objstore.Store
	log     *slog.Logger
	hints   <-chan struct{}
	observe Observer
	// ratio is what became of a byte in the last job, used by one job at a time.
	ratio float64
}

// Observer is told of what was shipped.
type Observer interface {
	Shipped(objects int, bytesIn, bytesOut int64, took time.Duration)
	ShipFailed()
	// ShipDamaged: a run's bytes in one place are not what was written. left: no other place has them, and the run was not shipped.
	ShipDamaged(left bool)
}

// New returns a worker. hints says that a job waits; it may be nil.
func New(config Config, leader Leader, hot HotSource, store objstore.Store, hints <-chan struct{}, observe Observer, log *slog.Logger) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure shipping: %w", err)
	}
	return &Worker{config: config.withDefaults(), leader: leader, hot: hot, store: store, hints: hints, observe: observe, log: log, ratio: 1}, nil
}

// Run ships until ctx ends. Failures are logged and tried again, with back-off.
func (w *Worker) Run(ctx context.Context) {
	const maxBackOff = 30 * time.Second
	backOff := w.config.Poll
	for ctx.Err() == nil {
		shipped, err := w.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.observe.ShipFailed()
			w.log.Warn("shipping failed; it will be tried again", "error", err, "in", backOff)
			w.wait(ctx, backOff/2+rand.N(backOff), nil)
			backOff = min(backOff*2, maxBackOff)
		case shipped:
			backOff = w.config.Poll
		default:
			backOff = w.config.Poll
			w.wait(ctx, w.config.Poll, w.hints)
		}
	}
}

func (w *Worker) wait(ctx context.Context, d time.Duration, hints <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-hints:
	}
}

// Once takes a job and ships it; shipped is false where none waits.
func (w *Worker) Once(ctx context.Context) (shipped bool, err error) {
	answer, err := w.leader.LeaseJob(ctx, &metapb.JobLeaseRequest{Worker: w.config.Name, MaxBytes: w.config.JobBytes, LeaseMillis: w.config.Lease.Milliseconds()})
	if err != nil {
		return false, fmt.Errorf("lease job: %w", err)
	}
	if answer.Job == nil {
		return false, nil
	}
	started := time.Now()
	held, leased := w.hold(ctx, answer.Job.Id)
	defer held.end()
	finish, sizes, err := w.ship(leased, held, answer.Job)
	if err != nil {
		err = fmt.Errorf("ship job %d: %w", answer.Job.Id, errors.Join(err, context.Cause(leased)))
		return false, errors.Join(err, w.giveBack(ctx, answer.Job.Id))
	}
	result, err := w.tell(leased, &metapb.JobFinishRequest{Finish: finish})
	if err != nil {
		return false, fmt.Errorf("finish job %d: %w", answer.Job.Id, err)
	}
	w.log.Debug("shipped", "job", answer.Job.Id, "objects", len(finish.Objects), "bytes_in", sizes.in, "bytes_out", sizes.out,
		"accepted", result.Accepted, "parts_taken", result.PartsTaken, "parts_dropped", result.PartsDropped)
	w.observe.Shipped(len(finish.Objects), sizes.in, sizes.out, time.Since(started))
	return true, nil
}

// tell brings a result to the leader, which may be restarting or moving: until the lease ends nobody else may take the job, so giving up
// would make its records wait. Told twice, a result counts once.
func (w *Worker) tell(leased context.Context, result *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	const maxBackOff = 5 * time.Second
	for backOff := min(200*time.Millisecond, w.config.Poll); ; backOff = min(2*backOff, maxBackOff) {
		answer, err := w.leader.FinishJob(leased, result)
		if err == nil {
			return answer, nil
		}
		w.log.Warn("the leader does not take a job's result; it is told again", "job", result.Finish.JobId, "error", err, "in", backOff)
		w.wait(leased, backOff/2+rand.N(backOff), nil)
		if leased.Err() != nil {
			return nil, errors.Join(err, context.Cause(leased))
		}
	}
}

// giveBack ends the lease early, so that the containers need not wait for it to expire.
func (w *Worker) giveBack(ctx context.Context, job uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := w.leader.FinishJob(ctx, &metapb.JobFinishRequest{Finish: &metapb.FinishJob{JobId: job, Failed: true}})
	return err
}

type shippedBytes struct{ in, out int64 }

// ship stores the job's runs, as far as they can be read, and returns what the leader is to be told.
func (w *Worker) ship(ctx context.Context, held *lease, job *metapb.Job) (*metapb.FinishJob, shippedBytes, error) {
	var sizes shippedBytes
	described, err := newTopics(job)
	if err != nil {
		return nil, sizes, err
	}
	containers, err := w.openAll(ctx, held, job)
	defer func() {
		for _, c := range containers {
			if err := c.Close(); err != nil {
				w.log.Warn("close container", "error", err)
			}
		}
	}()
	if err != nil {
		return nil, sizes, err
	}
	runs := sortRuns(job)
	for _, r := range runs {
		sizes.in += int64(r.Length)
	}
	uploads := newUploads(ctx, w, held)
	b := &builder{worker: w, held: held, job: job, topics: described, containers: containers, emit: uploads.start, remaining: sizes.in}
	err = b.build(uploads.ctx, runs)
	objects, uploadErr := uploads.wait()
	if err := errors.Join(uploadErr, err); err != nil {
		return nil, sizes, err
	}
	for _, o := range objects {
		sizes.out += int64(o.SizeBytes)
	}
	if sizes.in > 0 && b.left.runs == 0 {
		w.ratio = min(1, float64(sizes.out)/float64(sizes.in))
	}
	if b.left.runs > 0 {
		if len(objects) == 0 {
			return nil, sizes, b.left.first
		}
		w.log.Warn("runs could not be read and are left for another job", "job", job.Id, "runs", b.left.runs, "of", len(runs), "error", b.left.first)
	}
	// What is left waits a while, longer each time: the containers that are whole are gone from the job.
	return &metapb.FinishJob{JobId: job.Id, Objects: objects, Failed: b.left.runs > 0}, sizes, nil
}

// uploads puts finished objects while the next one is built, a bounded number at once.
type uploads struct {
	worker *Worker
	held   *lease
	group  *errgroup.Group
	ctx    context.Context

	mu struct {
		sync.Mutex
		objects map[uint32]*metapb.SegmentObject
	}
}

func newUploads(ctx context.Context, w *Worker, held *lease) *uploads {
	u := &uploads{worker: w, held: held}
	u.group, u.ctx = errgroup.WithContext(ctx)
	u.group.SetLimit(w.config.Uploads)
	u.mu.objects = map[uint32]*metapb.SegmentObject{}
	return u
}

// start puts the object in the background; it blocks while the bound is reached.
func (u *uploads) start(_ context.Context, ordinal uint32, body []byte, parts []segment.Part) error {
	u.group.Go(func() error {
		header, err := segment.ParseHeader(body)
		if err != nil {
			return err
		}
		key := meta.SegmentKey(meta.JobID(header.JobID), ordinal)
		if err := upload.Put(u.ctx, u.worker.store, key, body, u.worker.log); err != nil {
			return err
		}
		u.held.progress()
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mu.objects[ordinal] = describeObject(header.JobID, ordinal, len(body), parts)
		return nil
	})
	return nil
}

func (u *uploads) wait() ([]*metapb.SegmentObject, error) {
	if err := u.group.Wait(); err != nil {
		return nil, err
	}
	objects := make([]*metapb.SegmentObject, len(u.mu.objects))
	for ordinal, object := range u.mu.objects {
		objects[ordinal] = object
	}
	return objects, nil
}

func describeObject(job uint64, ordinal uint32, size int, parts []segment.Part) *metapb.SegmentObject {
	o := &metapb.SegmentObject{JobId: job, Ordinal: ordinal, SizeBytes: uint64(size), Parts: make([]*metapb.Part, len(parts))}
	for i := range parts {
		p := &parts[i]
		o.Parts[i] = &metapb.Part{
			TopicId: p.TopicID[:], Partition: p.Partition, BaseOffset: p.BaseOffset, NextOffset: p.NextOffset,
			Position: p.Position, Length: p.LengthBytes, IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes,
			MaxTimestamp: p.MaxTimestamp, MaxTimestampOffset: -1, MinTimestamp: p.MinTimestamp, Records: p.Records,
		}
	}
	return o
}

// segmentBytes is the topic's segment.bytes, 0 where it is not set.
func segmentBytes(t *metapb.JobTopic) int {
	n, err := strconv.Atoi(t.Configs["segment.bytes"])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
