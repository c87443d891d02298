package ship

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// workFor makes progress every so often for a while, or until the lease ends; it returns how long that was.
func workFor(leased context.Context, held *lease, total, step time.Duration) (worked time.Duration) {
	began := time.Now()
	for time.Since(began) < total {
		select {
		case <-time.After(step):
			held.progress()
		case <-leased.Done():
			return time.Since(began)
		}
	}
	return time.Since(began)
}

func TestAJobThatGoesOnKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		until := time.Now().Add(time.Minute) // what the leader knows
		refused := 0
		f.renew = func(r *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
			if time.Now().After(until) || r.JobId != 9 {
				t.Errorf("job %d is renewed %v after its lease", r.JobId, time.Since(until))
			}
			if f.renewals%2 == 1 {
				refused++
				return nil, errors.New("no leader")
			}
			until = time.Now().Add(time.Duration(r.LeaseMillis) * time.Millisecond)
			return &metapb.JobRenewResponse{}, nil
		}
		held, leased := f.worker(t, Config{Lease: time.Minute}, mem.New("ship")).hold(t.Context(), 9)
		worked, lost := workFor(leased, held, 20*time.Minute, 25*time.Second), context.Cause(leased)
		held.end()
		if worked < 20*time.Minute || lost != nil || time.Now().After(until) || refused == 0 {
			t.Errorf("%v, the lease is until %v, %d renewals were refused: %v", worked, until, refused, lost)
		}
	})
}

func TestAJobThatStandsStillLosesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		held, leased := f.worker(t, Config{Lease: time.Minute}, mem.New("ship")).hold(t.Context(), 9)
		defer held.end()
		workFor(leased, held, 90*time.Second, 15*time.Second)
		stopped := time.Now()
		<-leased.Done()
		if took := time.Since(stopped); took > 70*time.Second || !strings.Contains(context.Cause(leased).Error(), "the lease of 1m0s ended") {
			t.Errorf("it was held for another %v: %v", took, context.Cause(leased))
		}
	})
}

func TestALeaseIsNotRenewedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		held, leased := f.worker(t, Config{Lease: time.Minute, LeaseMax: 5 * time.Minute}, mem.New("ship")).hold(t.Context(), 9)
		defer held.end()
		if worked := workFor(leased, held, time.Hour, time.Second); worked < 4*time.Minute || worked > 5*time.Minute {
			t.Errorf("it was held for %v", worked)
		}
	})
}

func TestAJobWhoseLeaseHasEndedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.renew = func(*metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
			return &metapb.JobRenewResponse{Ended: true}, nil
		}
		held, leased := f.worker(t, Config{Lease: time.Minute}, mem.New("ship")).hold(t.Context(), 9)
		defer held.end()
		if worked := workFor(leased, held, time.Hour, time.Second); worked > 15*time.Second || !strings.Contains(context.Cause(leased).Error(), "the lease has ended") {
			t.Errorf("it went on for %v: %v", worked, context.Cause(leased))
		}
	})
}

func TestAJobThatIsDoneIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.add(t, 1, orders, 0, 0, 1)
		w := f.worker(t, Config{Lease: time.Minute}, mem.New("ship"))
		held, _ := w.hold(t.Context(), 9)
		held.progress()
		held.end()
		time.Sleep(time.Hour)
		if f.renewals != 0 {
			t.Errorf("%d renewals", f.renewals)
		}
	})
}
