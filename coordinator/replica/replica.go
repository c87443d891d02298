package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

// Submitter is the way to the leader: the leader itself in its own process, Remote in others.
type Submitter interface {
	// Submit returns when the commands are in the log, in order and all of them; seq is that of the last. ErrNotLeader,
	// ErrBusy and whatever rpc.NotExecuted recognises mean that none is; any other error leaves it open.
	Submit(ctx context.Context, commands []*metapb.Command) (seq uint64, err error)
	// Barrier returns a sequence that covers everything that was answered to anybody before the call.
	Barrier(ctx context.Context) (seq uint64, err error)
	// Ping says that a node lives; the answer tells how far the log is.
	Ping(ctx context.Context, request *metapb.PingRequest) (*metapb.PingResponse, error)
}

// Bus is what Follow needs of the bus.
type Bus interface {
	Subscribe(subject string, handle func(data []byte)) (cancel func(), err error)
	Ready() error
}

// ChunkSink receives the verdicts of one node epoch's chunks. ChunkVerdict is called while the entry is being applied: it
// must neither block nor call the replica, and c and v are valid during the call only.
type ChunkSink interface {
	ChunkVerdict(c *metapb.CommitChunk, v *meta.ChunkVerdict)
}

// Config says whose replica to open.
type Config struct {
	// LogID is the log's identity, from cluster.json.
	LogID [16]byte
	// Log is read, never written; nil for OpenArchived alone.
	Log metalog.Log
	// Store holds the snapshots; nil for none.
	Store objstore.Store
	// PollInterval is how often Follow checks that nothing was missed; 1 s by default.
	PollInterval time.Duration
	// ShortPatience is for how long the log must seem to end before what the bucket has of it until that is believed (ErrLogShort). It is 0 for a
	// log whose Bounds are never behind. A server that was cut off from the others of a replicated one goes on telling its end until it knows.
	ShortPatience time.Duration
	// Logger is nil for none.
	Logger *slog.Logger
}

