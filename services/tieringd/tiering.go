// Package tieringd wires a tiering worker: shipping, compacting and sweeping over the leader's jobs.
package tieringd

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/services/process"
	"github.com/varvelog/varve/tiering/compact"
	"github.com/varvelog/varve/tiering/ship"
	"github.com/varvelog/varve/tiering/sweep"
)

// Leader is what a worker asks of the leader.
type Leader interface {
	ship.Leader
	compact.Leader
	sweep.Leader
}

// Worker is a running tiering worker.
type Worker struct {
	stop    context.CancelFunc
	cancel  func() // of the subscription to hints
	running sync.WaitGroup
}

// Identity tells a worker apart from all others.
type Identity struct {
	// Name is this worker's alone.
	Name string
	// Left are jobs under lease that a process of this name took before it died. They are given back.
	Left []meta.JobID
}

// NewIdentity names a worker that nobody can know again after a restart.
func NewIdentity() (Identity, error) {
	host, err := os.Hostname()
	if err != nil {
		return Identity{}, fmt.Errorf("name worker: %w", err)
	}
	return Identity{Name: fmt.Sprintf("%s/%d/%s", host, os.Getpid(), rand.Text()[:8])}, nil
}

// Resume names the worker of the process that alone has a hot log: it is known again when the process is started again.
func Resume(r *replica.Replica, disk string) Identity {
	id := Identity{Name: "disk " + disk}
	r.View(func(s *meta.State) {
		for _, job := range s.Jobs() {
			if job.Worker == id.Name {
				id.Left = append(id.Left, job.ID)
			}
		}
	})
	return id
}

// Start gives back what the worker had taken before and begins to take jobs.
func Start(ctx context.Context, p *process.Process, id Identity, leader Leader, hot ship.HotSource) (*Worker, error) {
	for _, job := range id.Left {
		if _, err := leader.FinishJob(ctx, &metapb.JobFinishRequest{Finish: &metapb.FinishJob{JobId: uint64(job), Failed: true}}); err != nil {
			return nil, fmt.Errorf("give back job %d: %w", job, err)
		}
	}
	m := newMetrics(p.Registry)
	hints := make(chan struct{}, 1)
	cancel, err := p.Bus.Subscribe(bus.JobsSubject(p.Cluster.ClusterID), func([]byte) {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for jobs: %w", err)
	}
	shipper, err := ship.New(ship.Config{Name: id.Name, JobBytes: uint64(p.Config.ShipBytes), Lease: p.Config.JobLease}, leader, hot, p.Store, hints, m, p.Log)
	if err != nil {
		cancel()
		return nil, err
	}
	sweeper, err := sweep.New(sweep.Config{DeleteDelay: p.Config.DeleteDelay, OrphanAge: p.Config.OrphanAge, OrphanInterval: p.Config.SweepInterval, Guard: p.CheckIdentity}, leader, p.Store, m, p.Log)
	if err != nil {
		cancel()
		return nil, err
	}
	compacter, err := compact.New(compact.Config{Name: id.Name, MapBytes: int(p.Config.CompactMemory), Poll: p.Config.CompactInterval, Lease: p.Config.JobLease, MergeAge: mergeAge(p.Config.MergeAge)}, leader, p.Store, m, p.Log)
	if err != nil {
		cancel()
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &Worker{stop: stop, cancel: cancel}
	w.running.Go(func() { shipper.Run(background) })
	w.running.Go(func() { compacter.Run(background) })
	w.running.Go(func() { sweeper.Run(background) })
	p.Log.Info("tiering worker takes jobs", "bucket", p.Store.String())
	return w, nil
}

// Close stops the worker; a job under way is given back.
func (w *Worker) Close() {
	w.cancel()
	w.stop()
	w.running.Wait()
}

// Remote asks a leader in another process.
type Remote struct{ leader *replica.Remote }

// NewRemote returns a Remote.
func NewRemote(leader *replica.Remote) *Remote { return &Remote{leader} }

// askTimeout bounds a question: a leader on a machine that hangs neither answers nor breaks the connection.
const askTimeout = 30 * time.Second

func ask[R any, P interface {
	*R
	proto.Message
}](ctx context.Context, r *Remote, method string, request proto.Message) (P, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer := P(new(R))
	if err := r.leader.Call(ctx, method, request, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// LeaseJob implements ship.Leader.
func (r *Remote) LeaseJob(ctx context.Context, q *metapb.JobLeaseRequest) (*metapb.JobLeaseResponse, error) {
	return ask[metapb.JobLeaseResponse](ctx, r, replica.MethodJobLease, q)
}

// RenewJob implements ship.Leader.
func (r *Remote) RenewJob(ctx context.Context, q *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
	return ask[metapb.JobRenewResponse](ctx, r, replica.MethodJobRenew, q)
}

// FinishJob implements ship.Leader.
func (r *Remote) FinishJob(ctx context.Context, q *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	return ask[metapb.JobFinishResponse](ctx, r, replica.MethodJobFinish, q)
}

// mergeAge is what a worker is told: it takes 0 for its default.
func mergeAge(configured time.Duration) time.Duration {
	if configured == 0 {
		return -1
	}
	return configured
}

// LeaseCompaction implements compact.Leader.
func (r *Remote) LeaseCompaction(ctx context.Context, q *metapb.CompactionLeaseRequest) (*metapb.CompactionLeaseResponse, error) {
	return ask[metapb.CompactionLeaseResponse](ctx, r, replica.MethodCompactionLease, q)
}

// ReportCompaction implements compact.Leader.
func (r *Remote) ReportCompaction(ctx context.Context, q *metapb.CompactionReportRequest) (*metapb.CompactionReportResponse, error) {
	return ask[metapb.CompactionReportResponse](ctx, r, replica.MethodCompactionReport, q)
}

// Garbage implements sweep.Leader.
func (r *Remote) Garbage(ctx context.Context, q *metapb.GarbageRequest) (*metapb.GarbageResponse, error) {
	return ask[metapb.GarbageResponse](ctx, r, replica.MethodGarbage, q)
}

// ForgetGarbage implements sweep.Leader.
func (r *Remote) ForgetGarbage(ctx context.Context, q *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error) {
	return ask[metapb.GarbageForgetResponse](ctx, r, replica.MethodGarbageForget, q)
}

// Referenced implements sweep.Leader.
func (r *Remote) Referenced(ctx context.Context, q *metapb.ReferencedRequest) (*metapb.ReferencedResponse, error) {
	return ask[metapb.ReferencedResponse](ctx, r, replica.MethodReferenced, q)
}
