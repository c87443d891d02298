package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/infra/rpc"
)

// The leader's methods on the internal listener (coordinator/metapb internal.proto).
const (
	MethodSubmit           = "submit"
	MethodBarrier          = "barrier"
	MethodPing             = "ping"
	MethodJobLease         = "job/lease"
	MethodJobFinish        = "job/finish"
	MethodCompactionLease  = "compaction/lease"
	MethodCompactionReport = "compaction/report"
	MethodGarbage          = "garbage"
	MethodGarbageForget    = "garbage/forget"
	MethodReferenced       = "referenced"
)

const (
	leaderQuestion = 500 * time.Millisecond
	leaderAttempts = 3
)

// Asker is what Remote needs of the bus.
type Asker interface {
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// RemoteConfig says how to find a leader in another process.
type RemoteConfig struct {
	Client    *rpc.Client
	ClusterID string
	// Bus is asked who leads; nil for none.
	Bus Asker
	// Replica knows who led last; nil for none.
	Replica *Replica
	// Address is tried where nobody knows anything; may be empty.
	Address string
}

// Remote is a leader in another process, whoever it is at the moment. It is a Submitter.
type Remote struct {
	cfg     RemoteConfig
	address atomic.Pointer[string]
}

var _ Submitter = (*Remote)(nil)

// NewRemote returns a Remote. Nothing is called before the first use.
func NewRemote(cfg RemoteConfig) *Remote { return &Remote{cfg: cfg} }

// Call asks the leader to execute method. While it is certain that nobody has, it looks for the leader and asks again, a
// few times: ErrNoLeader. Other errors are the leader's, or leave open whether it was executed.
func (m *Remote) Call(ctx context.Context, method string, request, response proto.Message) error {
	var last error
	asked := ""
	for range leaderAttempts {
		address := m.find(ctx, asked, last)
		if address == "" {
			break
		}
		err := m.cfg.Client.Call(ctx, address, method, request, response)
		if err == nil {
			m.address.Store(&address)
			return nil
		}
		if errors.Is(err, ErrBusy) || errors.Is(err, rpc.ErrOverloaded) {
			return err
		}
		// Who did not answer may be asleep, and succeeded meanwhile: the next question goes to whom the log or the bus names.
		m.address.Store(nil)
		if !definite(err) || ctx.Err() != nil {
			return err
		}
		asked, last = address, err
	}
	if last == nil {
		return ErrNoLeader
	}
	return fmt.Errorf("%w: %w", ErrNoLeader, last)
}

// find returns where to ask next after asked has failed with last: the address a follower named, the one that answered
// before, the log's, the bus's, the configured one. It is empty where there is none but asked.
func (m *Remote) find(ctx context.Context, asked string, last error) string {
	if hint := rpc.LeaderHint(last); hint != "" && hint != asked {
		return hint
	}
	if address := m.address.Load(); address != nil && *address != asked {
		return *address
	}
	if asked == "" && m.cfg.Replica != nil {
		logged := ""
		m.cfg.Replica.View(func(s *meta.State) { logged = s.LeaderAddress() })
		if logged != "" {
			return logged
		}
	}
	if answer := m.ask(ctx); answer != "" && answer != asked {
		return answer
	}
	if m.cfg.Address != asked {
		return m.cfg.Address
	}
	return ""
}

func (m *Remote) ask(ctx context.Context) string {
	if m.cfg.Bus == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, leaderQuestion)
	defer cancel()
	body, err := m.cfg.Bus.Request(ctx, bus.LeaderSubject(m.cfg.ClusterID), nil)
	if err != nil {
		return "" // a hint that stays away
	}
	var answer bus.LeaderAnswer
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Address
}

// Submit implements Submitter.
func (m *Remote) Submit(ctx context.Context, commands []*metapb.Command) (uint64, error) {
	var answer metapb.SubmitResponse
	err := m.Call(ctx, MethodSubmit, &metapb.SubmitRequest{Commands: commands}, &answer)
	switch {
	case errors.Is(err, proto.Error) && !errors.Is(err, rpc.ErrBroken):
		return 0, fmt.Errorf("%w: %w", ErrMalformed, err) // the request itself; it was not sent
	case errors.Is(err, rpc.ErrTooLarge):
		return 0, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return answer.Seq, err
}

// Barrier implements Submitter.
func (m *Remote) Barrier(ctx context.Context) (uint64, error) {
	var answer metapb.BarrierResponse
	err := m.Call(ctx, MethodBarrier, &metapb.BarrierRequest{}, &answer)
	return answer.Seq, err
}

// Ping implements Submitter.
func (m *Remote) Ping(ctx context.Context, request *metapb.PingRequest) (*metapb.PingResponse, error) {
	answer := new(metapb.PingResponse)
	if err := m.Call(ctx, MethodPing, request, answer); err != nil {
		return nil, err
	}
	return answer, nil
}
