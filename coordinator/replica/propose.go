package replica

import (
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
// until ctx ends: ErrNoLeader. After that it may have been taken: ErrAmbiguous where ctx ends without a verdict. A refusal
// by the state is a verdict, not an error; so is that of a command which cannot be encoded (Malformed).
func (r *Replica) Propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	var id commandID
	if len(command.Id) == 0 {
		id = r.ids.next()
		command.Id = id[:]
	} else if copy(id[:], command.Id) != len(id) || len(command.Id) != len(id) {
		return meta.Verdict{}, fmt.Errorf("propose: command id of %d bytes", len(command.Id))
	}
	verdict, forget := r.verdicts.add(id)
	defer forget()
	for {
		err := r.submitUntilTaken(ctx, []*metapb.Command{command})
		if errors.Is(err, ErrMalformed) {
			return meta.Verdict{Code: meta.Malformed, Message: err.Error()}, nil
		}
		if err != nil && !errors.Is(err, ErrAmbiguous) {
			return meta.Verdict{}, err
		}
		select {
		case v := <-verdict:
			if v.Code != meta.StaleLeader {
				return v, nil
			}
			// The entry was void: its leader had been succeeded. The command goes to the new one.
		case <-ctx.Done():
			return meta.Verdict{}, fmt.Errorf("propose: %w: %w", ErrAmbiguous, ctx.Err())
		case <-r.ctx.Done():
			return meta.Verdict{}, fmt.Errorf("propose: %w: %w", ErrAmbiguous, ErrClosed)
		}
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
		r.expect(seq)
	}
	return err
}

// expect has Follow bring the entry at seq, which is in the log, soon.
func (r *Replica) expect(seq uint64) {
	if r.Seq() < seq {
		r.Hear(seq)
		signal(r.wanted)
	}
}

// submitUntilTaken submits until the commands are in the log (nil) or may be (ErrAmbiguous).
func (r *Replica) submitUntilTaken(ctx context.Context, commands []*metapb.Command) error {
	wait := firstRetry
	for {
		leader, err := r.leader()
		if err == nil {
			var seq uint64
			seq, err = leader.Submit(ctx, commands)
			if err == nil {
				r.expect(seq)
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
	r.expect(answer.Seq)
	r.barriers.pinged.Store(time.Now().UnixNano())
	return answer, nil
}
