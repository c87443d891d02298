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
)

// Bus is what a coordinator needs of the bus.
type Bus interface {
	replica.Bus
	Respond(subject string, answer func(data []byte) []byte) (cancel func(), err error)
}

// Reign is one time of leading, with what runs beside the leader. Groups and shares begin anew from the state with each.
type Reign struct {
	Leader *leader.Leader
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

func newReign(stop func()) *Reign {
	n := &Reign{stop: stop, ended: make(chan struct{}), handlers: map[string]rpc.Handler{}}
	n.life, n.die = context.WithCancel(context.Background())
	return n
}

// Begin takes over with config's replica, and returns when this process leads or cannot. Who asks on the bus is told so.
func Begin(ctx context.Context, b Bus, config leader.Config) (_ *Reign, err error) {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := newReign(stop)
	defer func() {
		if err != nil {
			n.End()
		}
	}()
	if n.Leader, err = leader.New(config); err != nil {
		close(n.ended)
		return nil, fmt.Errorf("configure leader: %w", err)
	}
	r, log := config.Replica, config.Logger
	r.SetSubmitter(n.Leader)
	started := make(chan struct{})
	n.running.Go(func() {
		defer close(n.ended)
		n.err = n.Leader.Run(background, func() { close(started) })
	})
	select {
	case <-started:
	case <-n.ended:
		return nil, fmt.Errorf("take over as leader: %w", n.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("take over as leader: %w", ctx.Err())
	}
	n.groups = group.New(group.Limits{}, r, log)
	n.shares = delivery.New(r, log)
	n.Leader.Register(n)
	group.Register(n, n.groups)
	delivery.Register(n, n.shares)
	if n.cancel, err = b.Respond(bus.LeaderSubject(config.ClusterID), n.Leader.AnswerLeader); err != nil {
		return nil, fmt.Errorf("answer who leads: %w", err)
	}
	return n, nil
}

// Handle implements rpc.Registrar. Who waits for a group's answer when the reign ends gets none, since the group goes on elsewhere.
func (n *Reign) Handle(method string, h rpc.Handler) {
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

// Handler serves a method, nil where it is none of a leader's.
func (n *Reign) Handler(method string) rpc.Handler { return n.handlers[method] }

// Ended is closed when the leader has stopped sequencing, for the reason that Err tells then.
func (n *Reign) Ended() <-chan struct{} { return n.ended }

// Err is why the leader has stopped.
func (n *Reign) Err() error { return n.err }

// End stops leading: what is being appended is settled, nobody is answered anything after that, and no request goes on.
func (n *Reign) End() {
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