// Replica is one State, kept up with the log. Its methods may be called concurrently.
type Replica struct {
	cfg Config

	// applying serialises appliers; it guards scratch.
	applying sync.Mutex
	scratch  scratch

	mu struct {
		sync.RWMutex
		state    *meta.State
		lastHash [32]byte // of the entry at state.Seq(); zero where that is 0
	}
	applied atomic.Uint64 // state.Seq(), readable without the lock
	heard   atomic.Uint64 // the highest sequence somebody said exists
	saved   atomic.Uint64 // the sequence of the newest snapshot known
	wanted  chan struct{} // with room for one: somebody waits for a sequence
	doubted chan struct{} // with room for one: somebody misses the leader

	submitter atomic.Pointer[Submitter]
	ids       commandIDs
	verdicts  verdictWaiters
	sequences seqWaiters
	watchers  watchers
	sinks     sinks
	listeners listeners
	barriers  barriers
	short     short
	leads     leads
	proven    proven

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// Open loads the newest snapshot and applies the log to its end. It refuses, naming the bucket and `varve recover`, a log
// that is another cluster's or does not fit the snapshot. The caller must Close the replica.
func Open(ctx context.Context, cfg Config) (*Replica, error) {
	r := newReplica(cfg)
	if err := r.load(ctx); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

func newReplica(cfg Config) *Replica {
	if cfg.PollInterval == 0 {
		cfg.PollInterval = time.Second
	}
	r := &Replica{cfg: cfg, wanted: make(chan struct{}, 1), doubted: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.mu.state = meta.New(cfg.LogID)
	_, _ = rand.Read(r.ids.prefix[:]) // never fails
	r.verdicts.waiting = map[commandID]chan meta.Verdict{}
	r.watchers.init()
	return r
}

func (r *Replica) load(ctx context.Context) error {
	if err := r.restoreFirst(ctx); err != nil {
		return r.refuse(err)
	}
	began := r.Seq()
	for barren := 0; ; {
		before, asked := r.Seq(), time.Now()
		err := r.CatchUpOrRestore(ctx)
		switch {
		case err == nil:
			return nil
		case Final(err) || ctx.Err() != nil || r.Seq() == began:
			return r.refuse(err)
		case r.Seq() > before:
			barren = 0
		case barren == barrenReads || time.Since(asked) > quickRead:
			return err
		}
		barren++
		timer := time.NewTimer(barrenPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// restoreFirst restores what there is; a log that seems too short is asked again until that is sure.
func (r *Replica) restoreFirst(ctx context.Context) error {
	wait := firstRetry
	for {
		err := r.restore(ctx)
		if !errors.Is(err, errSeemsShort) {
			return err
		}
		if r.cfg.Logger != nil && wait == firstRetry {
			r.cfg.Logger.Warn("cannot read the metadata, trying again", "error", err)
		}
		if r.pause(ctx, &wait) != nil {
			return err
		}
	}
}

const (
	// barrenReads is how many reads of the log in a row may give nothing before what was read is given up and begun anew; each that failed within
	// quickRead, and after a pause of barrenPause.
	barrenReads = 5
	quickRead   = time.Second
	barrenPause = 50 * time.Millisecond
)

// CatchUpOrRestore catches up. A log that was cut before this replica came so far has a snapshot that stands for what is missing,
// unless that leads no further.
func (r *Replica) CatchUpOrRestore(ctx context.Context) error {
	for {
		err := r.CatchUp(ctx)
		if !errors.Is(err, metalog.ErrTruncated) {
			return err
		}
		before := r.Seq()
		if err := r.restore(ctx); err != nil {
			return err
		}
		if r.Seq() == before {
			return err
		}
	}
}

// Final says whether err is one that no repetition mends: log, snapshot and program do not fit together.
func Final(err error) bool {
	for _, sentinel := range []error{ErrForked, ErrLogLost, ErrLogShort, ErrNoSnapshot, metalog.ErrForeign, metalog.ErrUnfit, metalog.ErrCorrupt, metalog.ErrFormat, metalog.ErrTruncated,
		meta.ErrForeignLog, meta.ErrRecovered, meta.ErrFormat, meta.ErrFeatureLevel, meta.ErrCorrupt} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// refuse turns a final error into the line a process ends with.
func (r *Replica) refuse(err error) error {
	if errors.Is(err, ErrForked) {
		err = fmt.Errorf("%w: %w", ErrLogLost, err)
	}
	if Final(err) && r.cfg.Store != nil {
		return identity.Refuse(r.cfg.Store, err)
	}
	return err
}

// Close ends what the replica runs and waits for it. Waiters return ErrClosed.
func (r *Replica) Close() {
	r.barriers.mu.Lock() // no round starts once this is seen
	r.cancel()
	r.barriers.mu.Unlock()
	r.tasks.Wait()
}

// View calls read with the state, which must not be kept or changed, and no other method of the replica may be called from
// read. Entries wait meanwhile: no I/O inside.
func (r *Replica) View(read func(*meta.State)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	read(r.mu.state)
}

// Seq is the sequence of the last entry applied.
func (r *Replica) Seq() uint64 { return r.applied.Load() }

// HasStore says whether there is a bucket for snapshots.
func (r *Replica) HasStore() bool { return r.cfg.Store != nil }

// SnapshotSeq is the sequence of the newest snapshot read or written here, 0 for none.
func (r *Replica) SnapshotSeq() uint64 { return r.saved.Load() }

// Position returns the last entry's sequence and hash together.
func (r *Replica) Position() (seq uint64, hash [32]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.state.Seq(), r.mu.lastHash
}

// SetSubmitter sets the way to the leader. It may be set anew when roles change.
func (r *Replica) SetSubmitter(s Submitter) { r.submitter.Store(&s) }

func (r *Replica) leader() (Submitter, error) {
	if s := r.submitter.Load(); s != nil {
		return *s, nil
	}
	return nil, ErrNoLeader
}

// Hear tells the replica that the log has come as far as seq. Follow catches up with it.
func (r *Replica) Hear(seq uint64) {
	for {
		heard := r.heard.Load()
		if seq <= heard || r.heard.CompareAndSwap(heard, seq) {
			return
		}
	}
}

// CatchUp applies what the log holds beyond this replica, to the log's end as of the call.
func (r *Replica) CatchUp(ctx context.Context) error {
	for {
		before := r.Seq()
		err := r.catchUp(ctx)
		if err != nil && !Final(err) && ctx.Err() == nil && r.Seq() > before {
			continue // each time further: a long log would never be read whole where every so many reads fail
		}
		if !errors.Is(err, metalog.ErrCorrupt) && !errors.Is(err, meta.ErrCorrupt) {
			return err
		}
		// The bucket has a copy of a log that is kept elsewhere.
		if archived := r.applyArchived(ctx); archived != nil || r.Seq() == before {
			return errors.Join(err, archived)
		}
		if r.cfg.Logger != nil {
			r.cfg.Logger.Error("an entry of the metadata log is damaged; its copy in the archive was used", "seq", before+1, "error", err)
		}
	}
}

func (r *Replica) catchUp(ctx context.Context) error {
	return r.applyAll(r.cfg.Log.Read(ctx, r.Seq()+1))
}

// applyHeard applies what the log is known to hold beyond this replica, where that can be read without asking for the log's end.
func (r *Replica) applyHeard(ctx context.Context) error {
	log, ok := r.cfg.Log.(metalog.Ranger)
	if !ok {
		return nil
	}
	err := r.applyAll(log.ReadRange(ctx, r.Seq()+1, r.heard.Load()+1))
	if errors.Is(err, metalog.ErrCorrupt) || errors.Is(err, meta.ErrCorrupt) {
		return nil // CatchUp knows of copies
	}
	return err
}

func (r *Replica) applyAll(records iter.Seq2[metalog.Record, error]) error {
	for record, err := range records {
		if err != nil {
			return fmt.Errorf("catch up with metalog: %w", err)
		}
		if err := r.ApplyEncoded(record.Seq, record.Entry); err != nil {
			return err
		}
	}
	return nil
}

// applyArchived applies the archive's copy of the next entry, where there is one; it is held against the hash of the one before it.
func (r *Replica) applyArchived(ctx context.Context) error {
	if r.cfg.Store == nil {
		return nil
	}
	for record, err := range archive.Read(ctx, r.cfg.Store, r.cfg.LogID, r.Seq()+1) {
		if err != nil {
			return fmt.Errorf("read the archive's copy: %w", err)
		}
		return r.ApplyEncoded(record.Seq, record.Entry)
	}
	return nil
}
