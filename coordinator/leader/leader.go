package leader

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// aliveTimeout bounds the question whether the former leader still leads.
const aliveTimeout = 3 * time.Second

// stopGrace is how long an append under way may take when the leader is told to stop.
const stopGrace = 3 * time.Second

// Leader sequences commands. It is the Submitter of its own process's replica.
type Leader struct {
	cfg   Config
	queue *queue
	clock atomic.Pointer[clock] // set by takeOver
	epoch atomic.Uint64         // 0 before it is known
	next  atomic.Uint64         // the sequence of the next entry; 0 before it is known

	// Of the loop alone.
	lastHash [32]byte
	batch    []item
	begun    *submission // of which the log holds a part
	hint     []byte

	liveness  liveness
	notifier  notifier
	snapshots snapshots
	archiver  *archive.Archiver // nil for none
	nagged    atomic.Int64      // when complain last wrote, Unix nanoseconds
	full      atomic.Bool       // MaxUnshippedRuns is reached, as of the last upkeep

	created   time.Time
	appending atomic.Int64 // since when an append waits for its answer, in nanoseconds since created; 0 for none
}

var _ replica.Submitter = (*Leader)(nil)

// New returns a leader that does not lead yet: it refuses submissions with ErrNotLeader until Run has taken over.
func New(cfg Config) (*Leader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("leader: %w", err)
	}
	cfg = cfg.withDefaults()
	l := &Leader{cfg: cfg, queue: newQueue(cfg.MaxQueuedCommands, cfg.MaxQueuedBytes, cfg.Patience), created: time.Now()}
	l.liveness.init()
	l.notifier.init()
	l.snapshots.due = make(chan struct{}, 1)
	if cfg.Archive != nil {
		l.archiver = archive.New(archive.Config{Store: cfg.Archive, Log: cfg.Log, LogID: cfg.LogID, Many: l.snapshots.call, Logger: cfg.Logger})
	}
	return l, nil
}

// Run takes over and sequences until ctx ends (nil) or it must not go on: ErrFenced, ErrLeaderAlive, ErrLogLost, or what the
// log or the state refused. started, if not nil, is called when it leads.
func (l *Leader) Run(ctx context.Context, started func()) error {
	if err := l.takeOver(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("lead: %w", err)
	}
	cancel := l.cfg.Replica.Listen(&l.notifier)
	defer cancel()
	l.queue.open()
	var tasks sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	tasks.Go(func() { l.runUpkeep(ctx) })
	tasks.Go(func() { l.runLiveness(ctx) })
	tasks.Go(func() { l.runNotifier(ctx) })
	tasks.Go(func() { l.runSnapshots(ctx) })
	// Its end comes when nothing is appended any more.
	archiving, stopArchiving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopArchiving()
	if l.archiver != nil {
		tasks.Go(func() { l.archiver.Run(archiving) })
	}
	if started != nil {
		started()
	}
	// The append under way when ctx ends gets time to be settled.
	appends, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, abandon) })()
	err := l.sequence(ctx, appends)
	l.queue.close(l.begun)
	stop()
	stopArchiving()
	tasks.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("lead: %w", err)
	}
	return nil
}

// takeOver appends LeaderStart behind everything that is in the log.
func (l *Leader) takeOver(ctx context.Context) error {
	r := l.cfg.Replica
	for {
		if err := l.catchUp(ctx); err != nil {
			return err
		}
		var epoch uint64
		var address string
		var timeMillis int64
		r.View(func(s *meta.State) {
			epoch, address, timeMillis = s.LeaderEpoch()+1, s.LeaderAddress(), s.TimeMillis()
		})
		if l.stillLeads(ctx, address) {
			return fmt.Errorf("at %s: %w", address, ErrLeaderAlive)
		}
		guarded := make(chan error, 1)
		go func() { guarded <- l.guard(ctx) }()
		seq, hash := r.Position()
		l.epoch.Store(epoch)
		l.next.Store(seq + 1)
		l.lastHash = hash
		l.clock.Store(l.startClock(ctx, timeMillis))
		if err := <-guarded; err != nil {
			return err
		}
		start := &metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{
			Epoch: epoch, InternalAddress: l.cfg.InternalAddress, Name: l.cfg.Name, FeatureLevel: meta.FeatureLevel,
		}}}
		err := l.commit(ctx, []*metapb.Command{start}, metalog.Fence)
		if err == nil {
			l.cfg.Logger.Debug("this coordinator leads", "epoch", epoch, "seq", seq+1)
			return nil
		}
		// Somebody appended meanwhile: a late entry of the former leader's, or another's start. Look again.
		if !errors.Is(err, errTaken) && !errors.Is(err, ErrFenced) {
			return err
		}
	}
}

