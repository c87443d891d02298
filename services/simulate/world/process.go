package world

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrDead is what a crashed process gets from every seam.
var ErrDead = errors.New("process is dead")

// Process is one incarnation of a process.
type Process struct {
	// Name is the incarnation's, for people: "node-1.3".
	Name string
	// Host is where it runs: the network's name for it.
	Host string

	world  *World
	number uint64 // grows with each process of the world
	ctx    context.Context
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		dead    bool
		running chan struct{} // closed while it is not paused
		cleanup []func()
	}
	clockOffset time.Duration
	clockRate   float64
}

// NewProcess starts an incarnation on a host.
func (w *World) NewProcess(name, host string) *Process {
	p := &Process{Name: name, Host: host, world: w, number: w.processes.Add(1), clockRate: 1}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.running = make(chan struct{})
	close(p.mu.running)
	return p
}

// precedes tells that other has begun later: where both want what only one can have, a place that was taken over is other's.
func (p *Process) precedes(other *Process) bool { return other != nil && p.number < other.number }

// SetClock makes the process's clock wrong.
func (p *Process) SetClock(offset time.Duration, rate float64) {
	p.clockOffset, p.clockRate = offset, rate
}

// Clock is the process's idea of the time.
func (p *Process) Clock() time.Time {
	now := time.Now()
	elapsed := now.Sub(p.world.began)
	return now.Add(p.clockOffset + time.Duration(float64(elapsed)*(p.clockRate-1)))
}

// Context ends when the process dies.
func (p *Process) Context() context.Context { return p.ctx }

// World is where it lives.
func (p *Process) World() *World { return p.world }

// Dead says whether the process has crashed or ended.
func (p *Process) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dead
}

// OnDeath has f called when the process dies: connections are cut, listeners vanish.
func (p *Process) OnDeath(f func()) {
	p.mu.Lock()
	dead := p.mu.dead
	if !dead {
		p.mu.cleanup = append(p.mu.cleanup, f)
	}
	p.mu.Unlock()
	if dead {
		f()
	}
}

// Kill ends the process as SIGKILL does.
func (p *Process) Kill() {
	p.mu.Lock()
	if p.mu.dead {
		p.mu.Unlock()
		return
	}
	p.mu.dead = true
	cleanup := p.mu.cleanup
	p.mu.cleanup = nil
	p.mu.Unlock()
	p.resume()
	for _, f := range cleanup {
		f()
	}
	p.cancel()
}

// Pause stops the process, as SIGSTOP or a machine without a turn does, until Resume.
func (p *Process) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mu.running:
		p.mu.running = make(chan struct{})
	default:
	}
}

// Resume lets it go on.
func (p *Process) Resume() { p.resume() }

func (p *Process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mu.running:
	default:
		close(p.mu.running)
	}
}

// Step is asked before and after each deed. It waits while the process is paused, whatever contexts say meanwhile.
func (p *Process) Step() error {
	p.world.yield()
	for {
		p.mu.Lock()
		dead, running := p.mu.dead, p.mu.running
		p.mu.Unlock()
		if dead {
			return ErrDead
		}
		select {
		case <-running:
			return nil
		default:
		}
		<-running
	}
}

// Sleep waits for d, or until ctx or the process ends.
func (p *Process) Sleep(ctx context.Context, d time.Duration) error {
	if err := Sleep(ctx, d); err != nil {
		return err
	}
	return p.Step()
}
