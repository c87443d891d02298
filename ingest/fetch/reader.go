package fetch

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Dependencies are what a Reader works with. Replica is needed; of the sources, those that locations can lead to.
type Dependencies struct {
	Replica Replica
	// Log is the node's own hot log on the disk with DiskID; nil on a node that has none.
	Log    HotLog
	DiskID [16]byte
	Peer   Peer
	// Objects and Index read what is in the bucket.
	Objects Objects
	Index   PartIndex
	// Damaged is told of bytes that are not what was written, each time that a request comes upon them, from many goroutines; nil for none.
	Damaged func(Damage)
}

// Reader answers fetches. Its methods may be called concurrently. It has no goroutines of its own: those of a Read end
// before it returns.
type Reader struct {
	config  Config
	replica Replica
	log     HotLog
	diskID  [16]byte
	peer    Peer
	objects Objects
	index   PartIndex
	damaged func(Damage)
	budget  *budget
	stored  *semaphore.Weighted // reads from the bucket
	nodes   *gates
	hints   hints
	// readings are pooled for their memory, for each Reader by itself since they hold channels.
	readings sync.Pool
}

// New returns a Reader.
func New(config Config, with Dependencies) (*Reader, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure fetch: %w", err)
	}
	config = config.withDefaults()
	r := &Reader{
		config: config, replica: with.Replica, log: with.Log, diskID: with.DiskID, peer: with.Peer, objects: with.Objects, index: with.Index,
		damaged: with.Damaged, budget: newBudget(config.BudgetBytes),
		stored: semaphore.NewWeighted(int64(config.RemoteReads)), nodes: newGates(config.RemoteReads),
	}
	if r.peer == nil {
		r.peer = noSource{}
	}
	if r.objects == nil {
		r.objects = noSource{}
	}
	if r.index == nil {
		r.index = noSource{}
	}
	return r, nil
}

// HeldBytes is the memory of the responses that are not released, for metrics.
func (r *Reader) HeldBytes() int64 { return r.budget.used.Load() }

// Read answers a request. It returns when MinBytes can be given, when a partition has an error to tell, or when MaxWait has
// passed or ctx has ended, with what there is. It never fails as a whole. The request is not retained.
func (r *Reader) Read(ctx context.Context, request *Request) *Response {
	f := newReading(r, request)
	defer f.close()
	f.run(ctx)
	return f.response
}
