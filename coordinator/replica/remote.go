package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

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
	MethodJobRenew         = "job/renew"
	MethodJobFinish        = "job/finish"
	MethodCompactionLease  = "compaction/lease"
	MethodCompactionReport = "compaction/report"
	MethodGarbage          = "garbage"
	MethodGarbageForget    = "garbage/forget"
	MethodReferenced       = "referenced"
	MethodNodeList         = "node/list"
	MethodNodeForget       = "node/forget"
)

const (
	leaderQuestion = 500 * time.Millisecond
	// leaderPatience is how long a leader is looked for: somewhat longer than a takeover takes.
	leaderPatience = 15 * time.Second
	// lastSearch is the longest pause between two looks for a leader.
	lastSearch = 100 * time.Millisecond
)

// Asker is what Remote needs of the bus.
type Asker interface {
	Request(ctx context.Context, subject string, data []byte, accept func(answer []byte) bool) ([]byte, error)
}

// RemoteConfig says how to find a leader in another process.
type RemoteConfig struct {
	Client *rpc.Client
	// Bus is asked who leads; nil for none. Key tells the leader's answer from a stranger's.
	Bus Asker
	Key *bus.Key
	// Replica knows whom the log names; nil for none.
	Replica *Replica
	// Addresses are those of coordinators, which are asked in turn where nobody knows who leads; may be empty.
	Addresses []string
}

// Remote is a leader in another process, whoever it is at the moment. It is a Submitter.
type Remote struct {
	cfg     RemoteConfig
	address atomic.Pointer[string] // that answered last
	turn    atomic.Uint64          // of Addresses
}

var _ Submitter = (*Remote)(nil)

// NewRemote returns a Remote. Nothing is called before the first use.
func NewRemote(cfg RemoteConfig) *Remote { return &Remote{cfg: cfg} }

// Call asks the leader to execute method. While it is certain that nobody has, it looks for the leader and asks again, until ctx ends or a while
// has passed: ErrNoLeader. Other errors are the leader's, or leave open whether it was executed: also where the log says meanwhile that
// another leads, so that no call waits for one that hangs.
func (m *Remote) Call(ctx context.Context, method string, request, response proto.Message) error {
	_, err := m.call(ctx, method, func(uint64) proto.Message { return request }, response)
	return err
}

// call is Call with a request that may name the epoch of the leader it is for; it returns that of the last one asked.
func (m *Remote) call(ctx context.Context, method string, request func(epoch uint64) proto.Message, response proto.Message) (epoch uint64, err error) {
	search := search{wait: firstRetry}
	var last error
	for {
		var address string
		epoch, address = m.find(ctx, &search)
		if address != "" {
			err := m.ask(ctx, epoch, address, method, request(epoch), response)
			switch {
			case err == nil:
				m.address.Store(&address)
				return epoch, nil
			case errors.Is(err, ErrBusy), errors.Is(err, rpc.ErrOverloaded), errors.Is(err, rpc.ErrTooLarge), errors.Is(err, rpc.ErrBadRequest):
				return epoch, err // no other leader would say otherwise
			}
			// Who did not answer may be asleep, and succeeded meanwhile: the next question goes to whom the log or the bus names.
			m.address.Store(nil)
			if !definite(err) || ctx.Err() != nil {
				return epoch, err
			}
			last, search.asked, search.hint = err, address, rpc.LeaderHint(err)
		}
		if !m.pause(ctx, &search, epoch) {
			if last == nil {
				last = errNobodyAnswered
				if search.strangers {
					last = errStrangersAnswered
				}
			}
			return epoch, fmt.Errorf("%w: %w", ErrNoLeader, last)
		}
	}
}

// ask calls address, as long as the log names no later leader than that of epoch.
func (m *Remote) ask(ctx context.Context, epoch uint64, address, method string, request, response proto.Message) error {
	if m.cfg.Replica == nil {
		return m.cfg.Client.Call(ctx, address, method, request, response)
	}
	ctx, release := m.cfg.Replica.leads.during(ctx, epoch)
	defer release()
	if errors.Is(context.Cause(ctx), errSucceeded) {
		return ErrNotLeader // nothing was sent
	}
	err := m.cfg.Client.Call(ctx, address, method, request, response)
	if err != nil && errors.Is(context.Cause(ctx), errSucceeded) {
		return fmt.Errorf("%w: %w", errSucceeded, err)
	}
	return err
}

// search is one look for the leader.
type search struct {
	began time.Time // zero before the first failure
	wait  time.Duration
	asked string // who could not execute the call
	hint  string // whom it named

	strangers bool // somebody said on the bus that he leads, and did not prove to be of the cluster
}

