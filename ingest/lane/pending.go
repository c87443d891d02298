package lane

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Pending is the answer to one Append, to come. The caller takes the results with Wait and then calls Free, exactly
// once, with which the Pending must not be used any more; a caller that wants no answer calls Free at once.
type Pending struct {
	set    *Set
	bytes  int64
	memory Releaser
	refs   atomic.Int32 // the caller, and the lanes as long as a batch is unsettled
	done   chan struct{}
	timer  *time.Timer
	answer []Result

	mu struct {
		sync.Mutex
		results   []Result
		unsettled int
	}
}

// makePending makes one for the Set's pool. Pools are a Set's own, so that timers and channels stay in one synctest bubble.
func makePending() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &Pending{done: make(chan struct{}, 1), timer: timer}
}

// newPending returns a Pending for count batches that hold bytes of the set's budget.
func newPending(set *Set, bytes int64, memory Releaser, count int) *Pending {
	p := set.pendings.Get().(*Pending) //nolint:forcetypeassert // the pool holds nothing else
	p.set, p.bytes, p.memory = set, bytes, memory
	p.refs.Store(2)
	if cap(p.mu.results) < count {
		p.mu.results = make([]Result, count)
	}
	p.mu.results = p.mu.results[:count]
	clear(p.mu.results)
	p.mu.unsettled = count
	return p
}

// Done receives one value when every batch has its result.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns one result per batch, in the order of the request, as soon as all are known; at the latest after timeout or
// when ctx ends, with TimedOut for those that are not. It is called at most once. The slice is valid until Free.
func (p *Pending) Wait(ctx context.Context, timeout time.Duration) []Result {
	if p.settled() {
		return p.copyResults()
	}
	p.timer.Reset(timeout)
	select {
	case <-p.done:
	case <-p.timer.C:
	case <-ctx.Done():
	}
	p.timer.Stop()
	return p.copyResults()
}

func (p *Pending) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.unsettled == 0
}

// copyResults is what is known now. A copy, since the lanes go on settling after a timeout.
func (p *Pending) copyResults() []Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = append(p.answer[:0], p.mu.results...)
	for i := range p.answer {
		if !p.answer[i].settled {
			p.answer[i].Failure = TimedOut
		}
	}
	return p.answer
}

// Free gives the Pending back.
func (p *Pending) Free() { p.drop() }

// settle records the result of batch i; the first one counts. Nothing refers to the batch's data any more.
func (p *Pending) settle(i int32, result Result) {
	result.settled = true
	p.mu.Lock()
	if p.mu.results[i].settled {
		p.mu.Unlock()
		return
	}
	p.mu.results[i] = result
	p.mu.unsettled--
	last := p.mu.unsettled == 0
	p.mu.Unlock()
	if last {
		p.finish()
	}
}

// finish is called once, when nothing is unsettled.
func (p *Pending) finish() {
	if p.memory != nil {
		p.memory.Release()
		p.memory = nil
	}
	set, bytes := p.set, p.bytes
	p.done <- struct{}{}
	p.drop()
	set.answered(bytes)
}

// abandon gives back a Pending that nobody has seen.
func (p *Pending) abandon() {
	p.memory = nil
	p.refs.Store(1)
	p.drop()
}

func (p *Pending) drop() {
	if p.refs.Add(-1) > 0 {
		return
	}
	select {
	case <-p.done:
	default:
	}
	pool := &p.set.pendings
	p.set, p.memory = nil, nil
	pool.Put(p)
}
