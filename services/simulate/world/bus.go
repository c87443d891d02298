package world

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrBusDead is what a dead bus says.
var ErrBusDead = errors.New("bus is not connected")

// Bus is a process's connection to the bus: hints, at most once, which may be lost, late and out of order.
type Bus struct{ process *Process }

// Bus connects the process.
func (p *Process) Bus() *Bus { return &Bus{p} }

// subscription hears messages one at a time.
type subscription struct {
	process *Process
	handle  func(data []byte) []byte
	turn    sync.Mutex
	ended   bool
}

// Ready tells whether the bus is connected.
func (b *Bus) Ready() error {
	if b.dead() {
		return ErrBusDead
	}
	return nil
}

func (b *Bus) dead() bool { return b.process.Dead() || b.process.world.Swarm.BusDead }

// Wanted tells whether anybody subscribes.
func (b *Bus) Wanted(subject string) bool { return len(b.process.world.subscribers(subject)) > 0 }

func (w *World) subscribers(subject string) []*subscription {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.mu.bus[subject])
}

// Publish sends data to whoever subscribes.
func (b *Bus) Publish(subject string, data []byte) error {
	w := b.process.world
	if b.dead() {
		return ErrBusDead
	}
	data = slices.Clone(data)
	for _, s := range w.subscribers(subject) {
		if w.Chance(w.Swarm.HintLost) {
			continue
		}
		delay := w.latency()
		if w.Chance(w.Swarm.HintLate) {
			delay *= 50
		}
		go func() {
			if Sleep(s.process.ctx, delay) == nil && w.link(b.process.Host, s.process.Host).open(s.process.ctx) == nil {
				s.deliver(slices.Clone(data))
			}
		}()
	}
	return nil
}

func (s *subscription) deliver(data []byte) []byte {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.ended || s.process.Step() != nil {
		return nil
	}
	return s.handle(data)
}

// Subscribe calls handle for each message, one at a time, until cancel.
func (b *Bus) Subscribe(subject string, handle func(data []byte)) (cancel func(), err error) {
	return b.Respond(subject, func(data []byte) []byte {
		handle(data)
		return nil
	})
}

// Respond answers requests on subject.
func (b *Bus) Respond(subject string, answer func(data []byte) []byte) (cancel func(), err error) {
	w := b.process.world
	s := &subscription{process: b.process, handle: answer}
	w.mu.Lock()
	w.mu.bus[subject] = append(w.mu.bus[subject], s)
	w.mu.Unlock()
	cancel = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.ended = true
		w.mu.bus[subject] = slices.DeleteFunc(w.mu.bus[subject], func(other *subscription) bool { return other == s })
	}
	b.process.OnDeath(cancel)
	return cancel, nil
}

// Request asks whoever responds and returns the first answer that accept takes.
func (b *Bus) Request(ctx context.Context, subject string, data []byte, accept func([]byte) bool) ([]byte, error) {
	w := b.process.world
	if b.dead() {
		return nil, ErrBusDead
	}
	answers := make(chan []byte, 8)
	asked := w.subscribers(subject)
	for _, s := range asked[:min(len(asked), cap(answers))] {
		if w.Chance(w.Swarm.HintLost) {
			continue
		}
		go func() {
			if Sleep(s.process.ctx, w.latency()) == nil && w.link(b.process.Host, s.process.Host).open(ctx) == nil {
				if answer := s.deliver(slices.Clone(data)); answer != nil {
					answers <- answer
				}
			}
		}()
	}
	if len(asked) == 0 {
		return nil, errors.New("nobody responds")
	}
	for {
		select {
		case answer := <-answers:
			if err := Sleep(ctx, w.Between(0, w.Swarm.Delay+time.Microsecond)); err != nil {
				return nil, err
			}
			if accept(answer) {
				return answer, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
