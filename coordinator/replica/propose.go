package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
)

// Propose submits command to the leader and returns the verdict when it is applied here. The command is given an id unless
// it has one, and must not be changed afterwards. While it is certain that no leader has taken it, it is submitted again,
// until ctx ends: ErrNoLeader. After that it may have been taken: ErrAmbiguous where ctx ends without a verdict. Where a
// leader is succeeded before it has put the command in the log, it never will, and the successor gets it. A refusal by the
// state is a verdict, not an error; so is that of a command which cannot be encoded (Malformed).
func (r *Replica) Propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	return r.ProposeWhile(ctx, command, func() bool { return true })
}

// ProposeWhile is Propose for a command that is valid for a time only: it is submitted, and submitted again, while valid says so. Else ErrWithdrawn, and it is not in the log.
func (r *Replica) ProposeWhile(ctx context.Context, command *metapb.Command, valid func() bool) (meta.Verdict, error) {
	var id commandID
	if len(command.Id) == 0 {
		id = r.ids.next()
		command.Id = id[:]
	} else if copy(id[:], command.Id) != len(id) || len(command.Id) != len(id) {
		return meta.Verdict{}, fmt.Errorf("propose: command id of %d bytes", len(command.Id))
	}
	verdict, forget := r.verdicts.add(id)
	defer forget()
	gaps := r.leads.gaps.Load()
	for {
		epoch := r.LeaderEpoch()
		err := r.submitUntilTaken(ctx, []*metapb.Command{command}, valid)
		if errors.Is(err, ErrMalformed) {
			return meta.Verdict{Code: meta.Malformed, Message: err.Error()}, nil
		}
		if err != nil && !errors.Is(err, ErrAmbiguous) {
			return meta.Verdict{}, err
		}
		ends, release := ctx, func() {}
		if open := new(openError); errors.As(err, &open) {
			epoch = open.epoch
		}
		if err != nil {
			ends, release = r.leads.during(ctx, epoch)
		}
		v, settled := awaitVerdict(verdict, ends, r.ctx)
		release()
		switch {
		case settled && v.Code != meta.StaleLeader:
			return v, nil
		case settled:
			// The entry was void: its leader had been succeeded. The command goes to the new one.
		case r.ctx.Err() == nil && ctx.Err() == nil && r.leads.gaps.Load() == gaps:
			// Its leader was succeeded before it was in the log, and what is applied here is without a gap.
		default:
			if v, settled := awaitVerdict(verdict, ctx, r.ctx); settled && v.Code != meta.StaleLeader {
				return v, nil
			}
			return meta.Verdict{}, fmt.Errorf("propose: %w: %w", ErrAmbiguous, cmp.Or(ctx.Err(), ErrClosed))
		}
	}
}

// awaitVerdict returns the verdict, where there is one before either context ends.
func awaitVerdict(verdict <-chan meta.Verdict, a, b context.Context) (v meta.Verdict, settled bool) {
	select {
	case v := <-verdict:
		return v, true
	case <-a.Done():
	case <-b.Done():
	}
	select {
	case v := <-verdict: // it came with what ended the wait
		return v, true
	default:
		return v, false
	}
}

// SubmitChunks puts the commands in the log, in order. nil: they are there. Any error leaves open which of them are; a
// repeat of a CommitChunk or SealContainer changes nothing. Verdicts go to the sink of the node's epoch (SubscribeChunks).
func (r *Replica) SubmitChunks(ctx context.Context, commands []*metapb.Command) error {
	leader, err := r.leader()
	if err != nil {
		return err
	}
	seq, err := leader.Submit(ctx, commands)
	if err == nil {
		r.Expect(seq)
	}
	return err
}

// Expect has Follow bring the entry at seq, which is in the log, soon.
func (r *Replica) Expect(seq uint64) {
	if r.Seq() < seq {
		r.Hear(seq)
		signal(r.wanted)
	}
}

// submitUntilTaken submits until the commands are in the log (nil), may be (ErrAmbiguous) or are not valid (ErrWithdrawn).
func (r *Replica) submitUntilTaken(ctx context.Context, commands []*metapb.Command, valid func() bool) error {
	wait := firstRetry
	for {
		if !valid() {
			return ErrWithdrawn
		}
		leader, err := r.leader()
		if err == nil {
			var seq uint64
			seq, err = leader.Submit(ctx, commands)
			if err == nil {
				r.Expect(seq)
				return nil
			}
		}
		switch {
		case errors.Is(err, ErrTooLarge), errors.Is(err, ErrMalformed):
			return err
		case !definite(err):
			return fmt.Errorf("%w: %w", ErrAmbiguous, err)
		}
		if sleepErr := r.pause(ctx, &wait); sleepErr != nil {
			return fmt.Errorf("%w: %w: %w", ErrNoLeader, sleepErr, err)
		}
	}
}

// pause waits with jitter, longer each time.
func (r *Replica) pause(ctx context.Context, wait *time.Duration) error {
	timer := time.NewTimer(*wait/2 + rand.N(*wait))
	defer timer.Stop()
	*wait = min(2**wait, lastRetry)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return ErrClosed
	}
}

// Ping tells the leader that a node lives, and learns from it how far the log is.
func (r *Replica) Ping(ctx context.Context, request *metapb.PingRequest) (*metapb.PingResponse, error) {
	leader, err := r.leader()
	if err != nil {
		return nil, err
	}
	answer, err := leader.Ping(ctx, request)
	if err != nil {
		return nil, err
	}
	r.Expect(answer.Seq)
	r.barriers.pinged.Store(time.Now().UnixNano())
	return answer, nil
}
