package world

import (
	"context"
	"sync"
	"time"
)

// link is one direction between two hosts.
type link struct {
	mu struct {
		sync.Mutex
		cut     bool
		changed chan struct{} // closed when cut changes
	}
}

func (w *World) link(from, to string) *link {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{from, to}
	l := w.mu.links[key]
	if l == nil {
		l = &link{}
		l.mu.changed = make(chan struct{})
		w.mu.links[key] = l
	}
	return l
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.cut != cut {
		l.mu.cut = cut
		close(l.mu.changed)
		l.mu.changed = make(chan struct{})
	}
}

func (l *link) state() (cut bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.cut, l.mu.changed
}

// Cut lets nothing pass from one host to the other until Mend. The other direction is another matter.
func (w *World) Cut(from, to string) { w.link(from, to).set(true) }

// Mend ends a Cut.
func (w *World) Mend(from, to string) { w.link(from, to).set(false) }

// latency of one message.
func (w *World) latency() time.Duration {
	d := w.Between(0, w.Swarm.Delay)
	if w.Chance(w.Swarm.Straggle) {
		d *= 100
	}
	return d
}

// open waits until the link lets something pass.
func (l *link) open(ctx context.Context) error {
	for {
		cut, changed := l.state()
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
