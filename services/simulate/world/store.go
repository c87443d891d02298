package world

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// errStore is a transient failure of the store.
var errStore = errors.New("store did not answer")

// Bucket is the object store's server.
type Bucket struct {
	world *World
	// Inner is the bucket without network and faults.
	Inner objstore.Store
	// Deleted and Stored hear of what happens to keys; nil for nobody.
	Stored, Deleted func(key string)
}

// NewBucket returns an empty bucket.
func (w *World) NewBucket() *Bucket { return &Bucket{world: w, Inner: mem.New("simulation")} }

// Open is the process's way to it.
func (b *Bucket) Open(p *Process) objstore.Store { return &storeHandle{b, p} }

type storeHandle struct {
	bucket  *Bucket
	process *Process
}

var _ objstore.Store = (*storeHandle)(nil)

// do performs one operation of the store, as the swarm has it. It may take effect after its caller has given up.
func do[T any](ctx context.Context, h *storeHandle, write bool, operation func(ctx context.Context) (T, error)) (result T, err error) {
	w := h.bucket.world
	var none T
	if err := h.process.Step(); err != nil {
		return none, err
	}
	if err := Sleep(ctx, 3*w.latency()); err != nil {
		return none, err
	}
	if err := w.link(h.process.Host, "store").open(ctx); err != nil {
		return none, err
	}
	switch {
	case w.Chance(w.Swarm.StoreThrottles):
		return none, objstore.ErrThrottled
	case w.Chance(w.Swarm.StoreFails):
		return none, errStore
	case write && w.Chance(w.Swarm.StoreLate):
		w.Count("write late")
		go func() {
			time.Sleep(w.Between(0, 10*time.Second))
			_, _ = operation(context.WithoutCancel(ctx))
		}()
		if err := h.process.Sleep(ctx, w.Between(0, 5*time.Second)); err != nil {
			return none, err
		}
		return none, errStore
	}
	result, err = operation(context.WithoutCancel(ctx))
	if write && w.Chance(w.Swarm.StoreFailsAfter) {
		w.Count("write unanswered")
		result, err = none, errStore
	}
	if sleepErr := Sleep(ctx, w.latency()); sleepErr != nil {
		return none, sleepErr
	}
	if linkErr := w.link("store", h.process.Host).open(ctx); linkErr != nil {
		return none, linkErr
	}
	if stepErr := h.process.Step(); stepErr != nil {
		return none, stepErr
	}
	return result, err
}

func (h *storeHandle) put(ctx context.Context, key string, body []byte, write func(ctx context.Context, body []byte) (objstore.Version, error)) (objstore.Version, error) {
	body = bytes.Clone(body)
	return do(ctx, h, true, func(ctx context.Context) (objstore.Version, error) {
		v, err := write(ctx, body)
		if err == nil && h.bucket.Stored != nil {
			h.bucket.Stored(key)
		}
		return v, err
	})
}

// PutIfAbsent implements objstore.Store.
func (h *storeHandle) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return h.put(ctx, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return h.bucket.Inner.PutIfAbsent(ctx, key, body)
	})
}

// PutIfMatch implements objstore.Store.
func (h *storeHandle) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	return h.put(ctx, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return h.bucket.Inner.PutIfMatch(ctx, key, body, old)
	})
}

// Put implements objstore.Store.
func (h *storeHandle) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return h.put(ctx, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return h.bucket.Inner.Put(ctx, key, body)
	})
}

type gotten struct {
	body io.ReadCloser
	info objstore.Info
}

// Get implements objstore.Store.
func (h *storeHandle) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	g, err := do(ctx, h, false, func(context.Context) (gotten, error) {
		body, info, err := h.bucket.Inner.Get(ctx, key, offset, length)
		return gotten{body, info}, err
	})
	return g.body, g.info, err
}

// Head implements objstore.Store.
func (h *storeHandle) Head(ctx context.Context, key string) (objstore.Info, error) {
	return do(ctx, h, false, func(ctx context.Context) (objstore.Info, error) { return h.bucket.Inner.Head(ctx, key) })
}

// Delete implements objstore.Store.
func (h *storeHandle) Delete(ctx context.Context, key string) error {
	_, err := do(ctx, h, true, func(ctx context.Context) (struct{}, error) {
		if h.bucket.Deleted != nil {
			h.bucket.Deleted(key)
		}
		return struct{}{}, h.bucket.Inner.Delete(ctx, key)
	})
	return err
}

// List implements objstore.Store.
func (h *storeHandle) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		_, err := do(ctx, h, false, func(context.Context) (struct{}, error) { return struct{}{}, nil })
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		for info, err := range h.bucket.Inner.List(ctx, prefix, startAfter) {
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

// Now implements objstore.Store: the store's clock is the world's.
func (h *storeHandle) Now(ctx context.Context) (time.Time, error) {
	return do(ctx, h, false, func(context.Context) (time.Time, error) { return time.Now(), nil })
}

// String implements objstore.Store.
func (h *storeHandle) String() string { return h.bucket.Inner.String() }

// Close implements objstore.Store.
func (h *storeHandle) Close() error { return nil }
