package fetch

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// gates bound the concurrent reads from each node by themselves, so that one which does not answer keeps nobody from the others, nor from the
// bucket.
type gates struct {
	limit int64 // for each address

	mu struct {
		sync.Mutex
		byAddress map[string]*gate
	}
}

type gate struct {
	reads *semaphore.Weighted
	users int // those within, and those who wait
}

func newGates(limit int) *gates {
	g := &gates{limit: int64(limit)}
	g.mu.byAddress = make(map[string]*gate)
	return g
}

// through calls read when there is room for another read from an address. Errors: read's, or ctx's.
func (g *gates) through(ctx context.Context, address string, read func() error) error {
	at := g.enter(address)
	defer g.leave(address, at)
	if err := at.reads.Acquire(ctx, 1); err != nil {
		return err
	}
	defer at.reads.Release(1)
	return read()
}

func (g *gates) enter(address string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.mu.byAddress[address]
	if at == nil {
		at = &gate{reads: semaphore.NewWeighted(g.limit)}
		g.mu.byAddress[address] = at
	}
	at.users++
	return at
}

func (g *gates) leave(address string, at *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(g.mu.byAddress, address)
	}
}
