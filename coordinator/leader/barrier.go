package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// inFlightGrace is how long an entry that is in the log may take to be applied here before this leader doubts that it leads.
const inFlightGrace = 100 * time.Millisecond

// errNoRide: a barrier wanted to ride along with the next entry, and there was none.
var errNoRide = errors.New("no entry to ride along with")

// BarrierIsFree says that nobody but this process can have answered anything: what is answered here is applied here.
func (l *Leader) BarrierIsFree() bool { return l.cfg.Exclusive && l.queue.isOpen() }

// Barrier implements replica.Submitter. Under load it rides along with the next entry, which begins after the call; else it
// asks the log for its end, which covers everything that is durable, whoever leads, or appends where the log may not know.
func (l *Leader) Barrier(ctx context.Context) (uint64, error) {
	if !l.queue.isOpen() {
		return 0, replica.ErrNotLeader
	}
	if l.BarrierIsFree() {
		return l.cfg.Replica.Seq(), nil
	}
	if l.queue.waits() {
		seq, err := l.queue.submit(ctx, nil)
		if !errors.Is(err, errNoRide) {
			return seq, err
		}
	}
	if l.cfg.BarrierAppends {
		return l.queue.submit(ctx, []*metapb.Command{noop()})
	}
	_, next, err := l.cfg.Log.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("find metalog's end: %w", err)
	}
	if err := l.ownTo(ctx, next-1); err != nil {
		return 0, err
	}
	return next - 1, nil
}

func noop() *metapb.Command { return &metapb.Command{Kind: &metapb.Command_Noop{Noop: &metapb.Noop{}}} }

// ownTo makes sure that the log up to seq is this leader's and applied. What is not applied soon, somebody else may have
// appended: an append of this leader's shows who leads.
func (l *Leader) ownTo(ctx context.Context, seq uint64) error {
	soon, cancel := context.WithTimeout(ctx, inFlightGrace)
	defer cancel()
	if l.cfg.Replica.WaitSeq(soon, seq) == nil {
		return nil
	}
	return l.Doubt(ctx)
}