// guard asks whether this process may lead. Whoever takes that from it fences the log afterwards, behind what it has read of it.
func (l *Leader) guard(ctx context.Context) error {
	if l.cfg.Guard == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.StoreTimeTimeout)
	defer cancel()
	return l.cfg.Guard(ctx)
}

// catchUp applies what is in the log, or the snapshot that stands for what was cut, however often that has to be tried.
func (l *Leader) catchUp(ctx context.Context) error {
	wait := firstRetry
	for {
		err := l.cfg.Replica.CatchUpOrRestore(ctx)
		switch {
		case errors.Is(err, replica.ErrForked):
			return fmt.Errorf("%w: %w", ErrLogLost, err)
		case err == nil, replica.Final(err):
			return err
		}
		l.complain("cannot read the metalog, trying again", err)
		if err := l.pause(ctx, &wait); err != nil {
			return err
		}
	}
}

func (l *Leader) stillLeads(ctx context.Context, address string) bool {
	if address == "" || address == l.cfg.InternalAddress || l.cfg.LeaderAlive == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	return l.cfg.LeaderAlive(ctx, address)
}

// sequence appends what is submitted, one entry at a time, until ctx ends; an append under way then may still take as long as
// appends does.
func (l *Leader) sequence(ctx, appends context.Context) error {
	ripe := time.NewTimer(noHurry)
	defer ripe.Stop()
	for ctx.Err() == nil {
		var later time.Duration
		if l.batch, later = l.queue.take(l.batch[:0], meta.FrameBytes); len(l.batch) == 0 {
			ripe.Reset(later)
			select {
			case <-l.queue.filled:
			case <-ripe.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		commands := make([]*metapb.Command, 0, len(l.batch)) // the state keeps the entry
		for i := range l.batch {
			if c := l.batch[i].command; c != nil {
				commands = append(commands, c)
			}
		}
		err := errNoRide
		if len(commands) > 0 {
			err = l.commitBehind(appends, commands)
		}
		l.answer(err)
		if err != nil && !errors.Is(err, errNoRide) {
			return err
		}
	}
	return ctx.Err()
}

// commitBehind commits behind whatever an older leader's last append may have put in the way. Such an entry is void.
func (l *Leader) commitBehind(ctx context.Context, commands []*metapb.Command) error {
	for {
		err := l.commit(ctx, commands, metalog.Ordinary)
		if !errors.Is(err, errTaken) {
			return err
		}
		if err := l.catchUp(ctx); err != nil {
			return err
		}
		if epoch := l.cfg.Replica.LeaderEpoch(); epoch != l.epoch.Load() {
			return fmt.Errorf("epoch %d has begun behind it, this coordinator's is %d: %w", epoch, l.epoch.Load(), ErrFenced)
		}
		seq, hash := l.cfg.Replica.Position()
		l.next.Store(seq + 1)
		l.lastHash = hash
	}
}

// commit makes the commands the next entry, applies it and tells of it.
func (l *Leader) commit(ctx context.Context, commands []*metapb.Command, kind metalog.Kind) error {
	seq := l.next.Load()
	entry := &metapb.Entry{
		Format:      meta.EntryFormat,
		LogId:       l.cfg.LogID[:],
		LeaderEpoch: l.epoch.Load(),
		TimeMillis:  l.clock.Load().millis(),
		Commands:    commands,
		EntryNonce:  rand.Uint64(),
	}
	if seq > 1 {
		previous := l.lastHash
		entry.PreviousHash = previous[:]
	}
	encoded, err := meta.EncodeEntry(entry)
	if err != nil {
		return err
	}
	began := time.Now()
	l.appending.Store(int64(began.Sub(l.created)) + 1)
	err = l.appendSettled(ctx, seq, encoded, kind)
	l.appending.Store(0)
	if err != nil {
		return err
	}
	if l.cfg.Observer != nil {
		l.cfg.Observer.Appended(len(commands), len(encoded), time.Since(began))
	}
	if l.archiver != nil {
		l.archiver.Appended(seq, encoded)
	}
	l.lastHash = sha256.Sum256(encoded)
	l.publish(seq, encoded)
	if err := l.cfg.Replica.ApplyLocal(seq, entry, l.lastHash); err != nil {
		return err
	}
	l.next.Store(seq + 1)
	l.snapshots.grown(&l.cfg, len(encoded))
	return nil
}

// answer settles the submissions that end in the batch. After an error that ends the reign nobody knows what became of
// them, except that what the queue still holds was never appended.
func (l *Leader) answer(err error) {
	seq := l.next.Load() - 1
	for i := range l.batch {
		it := &l.batch[i]
		switch {
		case !it.last:
			l.begun = it.owner
			continue
		case err == nil:
			it.owner.settle(seq, nil)
		case errors.Is(err, errNoRide):
			it.owner.settle(0, errNoRide)
		case errors.Is(err, ErrFenced) && !errors.Is(err, metalog.ErrTruncated) && l.begun != it.owner:
			// Another's entry stands where this one would: it is not in the log and never will be.
			it.owner.settle(0, replica.ErrNotLeader)
		default:
			it.owner.settle(0, fmt.Errorf("%w: %w", replica.ErrAmbiguous, err))
		}
		l.begun = nil
	}
	clear(l.batch)
}

// Submit implements replica.Submitter: it returns when the commands are in the log and applied to the replica.
func (l *Leader) Submit(ctx context.Context, commands []*metapb.Command) (uint64, error) {
	if len(commands) == 0 {
		return l.cfg.Replica.Seq(), nil
	}
	if l.full.Load() && hasChunk(commands) {
		return 0, fmt.Errorf("commit chunk: %d runs wait to be shipped: %w", l.cfg.MaxUnshippedRuns, replica.ErrBusy)
	}
	return l.queue.submit(ctx, commands)
}

func hasChunk(commands []*metapb.Command) bool {
	return slices.ContainsFunc(commands, func(c *metapb.Command) bool { return c.GetCommitChunk() != nil })
}

// Leading returns the epoch, and whether submissions are taken.
func (l *Leader) Leading() (epoch uint64, leading bool) {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.epoch.Load(), l.queue.mu.open
}

// Stalled is for how long an append has been waiting for its answer, 0 where there is none under way.
func (l *Leader) Stalled() time.Duration {
	since := l.appending.Load()
	if since == 0 {
		return 0
	}
	return max(0, time.Since(l.created)-time.Duration(since))
}

// Doubt has the leader find out whether it still leads, by an append: somebody knows of a later leader.
func (l *Leader) Doubt(ctx context.Context) error {
	_, err := l.queue.submit(ctx, []*metapb.Command{noop()})
	return err
}

// ArchiveLag is how many entries are durable and not archived yet.
func (l *Leader) ArchiveLag() uint64 {
	if l.archiver == nil {
		return 0
	}
	return l.archiver.Lag()
}

// complain logs trouble that repeats, at most once in ten seconds.
func (l *Leader) complain(message string, err error) {
	now := time.Now().UnixNano()
	last := l.nagged.Load()
	if now-last > int64(10*time.Second) && l.nagged.CompareAndSwap(last, now) {
		l.cfg.Logger.Warn(message, "error", err)
	}
}
