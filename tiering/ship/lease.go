package ship

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// leaseShare is how often in a lease it may be renewed: what fails once or twice has time to be tried again.
const leaseShare = 6

// lease is a job's. It is renewed while the job makes progress: containers opened, runs read, objects stored. A job that stands still loses it,
// and another worker may take what it has.
type lease struct {
	steps atomic.Uint64
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// hold keeps a job that was just leased. The context ends with the lease; the caller must call end.
func (w *Worker) hold(ctx context.Context, job uint64) (*lease, context.Context) {
	leased, lose := context.WithCancelCause(ctx)
	ended := time.AfterFunc(w.config.Lease, func() { lose(fmt.Errorf("the lease of %s ended", w.config.Lease)) })
	l := &lease{stop: func() { ended.Stop(); lose(context.Canceled) }}
	l.done.Go(func() { w.renew(leased, l, job, ended, lose) })
	return l, leased
}

// progress notes that the job goes on.
func (l *lease) progress() { l.steps.Add(1) }

// end stops renewing.
func (l *lease) end() {
	l.stop()
	l.done.Wait()
}

func (w *Worker) renew(leased context.Context, l *lease, job uint64, ended *time.Timer, lose context.CancelCauseFunc) {
	ticker := time.NewTicker(w.config.Lease / leaseShare)
	defer ticker.Stop()
	last := time.Now().Add(w.config.LeaseMax - w.config.Lease) // renewed later, it would be longer than it may
	for seen := uint64(0); ; {
		select {
		case <-leased.Done():
			return
		case <-ticker.C:
		}
		asked, steps := time.Now(), l.steps.Load()
		if steps == seen || asked.After(last) {
			continue
		}
		answer, err := w.leader.RenewJob(leased, &metapb.JobRenewRequest{JobId: job, LeaseMillis: w.config.Lease.Milliseconds()})
		switch {
		case err != nil:
			w.log.Debug("a job's lease could not be renewed; it is tried again", "job", job, "error", err)
		case answer.Ended:
			lose(errors.New("the lease has ended, and others may have what it was for"))
			return
		default:
			seen = steps
			ended.Reset(time.Until(asked.Add(w.config.Lease)))
		}
	}
}
