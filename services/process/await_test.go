package process

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/infra/objstore/metered"
)

// watched is a store that notes when it is read.
type watched struct {
	objstore.Store
	mu struct {
		sync.Mutex
		reads []time.Time
	}
}

func (w *watched) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	w.mu.Lock()
	w.mu.reads = append(w.mu.reads, time.Now())
	w.mu.Unlock()
	return w.Store.Get(ctx, key, offset, length)
}

// Processes that are started in one moment, before any coordinator, must not go on reading the bucket in one moment.
func TestProcessesThatWaitForAClusterDoNotLookInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // virtual
		defer cancel()
		store := &watched{Store: mem.New("bucket")}
		var waiting sync.WaitGroup
		for range 2 {
			p := &Process{Log: slog.New(slog.DiscardHandler), Store: metered.New(store)}
			waiting.Go(func() {
				if err := p.awaitCluster(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("waited until %v", err)
				}
			})
		}
		waiting.Wait()
		moments := map[time.Time]bool{}
		for _, read := range store.mu.reads {
			moments[read] = true
		}
		if len(store.mu.reads) < 2*25 || len(moments) < len(store.mu.reads)*9/10 {
			t.Errorf("%d reads in %d moments", len(store.mu.reads), len(moments))
		}
	})
}
