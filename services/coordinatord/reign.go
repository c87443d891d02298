package coordinatord

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/delivery"
	"github.com/varvelog/varve/coordinator/group"
	"github.com/varvelog/varve/coordinator/leader"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/process"
)

// reign is one time of leading, with what runs beside the leader. Groups and shares begin anew from the state with each.
type reign struct {
	leader *leader.Leader
	groups *group.Coordinator
	shares *delivery.Coordinator

	handlers map[string]rpc.Handler
	cancel   func()        // of the answers to who leads
	stop     func()        // of the leader
	ended    chan struct{} // closed when the leader has stopped sequencing; err is set then
	err      error
	over     atomic.Bool // nobody but the log is told anything any more
	life     context.Context
	die      context.CancelFunc // ends requests: what was decided in this reign is not proposed in another of the same process
	running  sync.WaitGroup
}

func newReign(stop func()) *reign {
	n := &reign{stop: stop, ended: make(chan struct{}), handlers: map[string]rpc.Handler{}}
	n.life, n.die = context.WithCancel(context.Background())
	return n
}

// begin takes over, and returns when this process leads or cannot.
func begin(ctx context.Context, p *process.Process, r *replica.Replica, config leader.Config) (_ *reign, err error) {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := newReign(stop)
	defer func() {
		if err != nil {
			n.end()
		}
	}()
	if n.leader, err = leader.New(config); err != nil {
		close(n.ended)
		return nil, fmt.Errorf("configure leader: %w", err)
	}
	r.SetSubmitter(n.leader)
	started := make(chan struct{})
	n.running.Go(func() {
		defer close(n.ended)
		n.err = n.leader.Run(background, func() { close(started) })
	})
	select {
	case <-started:
	case <-n.ended:
		return nil, fmt.Errorf("take over as leader: %w", n.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("take over as leader: %w", ctx.Err())
	}
	n.groups = group.New(group.Limits{}, r, p.Log)
	n.shares = delivery.New(r, p.Log)
	n.leader.Register(n)
	group.Register(n, n.groups)
	delivery.Register(n, n.shares)
	if n.cancel, err = p.Bus.Respond(bus.LeaderSubject(p.Cluster.ClusterID), n.leader.AnswerLeader); err != nil {
		return nil, fmt.Errorf("answer who leads: %w", err)
	}
	return n, nil
}

// Handle implements rpc.Registrar. Who waits for a group's answer when the reign ends gets none, since the group goes on elsewhere.
func (n *reign) Handle(method string, h rpc.Handler) {
	ofGroups := strings.HasPrefix(method, "group/")
	n.handlers[method] = func(ctx context.Context, body []byte) (proto.Message, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(n.life, cancel)()
		answer, err := h(ctx, body)
		if n.over.Load() && (ofGroups || errors.Is(err, group.ErrClosed)) {
			return nil, replica.ErrNotLeader
		}
		return answer, err
	}
}

// end stops leading: what is being appended is settled, nobody is answered anything after that, and no request goes on.
func (n *reign) end() {
	n.over.Store(true)
	if n.cancel != nil {
		n.cancel()
	}
	n.stop()
	n.running.Wait()
	if n.groups != nil {
		n.groups.Close()
	}
	if n.shares != nil {
		n.shares.Close()
	}
	n.die()
}