// What is known of a leader that was not found, where nobody was asked.
var (
	errNobodyAnswered    = errors.New("nobody says that he leads")
	errStrangersAnswered = errors.New("who says on NATS that he leads is not of the cluster, or of a build that does not prove it; NATS should authenticate (--nats-url)")
)

// find returns whom to ask next, and the epoch of the last leader the log names. Hints come first, then the log where it names somebody who was not asked
// yet, whoever answered last, the bus, and the coordinators in turn.
func (m *Remote) find(ctx context.Context, s *search) (epoch uint64, address string) {
	named := ""
	if m.cfg.Replica != nil {
		epoch, named = m.cfg.Replica.leaderNamed()
	}
	hint := s.hint
	s.hint = ""
	switch answered := m.address.Load(); {
	case hint != "" && hint != s.asked:
		return epoch, hint
	case named != "" && named != s.asked:
		return epoch, named
	case m.cfg.Replica == nil && answered != nil && *answered != s.asked:
		return epoch, *answered
	}
	if address := m.askBus(ctx, s, epoch); address != "" && address != s.asked {
		return epoch, address
	}
	if n := uint64(len(m.cfg.Addresses)); n > 0 {
		return epoch, m.cfg.Addresses[m.turn.Add(1)%n]
	}
	return epoch, named
}

// pause waits before the next look; false where there is to be none.
func (m *Remote) pause(ctx context.Context, s *search, epoch uint64) bool {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if time.Since(s.began) > leaderPatience {
		return false
	}
	var succeeded <-chan struct{}
	if m.cfg.Replica != nil {
		m.cfg.Replica.Doubt()
		next, release := m.cfg.Replica.leads.during(ctx, epoch)
		defer release()
		succeeded = next.Done()
	}
	timer := time.NewTimer(s.wait/2 + rand.N(s.wait))
	defer timer.Stop()
	s.wait = min(2*s.wait, lastSearch)
	select {
	case <-timer.C:
	case <-succeeded:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// askBus asks the bus who leads, unless the log says so meanwhile.
func (m *Remote) askBus(ctx context.Context, s *search, epoch uint64) string {
	if m.cfg.Bus == nil {
		return ""
	}
	if m.cfg.Replica != nil {
		next, release := m.cfg.Replica.leads.during(ctx, epoch)
		defer release()
		ctx = next
	}
	ctx, cancel := context.WithTimeout(ctx, leaderQuestion)
	defer cancel()
	var answer bus.LeaderAnswer
	question := bus.NewLeaderQuestion()
	_, err := m.cfg.Bus.Request(ctx, bus.LeaderSubject(m.cfg.Key.ClusterID()), question, func(body []byte) (ok bool) {
		answer, ok = m.cfg.Key.ReadLeaderAnswer(question, body)
		s.strangers = s.strangers || !ok
		return ok
	})
	if err != nil {
		return "" // a hint that stays away
	}
	return answer.Address
}

// Submit implements Submitter. It submits to the leader that the log names, and to no later one: a request that is late must not be taken for
// one that was repeated.
func (m *Remote) Submit(ctx context.Context, commands []*metapb.Command) (uint64, error) {
	var answer metapb.SubmitResponse
	epoch, err := m.call(ctx, MethodSubmit, func(epoch uint64) proto.Message {
		return &metapb.SubmitRequest{Commands: commands, LeaderEpoch: epoch}
	}, &answer)
	switch {
	case errors.Is(err, proto.Error) && !errors.Is(err, rpc.ErrBroken):
		return 0, fmt.Errorf("%w: %w", ErrMalformed, err) // the request itself; it was not sent
	case errors.Is(err, rpc.ErrTooLarge):
		return 0, fmt.Errorf("%w: %w", ErrTooLarge, err)
	case err != nil && !definite(err):
		return 0, &openError{epoch, err}
	}
	return answer.Seq, err
}

// openError leaves open whether the leader of epoch has put in the log, or will, what was submitted to it.
type openError struct {
	epoch uint64
	err   error
}

func (e *openError) Error() string { return e.err.Error() }
func (e *openError) Unwrap() error { return e.err }

// Barrier implements Submitter.
func (m *Remote) Barrier(ctx context.Context) (uint64, error) {
	var answer metapb.BarrierResponse
	for {
		err := m.Call(ctx, MethodBarrier, &metapb.BarrierRequest{}, &answer)
		if !errors.Is(err, errSucceeded) || ctx.Err() != nil {
			return answer.Seq, err
		}
	}
}

// Ping implements Submitter.
func (m *Remote) Ping(ctx context.Context, request *metapb.PingRequest) (*metapb.PingResponse, error) {
	answer := new(metapb.PingResponse)
	if err := m.Call(ctx, MethodPing, request, answer); err != nil {
		return nil, err
	}
	return answer, nil
}
