package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/varvelog/varve/infra/bus"
)

const (
	// hintGrace is how long an entry that is known to exist may be on its way over the bus.
	hintGrace = 5 * time.Millisecond
	// quietTicks is after how many poll intervals without an answered ping the log is asked although the bus works.
	quietTicks = 5
	// doubtEach is how often the log is asked for another leader while somebody misses one.
	doubtEach = 100 * time.Millisecond
	// boundsTimeout bounds the question for the log's end.
	boundsTimeout = 2 * time.Second
)

// Follow keeps the replica up with a log that another process writes, until ctx ends: entries come as hints on b (nil for
// none), which key tells from a stranger's, gaps are filled from the log. It returns an error only for what no repetition mends; the process must end then.
func (r *Replica) Follow(ctx context.Context, b Bus, key *bus.Key) error {
	f := &follower{replica: r, bus: b, key: key, gap: make(chan struct{}, 1)}
	if b != nil {
		cancel, err := b.Subscribe(bus.MetalogSubject(key.ClusterID()), f.hint)
		if err != nil {
			return fmt.Errorf("follow metalog: %w", err)
		}
		defer cancel()
	}
	return f.run(ctx)
}

type follower struct {
	replica *Replica
	bus     Bus
	key     *bus.Key
	gap     chan struct{} // with room for one: a hint did not fit
	forged  sync.Once     // the first hint that was not the cluster's was told of
	quiet   int           // ticks since somebody told how far the log is
	doubted time.Time     // when the log was last asked for another leader
}

// hint applies an entry that fits at once, on the bus's goroutine. What does not prove to be the cluster's is no reason for anything, not even to
// look at the log: each look is a few requests to the bucket, and whoever can publish could ask for them.
func (f *follower) hint(data []byte) {
	r := f.replica
	seq, entry, ok := f.key.ParseEntryHint(data)
	if !ok {
		f.forged.Do(func() {
			if r.cfg.Logger != nil {
				r.cfg.Logger.Warn("somebody who is not of the cluster, or a build that proves it in another way, publishes entries of the metadata log; they are dropped, and this is not said again: NATS should authenticate (--nats-url)")
			}
		})
		return
	}
	r.Hear(seq)
	if seq > r.Seq()+1 {
		signal(f.gap)
		return
	}
	// A hint is no more than that: where it does not fit, the log decides.
	if err := r.ApplyEncoded(seq, entry); err != nil {
		signal(f.gap)
	}
}

func (f *follower) run(ctx context.Context) error {
	r := f.replica
	tick := time.NewTicker(r.cfg.PollInterval)
	defer tick.Stop()
	wait := firstRetry
	for {
		if err := f.catchUp(ctx); err != nil {
			if Final(err) {
				return r.refuse(err)
			}
			if r.cfg.Logger != nil {
				r.cfg.Logger.Warn("cannot read the metalog, trying again", "error", err)
			}
			if r.pause(ctx, &wait) != nil {
				return nil
			}
			continue
		}
		wait = firstRetry
		select {
		case <-ctx.Done():
			return nil
		case <-r.ctx.Done():
			return nil
		case <-f.gap:
		case <-r.wanted:
			f.expectHint(ctx)
		case <-r.doubted:
			f.doubt(ctx)
		case <-tick.C:
			f.poll(ctx)
		}
	}
}

// catchUp fills the gap between what is applied and what is known to exist.
func (f *follower) catchUp(ctx context.Context) error {
	r := f.replica
	if ctx.Err() != nil || r.Seq() >= r.heard.Load() {
		return nil
	}
	for heard := r.heard.Load(); ; {
		before := r.Seq()
		err := r.applyHeard(ctx)
		if err == nil && r.Seq() == before {
			err = r.CatchUpOrRestore(ctx) // what is missing may have been cut
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || r.Seq() >= heard || r.Seq() == before {
			return err
		}
	}
}

// expectHint leaves the bus a moment to bring what somebody waits for, before the log is read.
func (f *follower) expectHint(ctx context.Context) {
	r := f.replica
	if f.bus == nil || f.bus.Ready() != nil || r.Seq() >= r.heard.Load() {
		return
	}
	timer := time.NewTimer(hintGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.gap:
	case <-ctx.Done():
	}
}

// poll asks the log how far it is where nobody else would tell: a leader that answers pings does, and the bus mostly.
func (f *follower) poll(ctx context.Context) {
	r := f.replica
	f.quiet++
	if time.Since(time.Unix(0, r.barriers.pinged.Load())) < 3*r.cfg.PollInterval {
		f.quiet = 0
		return
	}
	if f.bus != nil && f.bus.Ready() == nil && f.quiet < quietTicks {
		return
	}
	f.askLog(ctx)
}

// doubt asks the log for another leader. Whoever misses one says so again.
func (f *follower) doubt(ctx context.Context) {
	if time.Since(f.doubted) < doubtEach {
		return
	}
	f.askLog(ctx)
	f.doubted = time.Now()
}

func (f *follower) askLog(ctx context.Context) {
	r := f.replica
	f.quiet = 0
	bounded, cancel := context.WithTimeout(ctx, boundsTimeout)
	defer cancel()
	_, next, err := r.cfg.Log.Bounds(bounded)
	if err == nil {
		r.Hear(next - 1)
	} else if r.cfg.Logger != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("cannot ask the metalog for its end", "error", err)
	}
}
