package leader

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
)

// Register puts the leader's methods on the internal listener. Before it leads, and after, they answer ErrNotLeader with the
// address of whom the log names.
func (l *Leader) Register(r rpc.Registrar) {
	method(l, r, replica.MethodSubmit, func(ctx context.Context, request *metapb.SubmitRequest) (*metapb.SubmitResponse, error) {
		if epoch := l.epoch.Load(); request.LeaderEpoch != 0 && request.LeaderEpoch != epoch {
			// It may be a late one, of which the caller knows already that its leader did not execute it.
			return nil, fmt.Errorf("submit to the leader of epoch %d, this one's is %d: %w", request.LeaderEpoch, epoch, replica.ErrNotLeader)
		}
		seq, err := l.Submit(ctx, request.Commands)
		return &metapb.SubmitResponse{Seq: seq}, err
	})
	method(l, r, replica.MethodBarrier, func(ctx context.Context, _ *metapb.BarrierRequest) (*metapb.BarrierResponse, error) {
		seq, err := l.Barrier(ctx)
		return &metapb.BarrierResponse{Seq: seq}, err
	})
	method(l, r, replica.MethodPing, l.Ping)
	method(l, r, replica.MethodJobLease, l.LeaseJob)
	method(l, r, replica.MethodJobRenew, l.RenewJob)
	method(l, r, replica.MethodJobFinish, l.FinishJob)
	method(l, r, replica.MethodCompactionLease, l.LeaseCompaction)
	method(l, r, replica.MethodCompactionReport, l.ReportCompaction)
	method(l, r, replica.MethodGarbage, l.Garbage)
	method(l, r, replica.MethodGarbageForget, l.ForgetGarbage)
	method(l, r, replica.MethodReferenced, l.Referenced)
	method(l, r, replica.MethodNodeList, l.ListNodes)
	method(l, r, replica.MethodNodeForget, l.ForgetNode)
}

func method[Req any, P interface {
	*Req
	proto.Message
}, Resp proto.Message](l *Leader, r rpc.Registrar, name string, f func(context.Context, P) (Resp, error)) {
	rpc.Method(r, name, func(ctx context.Context, request P) (Resp, error) {
		var none Resp
		if !l.queue.isOpen() {
			return none, l.elsewhere(replica.ErrNotLeader)
		}
		answer, err := f(ctx, request)
		if err != nil {
			if errors.Is(err, replica.ErrNotLeader) {
				err = l.elsewhere(err)
			}
			return none, err
		}
		return answer, nil
	})
}

// elsewhere adds to err the address of the leader, where that is another.
func (l *Leader) elsewhere(err error) error {
	address := ""
	l.cfg.Replica.View(func(s *meta.State) { address = s.LeaderAddress() })
	if address == "" || address == l.cfg.InternalAddress {
		return err
	}
	return rpc.NotLeader(err, address)
}
