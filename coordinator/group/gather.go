package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Heartbeats of a node's members go to the leader together: one message costs as much as hundreds of heartbeats in it.

const (
	// gatherFor is the shortest time between two messages. A heartbeat that finds none sent for so long leaves at once; no other waits
	// longer than this for its message.
	gatherFor = 200 * time.Millisecond
	// maxBeats bounds one message. What is more goes with the next.
	maxBeats = 4096
	// beatsTimeout bounds one message, and with it how long those that come meanwhile wait for theirs.
	beatsTimeout = 10 * time.Second
)

// gatherer is the sending side. What waits is bounded by the connections that members have, as each waits for its answer.
type gatherer struct {
	caller  Caller
	closing context.Context
	close   context.CancelFunc
	tasks   sync.WaitGroup // sends, while there is something to send; heartbeats that go alone

	mu struct {
		sync.Mutex
		waiting []*beat
		sending bool // there is a goroutine that sends
		closed  bool
		sentAt  time.Time
	}
}

// beat is a heartbeat on its way. answered is called once, with its encoded answer.
type beat struct {
	request  *metapb.GroupBeat
	answered func(answer []byte, err error)
}

func newGatherer(caller Caller) *gatherer {
	g := &gatherer{caller: caller}
	g.closing, g.close = context.WithCancel(context.Background())
	return g
}

// stop ends what is under way, and returns when nothing is.
func (g *gatherer) stop() {
	g.mu.Lock()
	g.mu.closed = true
	g.mu.Unlock()
	g.close()
	g.tasks.Wait()
}

// begin sends a heartbeat with others; see the Begin functions of Coordinator.
func (g *gatherer) begin(method string, request proto.Message, answered func(answer []byte, err error)) {
	encoded, err := proto.Marshal(request)
	if err != nil {
		answered(nil, fmt.Errorf("encode request of %s: %w", method, err))
		return
	}
	if !g.add(&beat{request: &metapb.GroupBeat{Method: method, Request: encoded}, answered: answered}) {
		answered(nil, ErrClosed)
	}
}

// alone runs do, which is to end with its context, in a goroutine of its own.
func (g *gatherer) alone(do func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return false
	}
	g.tasks.Go(func() { do(g.closing) })
	return true
}

func (g *gatherer) add(b *beat) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return false
	}
	g.mu.waiting = append(g.mu.waiting, b)
	if !g.mu.sending {
		g.mu.sending = true
		g.tasks.Go(g.send)
	}
	return true
}

// send sends what waits, and ends when nothing has come for gatherFor.
func (g *gatherer) send() {
	for {
		g.pause()
		beats := g.take()
		if len(beats) == 0 {
			return
		}
		g.exchange(beats)
	}
}

// pause returns when the last message was sent gatherFor ago.
func (g *gatherer) pause() {
	g.mu.Lock()
	left := time.Until(g.mu.sentAt.Add(gatherFor))
	g.mu.Unlock()
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.closing.Done():
	}
}

// take returns what is to be sent now; nothing means that the sender has ended.
func (g *gatherer) take() []*beat {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.mu.waiting), maxBeats)
	beats := g.mu.waiting[:n:n]
	g.mu.waiting = g.mu.waiting[n:]
	if n == 0 {
		g.mu.waiting, g.mu.sending = nil, false
		return nil
	}
	g.mu.sentAt = time.Now()
	return beats
}

// exchange sends beats and hands out their answers.
func (g *gatherer) exchange(beats []*beat) {
	ctx, cancel := context.WithTimeout(g.closing, beatsTimeout)
	defer cancel()
	request := &metapb.GroupBeatsRequest{Beats: make([]*metapb.GroupBeat, len(beats))}
	for i, b := range beats {
		request.Beats[i] = b.request
	}
	var response metapb.GroupBeatsResponse
	err := g.caller.Call(ctx, methodBeats, request, &response)
	if err == nil && len(response.Answers) != len(beats) {
		err = fmt.Errorf("%d answers to %d heartbeats", len(response.Answers), len(beats))
	}
	for i, b := range beats {
		switch {
		case err != nil:
			b.answered(nil, err)
		case response.Answers[i].Error != "":
			b.answered(nil, errors.New(response.Answers[i].Error))
		default:
			b.answered(response.Answers[i].Answer, nil)
		}
	}
}

// Beats answers heartbeats that a node has gathered. Those that have something to put into the log wait for it side by side.
func (c *Coordinator) Beats(ctx context.Context, r *metapb.GroupBeatsRequest) (*metapb.GroupBeatsResponse, error) {
	if len(r.Beats) > maxBeats {
		return nil, fmt.Errorf("%d heartbeats in a message, the limit is %d", len(r.Beats), maxBeats)
	}
	type outcome struct {
		answer proto.Message
		err    error
	}
	outcomes, all := make([]outcome, len(r.Beats)), make(chan struct{})
	var left atomic.Int64
	left.Store(int64(len(r.Beats)) + 1)
	count := func() {
		if left.Add(-1) == 0 {
			close(all)
		}
	}
	for i, b := range r.Beats {
		c.beginBeat(b, func(answer proto.Message, err error) {
			outcomes[i] = outcome{answer, err}
			count()
		})
	}
	count()
	select {
	case <-all:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	response := &metapb.GroupBeatsResponse{Answers: make([]*metapb.GroupBeatAnswer, len(r.Beats))}
	for i, o := range outcomes {
		var encoded []byte
		if o.err == nil {
			encoded, o.err = proto.Marshal(o.answer)
		}
		if o.err != nil {
			response.Answers[i] = &metapb.GroupBeatAnswer{Error: o.err.Error()}
			continue
		}
		response.Answers[i] = &metapb.GroupBeatAnswer{Answer: encoded}
	}
	return response, nil
}

// beginBeat begins one heartbeat of a message; answer is called as in Begin functions.
func (c *Coordinator) beginBeat(b *metapb.GroupBeat, answer func(proto.Message, error)) {
	switch b.Method {
	case methodHeartbeat:
		beginWith(b, c.BeginHeartbeat, answer)
	case methodConsumerHeartbeat:
		beginWith(b, c.BeginConsumerHeartbeat, answer)
	case methodShareHeartbeat:
		beginWith(b, c.BeginShareHeartbeat, answer)
	case methodStreamsHeartbeat:
		beginWith(b, c.BeginStreamsHeartbeat, answer)
	default:
		answer(nil, fmt.Errorf("%s is no heartbeat", b.Method))
	}
}

func beginWith[Req any, P interface {
	*Req
	proto.Message
}, Res proto.Message](b *metapb.GroupBeat, begin func(P, func(Res, error)), answer func(proto.Message, error)) {
	request := P(new(Req))
	if err := proto.Unmarshal(b.Request, request); err != nil {
		answer(nil, fmt.Errorf("decode request of %s: %w", b.Method, err))
		return
	}
	begin(request, func(response Res, err error) { answer(response, err) })
}
