package group

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Heartbeats of a node's members go to the leader together: one message costs as much as hundreds of heartbeats in it.

const (
	// gatherFor is the shortest time between two messages. A heartbeat that finds none sent for so long leaves at once; no other waits
	// longer than this for its message.
	gatherFor = 50 * time.Millisecond
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
	tasks   sync.WaitGroup // sends, while there is something to send

	mu struct {
		sync.Mutex
		waiting []*beat
		sending bool // there is a goroutine that sends
		closed  bool
		sentAt  time.Time
	}
}

// beat is a heartbeat on its way. answer and err are set before done is closed.
type beat struct {
	request *metapb.GroupBeat
	done    chan struct{}
	answer  []byte
	err     error
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

// ask sends a heartbeat with others and decodes its answer.
func (g *gatherer) ask(ctx context.Context, method string, request, answer proto.Message) error {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request of %s: %w", method, err)
	}
	b := &beat{request: &metapb.GroupBeat{Method: method, Request: encoded}, done: make(chan struct{})}
	if !g.add(b) {
		return ErrClosed
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.err != nil {
		return b.err
	}
	if err := proto.Unmarshal(b.answer, answer); err != nil {
		return fmt.Errorf("decode answer of %s: %w", method, err)
	}
	return nil
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
		switch b.err = err; {
		case err != nil:
		case response.Answers[i].Error != "":
			b.err = errors.New(response.Answers[i].Error)
		default:
			b.answer = response.Answers[i].Answer
		}
		close(b.done)
	}
}

// Beats answers heartbeats that a node has gathered. Those that have something to put into the log wait for it side by side.
func (c *Coordinator) Beats(ctx context.Context, r *metapb.GroupBeatsRequest) (*metapb.GroupBeatsResponse, error) {
	if len(r.Beats) > maxBeats {
		return nil, fmt.Errorf("%d heartbeats in a message, the limit is %d", len(r.Beats), maxBeats)
	}
	response := &metapb.GroupBeatsResponse{Answers: make([]*metapb.GroupBeatAnswer, len(r.Beats))}
	var tasks sync.WaitGroup
	for i, b := range r.Beats {
		tasks.Go(func() { response.Answers[i] = c.beat(ctx, b) })
	}
	tasks.Wait()
	return response, nil
}

func (c *Coordinator) beat(ctx context.Context, b *metapb.GroupBeat) *metapb.GroupBeatAnswer {
	var encoded []byte
	var err error
	switch b.Method {
	case methodHeartbeat:
		encoded, err = beatWith(ctx, b, c.Heartbeat)
	case methodConsumerHeartbeat:
		encoded, err = beatWith(ctx, b, c.ConsumerHeartbeat)
	case methodStreamsHeartbeat:
		encoded, err = beatWith(ctx, b, c.StreamsHeartbeat)
	case methodShareHeartbeat:
		encoded, err = beatWith(ctx, b, c.ShareHeartbeat)
	default:
		err = fmt.Errorf("%s is no heartbeat", b.Method)
	}
	if err != nil {
		return &metapb.GroupBeatAnswer{Error: err.Error()}
	}
	return &metapb.GroupBeatAnswer{Answer: encoded}
}

func beatWith[Req any, P interface {
	*Req
	proto.Message
}, Res proto.Message](ctx context.Context, b *metapb.GroupBeat, do func(context.Context, P) (Res, error)) ([]byte, error) {
	request := P(new(Req))
	if err := proto.Unmarshal(b.Request, request); err != nil {
		return nil, fmt.Errorf("decode request of %s: %w", b.Method, err)
	}
	answer, err := do(ctx, request)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(answer)
}
