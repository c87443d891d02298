package world

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
)

// errReadFailed is a transient failure of the log's server.
var errReadFailed = errors.New("metalog server did not answer")

// Metalog is the metadata log's server: the model log, behind a network that loses requests and answers and delivers some
// requests long after their writer has given up.
type Metalog struct {
	world   *World
	backing *mem.Backing
	ends    []pastEnd // of the last staleness, ascending
	// Appended hears of every entry in the log, in order of appending; nil for nobody.
	Appended func(seq uint64, entry []byte)
}

// pastEnd is where the log ended from some time on.
type pastEnd struct {
	since time.Time
	next  uint64
}

// staleness is for how long a server that was cut off from the others of a replicated log may tell of an end that is no more.
const staleness = 10 * time.Second

// NewMetalog returns an empty log.
func (w *World) NewMetalog() *Metalog {
	return &Metalog{world: w, backing: mem.New()}
}

// Open returns the process's handle.
func (m *Metalog) Open(p *Process) metalog.Log {
	h := &metalogHandle{log: m, process: p, inner: m.backing.Open()}
	if m.world.Swarm.MetalogOnBucket {
		return &metalogRanger{h}
	}
	return h
}

// grown notes that the log has been appended to.
func (m *Metalog) grown(next uint64) {
	now := time.Now()
	for len(m.ends) > 1 && now.Sub(m.ends[1].since) > staleness {
		m.ends = m.ends[1:]
	}
	m.ends = append(m.ends, pastEnd{now, next})
}

// end is where the log ends as the server says that was asked: one of a replicated log may be behind.
func (m *Metalog) end(next uint64) uint64 {
	w := m.world
	if w.Swarm.MetalogOnBucket || len(m.ends) == 0 || !w.Chance(w.Swarm.EndStale) {
		return next
	}
	w.Count("stale end")
	return min(next, m.ends[w.IntN(len(m.ends))].next)
}

type metalogHandle struct {
	log     *Metalog
	process *Process
	inner   *mem.Log
}

var _ metalog.Log = (*metalogHandle)(nil)

// reach is the way to the server.
func (h *metalogHandle) reach(ctx context.Context) error {
	if err := h.process.Step(); err != nil {
		return err
	}
	if err := Sleep(ctx, h.log.world.latency()); err != nil {
		return err
	}
	return h.log.world.link(h.process.Host, "metalog").open(ctx)
}

// Append implements metalog.Log.
func (h *metalogHandle) Append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	w := h.log.world
	if err := h.reach(ctx); err != nil {
		return err
	}
	if w.Chance(w.Swarm.AppendLost) {
		return h.unanswered(ctx)
	}
	if w.Chance(w.Swarm.AppendLate) {
		w.Count("append late")
		late := append([]byte(nil), entry...)
		go func() {
			time.Sleep(w.Between(0, 8*time.Second))
			_ = h.append(context.Background(), seq, late, kind)
		}()
		return h.unanswered(ctx)
	}
	err := h.append(ctx, seq, entry, kind)
	if w.Chance(w.Swarm.AppendUnanswered) {
		w.Count("append unanswered")
		return h.unanswered(ctx)
	}
	if sleepErr := Sleep(ctx, w.latency()); sleepErr != nil {
		return sleepErr
	}
	if linkErr := w.link("metalog", h.process.Host).open(ctx); linkErr != nil {
		return linkErr
	}
	if stepErr := h.process.Step(); stepErr != nil {
		return stepErr
	}
	return err
}

func (h *metalogHandle) append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	err := h.inner.Append(context.WithoutCancel(ctx), seq, entry, kind)
	if err == nil {
		h.log.grown(seq + 1)
		if h.log.Appended != nil {
			h.log.Appended(seq, entry)
		}
	}
	return err
}

// unanswered is how a writer learns nothing.
func (h *metalogHandle) unanswered(ctx context.Context) error {
	if err := h.process.Sleep(ctx, h.log.world.Between(0, 3*time.Second)); err != nil {
		return err
	}
	return mem.ErrLost
}

// Read implements metalog.Log.
func (h *metalogHandle) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		w := h.log.world
		if err := h.reach(ctx); err != nil {
			yield(metalog.Record{}, err)
			return
		}
		end := h.log.end(math.MaxUint64)
		for record, err := range h.inner.Read(ctx, seq) {
			if err == nil && record.Seq >= end {
				return
			}
			if err == nil && w.Chance(w.Swarm.ReadFails/8) {
				err = errReadFailed
			}
			if err == nil && w.OneIn(8) {
				err = h.process.Sleep(ctx, w.latency())
			}
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Bounds implements metalog.Log.
func (h *metalogHandle) Bounds(ctx context.Context) (first, next uint64, err error) {
	w := h.log.world
	if err := h.reach(ctx); err != nil {
		return 0, 0, err
	}
	if w.Chance(w.Swarm.ReadFails) {
		return 0, 0, errReadFailed
	}
	first, next, err = h.inner.Bounds(ctx)
	next = h.log.end(next)
	first = min(first, next)
	if sleepErr := h.process.Sleep(ctx, w.latency()); sleepErr != nil {
		return 0, 0, sleepErr
	}
	return first, next, err
}

// Truncate implements metalog.Log.
func (h *metalogHandle) Truncate(ctx context.Context, before uint64) error {
	if err := h.reach(ctx); err != nil {
		return err
	}
	return h.inner.Truncate(ctx, before)
}

// Verify implements metalog.Log.
func (h *metalogHandle) Verify(ctx context.Context) error {
	if err := h.reach(ctx); err != nil {
		return err
	}
	return h.inner.Verify(ctx)
}

// Close implements metalog.Log.
func (h *metalogHandle) Close() error { return h.inner.Close() }

// metalogRanger is a handle on a log that can be read without asking for its end.
type metalogRanger struct{ *metalogHandle }

var _ metalog.Ranger = (*metalogRanger)(nil)

// ReadRange implements metalog.Ranger.
func (h *metalogRanger) ReadRange(ctx context.Context, from, to uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		for record, err := range h.Read(ctx, from) {
			if errors.Is(err, metalog.ErrTruncated) || err == nil && record.Seq >= to || !yield(record, err) {
				return
			}
		}
	}
}
