package presence

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
)

// Path is where a node holds GETs on its internal listener.
const Path = "/presence"

// Handler holds each GET until ctx ends, or its caller goes.
func Handler(ctx context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return // the caller has gone
		}
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	})
}

// Replica is what a Watcher needs of it.
type Replica interface {
	View(f func(*meta.State))
	Listen(l replica.Listener) (cancel func())
}

// Config of a Watcher.
type Config struct {
	Client  *rpc.Client
	Replica Replica
	// Self is this process's own internal address, which is not watched.
	Self string
	// Gone hears of each death, on a goroutine of the Watcher's; nil for nobody.
	Gone func(id meta.NodeID, epoch uint64)
}

const (
	// redial is how long after a connection broke or could not be made the next is tried, doubled up to maxRedial.
	redial    = 100 * time.Millisecond
	maxRedial = 2 * time.Second
)

// Watcher watches the live nodes of a replica's state.
type Watcher struct {
	config Config
	mu     struct {
		sync.Mutex
		gone map[meta.NodeID]uint64 // the epoch that is gone
	}
}

// New returns a Watcher that knows of no death. Run makes it watch.
func New(config Config) *Watcher {
	w := &Watcher{config: config}
	w.mu.gone = map[meta.NodeID]uint64{}
	return w
}

// Gone says whether the process of a node's epoch is known to have died.
func (w *Watcher) Gone(id meta.NodeID, epoch uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.gone[id] == epoch && epoch > 0
}

// target is a process to watch.
type target struct {
	id      meta.NodeID
	epoch   uint64
	address string
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	defer w.config.Replica.Listen(changes{wake})()
	watched := map[target]context.CancelFunc{}
	var watching sync.WaitGroup
	defer watching.Wait()
	for {
		targets := w.targets()
		for t, stop := range watched {
			if !targets[t] {
				stop()
				delete(watched, t)
				w.forget(t)
			}
		}
		for t := range targets {
			if watched[t] == nil {
				watch, stop := context.WithCancel(ctx)
				watched[t] = stop
				watching.Go(func() { defer stop(); w.watch(watch, t) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

func (w *Watcher) targets() map[target]bool {
	targets := map[target]bool{}
	w.config.Replica.View(func(s *meta.State) {
		for _, n := range s.Nodes() {
			if n.Live && n.InternalAddress != w.config.Self {
				targets[target{n.ID, n.Epoch, n.InternalAddress}] = true
			}
		}
	})
	return targets
}

// watch holds a connection to t. It was there once before its absence means anything.
func (w *Watcher) watch(ctx context.Context, t target) {
	wait, seen := redial, false
	for ctx.Err() == nil {
		began := time.Now()
		held, err := w.hold(ctx, t)
		if held {
			seen, wait = true, redial
			if time.Since(began) > redial {
				continue // broken: what becomes of the next one tells why
			}
		}
		if seen && errors.Is(err, syscall.ECONNREFUSED) {
			w.note(t)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		wait = min(2*wait, maxRedial)
	}
}

// hold keeps a connection as long as it lasts; held is false where there was none to hold.
func (w *Watcher) hold(ctx context.Context, t target) (held bool, err error) {
	body, _, err := w.config.Client.Get(ctx, t.address, Path)
	if err != nil {
		return false, err
	}
	w.forget(t)
	_, err = io.Copy(io.Discard, body)
	return true, errors.Join(err, body.Close())
}

func (w *Watcher) note(t target) {
	w.mu.Lock()
	known := w.mu.gone[t.id] == t.epoch
	w.mu.gone[t.id] = t.epoch
	w.mu.Unlock()
	if !known && w.config.Gone != nil {
		w.config.Gone(t.id, t.epoch)
	}
}

func (w *Watcher) forget(t target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.gone[t.id] == t.epoch {
		delete(w.mu.gone, t.id)
	}
}

// changes wakes the Watcher when nodes have changed.
type changes struct{ wake chan struct{} }

// Applied implements replica.Listener.
func (c changes) Applied(a *replica.Applied) {
	if !a.Has(meta.ChangedNodes) {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
