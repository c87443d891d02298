package recovery

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// gathering is a store whose reads of chunks wait until so many are under way at once.
type gathering struct {
	objstore.Store
	want int
	all  chan struct{}
	mu   struct {
		sync.Mutex
		underWay, most int
	}
}

func (g *gathering) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	if strings.HasPrefix(key, "chunk/") {
		g.count(1)
		defer g.count(-1)
		select {
		case <-g.all:
		case <-ctx.Done():
			return nil, objstore.Info{}, ctx.Err()
		}
	}
	return g.Store.Get(ctx, key, offset, length)
}

func (g *gathering) count(by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.underWay += by; g.mu.underWay > g.mu.most {
		if g.mu.most = g.mu.underWay; g.mu.most == g.want {
			close(g.all)
		}
	}
}

// As many object chunks are read at once as are to be, and what is found comes in order all the same.
func TestChunksAreReadInParallel(t *testing.T) {
	const parallel = 3
	s := newSmall(t, "varve.durability", "object")
	s.archive()
	for i := range 4 * parallel {
		s.sendBatches(s.oneRecord("record", recordbatch.Producer{ID: int64(i)}, 0))
	}
	var damaged []string
	for i, key := range s.keys("chunk/") {
		if i%4 == 3 {
			body := s.body(key)
			body[len(body)-1] ^= 1
			s.overwrite(key, body)
			damaged = append(damaged, key)
		}
	}
	g := &gathering{Store: s.store, want: parallel, all: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	plan, err := Prepare(ctx, Config{Store: g, Parallel: parallel})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	if g.mu.most != parallel {
		t.Errorf("%d chunks were read at once", g.mu.most)
	}
	if plan.Report.Chunks.Objects != 3*parallel {
		t.Errorf("%+v", plan.Report.Chunks)
	}
	var found []string
	for _, f := range plan.Report.Damaged {
		found = append(found, f.Where)
	}
	slices.SortFunc(damaged, func(x, y string) int {
		a, _ := meta.ParseChunkKey(x)
		b, _ := meta.ParseChunkKey(y)
		return compareChunks(a, b)
	})
	if !slices.Equal(found, damaged) {
		t.Errorf("damaged %q, want %q", found, damaged)
	}
}
