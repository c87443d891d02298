package world

import (
	"context"
	"errors"
	"iter"
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
	// Appended hears of every entry in the log, in order of appending; nil for nobody.
	Appended func(seq uint64, entry []byte)
}

// NewMetalog returns an empty log.
func (w *World) NewMetalog() *Metalog {
	return &Metalog{world: w, backing: mem.New()}
}

// Open returns the process's handle.
func (m *Metalog) Open(p *Process) metalog.Log {
	return &metalogHandle{log: m, process: p, inner: m.backing.Open()}
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
	if err == nil && h.log.Appended != nil {
		h.log.Appended(seq, entry)
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
		for record, err := range h.inner.Read(ctx, seq) {
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
