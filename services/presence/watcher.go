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

// Path is where a node holds GETs on its internal listener; ProbePath is where it answers them at once.
const (
	Path      = "/presence"
	ProbePath = "/presence/probe"
)

// Register has a node answer watchers: it holds each GET of Path until ctx ends, or its caller goes.
func Register(ctx context.Context, server *rpc.Server) {
	server.HandleGet(Path, hold(ctx))
	server.HandleGet(ProbePath, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

func hold(ctx context.Context) http.Handler {
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
	// probeTimeout is how long a round waits for a process that neither answers nor is found dead. It is taken to be there, and slow.
	probeTimeout = 100 * time.Millisecond
)

// Watcher watches the live nodes of a replica's state.
type Watcher struct {
	config Config
	mu     struct {
		sync.Mutex
		known map[target]*knowledge
		next  *round // that waits for the running one
		runs  bool
	}
}

// knowledge is what is known of a process.
type knowledge struct {
	seen bool // it was there once: before that its absence means nothing
	gone bool
}

// round is one probe of every process. It is over when done is closed.
type round struct{ done chan struct{} }

// New returns a Watcher that knows of no death. Run makes it watch.
func New(config Config) *Watcher {
	w := &Watcher{config: config}
	w.mu.known = map[target]*knowledge{}
	return w
}

// Gone says whether the process of a node's epoch is known to have died.
func (w *Watcher) Gone(id meta.NodeID, epoch uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t, k := range w.mu.known {
		if t.id == id && t.epoch == epoch {
			return k.gone
		}
	}
	return false
}

// Check asks every process whether it is there, and returns when each has answered, has been found dead, or has had probeTimeout. A client
// that has just lost a node asks others for metadata at once, and believes what it is told for seconds: what it is told must not be older than
// its question. Those who ask at the same time share a round.
func (w *Watcher) Check(ctx context.Context) {
	w.mu.Lock()
	if len(w.mu.known) == 0 {
		w.mu.Unlock()
		return
	}
	r := w.mu.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		w.mu.next = r
	}
	if !w.mu.runs {
		w.mu.runs = true
		go w.runRounds()
	}
	w.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
	}
}

// runRounds probes until nobody waits for another round.
func (w *Watcher) runRounds() {
	for {
		w.mu.Lock()
		r := w.mu.next
		w.mu.next = nil
		if r == nil {
			w.mu.runs = false
			w.mu.Unlock()
			return
		}
		var targets []target
		for t, k := range w.mu.known {
			if !k.gone {
				targets = append(targets, t)
			}
		}
		w.mu.Unlock()
		var probes sync.WaitGroup
		for _, t := range targets {
			probes.Go(func() { w.probe(context.Background(), t) })
		}
		probes.Wait()
		close(r.done)
	}
}

// probe asks a process until it answers, is found dead, or probeTimeout is over. A process that dies closes its sockets one after the other:
// between the first and the last a connection is made and reset.
func (w *Watcher) probe(ctx context.Context, t target) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for ctx.Err() == nil {
		body, _, err := w.config.Client.Get(ctx, t.address, ProbePath)
		if err == nil {
			_ = body.Close() //nolint:errcheck // it is empty
			w.present(t)
			return
		}
		if w.judge(t, err) {
			return
		}
		pause(ctx, time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
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
				w.mu.Lock()
				delete(w.mu.known, t)
				w.mu.Unlock()
			}
		}
		for t := range targets {
			if watched[t] == nil {
				watch, stop := context.WithCancel(ctx)
				watched[t] = stop
				w.mu.Lock()
				w.mu.known[t] = &knowledge{}
				w.mu.Unlock()
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

// watch holds a connection to t.
func (w *Watcher) watch(ctx context.Context, t target) {
	wait := redial
	for ctx.Err() == nil {
		began := time.Now()
		if held, err := w.hold(ctx, t); held {
			wait = redial
			w.probe(ctx, t)
			if time.Since(began) > redial {
				continue
			}
		} else {
			w.judge(t, err)
		}
		pause(ctx, wait)
		wait = min(2*wait, maxRedial)
	}
}

// hold keeps a connection as long as it lasts; held is false where there was none to hold.
func (w *Watcher) hold(ctx context.Context, t target) (held bool, err error) {
	body, _, err := w.config.Client.Get(ctx, t.address, Path)
	if err != nil {
		return false, err
	}
	w.present(t)
	_, err = io.Copy(io.Discard, body)
	return true, errors.Join(err, body.Close())
}

func (w *Watcher) present(t target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.mu.known[t]; k != nil {
		k.seen, k.gone = true, false
	}
}

// judge takes a refused connection to a process that was there for its death; refused says whether it was one.
func (w *Watcher) judge(t target, err error) (refused bool) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	w.mu.Lock()
	k := w.mu.known[t]
	news := k != nil && k.seen && !k.gone
	if news {
		k.gone = true
	}
	w.mu.Unlock()
	if news && w.config.Gone != nil {
		w.config.Gone(t.id, t.epoch)
	}
	return true
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
