package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
)

// Leader knows what is referred to.
type Leader interface {
	Garbage(ctx context.Context, r *metapb.GarbageRequest) (*metapb.GarbageResponse, error)
	ForgetGarbage(ctx context.Context, r *metapb.GarbageForgetRequest) (*metapb.GarbageForgetResponse, error)
	Referenced(ctx context.Context, r *metapb.ReferencedRequest) (*metapb.ReferencedResponse, error)
}

// Observer is told of deletions.
type Observer interface {
	Deleted(garbage, orphans int)
}

// Config of a Sweeper. The zero value is the default.
type Config struct {
	// GarbageInterval is how often garbage is looked for; default 5 s.
	GarbageInterval time.Duration
	// DeleteDelay is how long garbage is left to readers under way; default 0.
	DeleteDelay time.Duration
	// OrphanInterval is how often the bucket is listed, and garbage tried again that could not be deleted; default 1 h.
	OrphanInterval time.Duration
	// OrphanAge is the age, by the store's clock, from which an object may be an orphan; default 24 h.
	OrphanAge time.Duration
	// Guard is asked before anything is deleted, and forbids it by an error: the leader's word counts only while the bucket is its
	// cluster's. nil for none.
	Guard func(ctx context.Context) error
	// Parallel is how many deletions are under way at once; default 8.
	Parallel int
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	if c.GarbageInterval < 0 || c.DeleteDelay < 0 || c.OrphanInterval < 0 || c.OrphanAge < 0 || c.Parallel < 0 {
		return errors.New("GarbageInterval, DeleteDelay, OrphanInterval, OrphanAge and Parallel must not be negative")
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.GarbageInterval == 0 {
		c.GarbageInterval = 5 * time.Second
	}
	if c.OrphanInterval == 0 {
		c.OrphanInterval = time.Hour
	}
	if c.OrphanAge == 0 {
		c.OrphanAge = 24 * time.Hour
	}
	if c.Parallel == 0 {
		c.Parallel = 8
	}
	return c
}

const (
	// garbageKeys is how much garbage is waited for at once: so much can be deleted in each delay, and every object chunk becomes garbage.
	garbageKeys = 10_000
	// pageKeys is how many keys are deleted before the leader is told.
	pageKeys = 1000
	// callTimeout bounds a question to the leader and a deletion, so that nothing that hangs ends the sweep.
	callTimeout = 30 * time.Second
)

// Sweeper deletes garbage and orphans. It is used by one goroutine.
type Sweeper struct {
	config  Config
	leader  Leader
	store   objstore.Store
	observe Observer
	log     *slog.Logger
	seen    map[string]time.Time // garbage that waits for its delay, and since when
	passed  int                  // how many of the oldest could not be deleted, and are passed over
	old     map[uint64]bool      // which these are, by hashes of their keys
	strange int                  // objects with strange names, as of the last search
}

// New returns a Sweeper.
func New(config Config, leader Leader, store objstore.Store, observe Observer, log *slog.Logger) (*Sweeper, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure sweep: %w", err)
	}
	return &Sweeper{config: config.withDefaults(), leader: leader, store: store, observe: observe, log: log, seen: map[string]time.Time{}, old: map[uint64]bool{}}, nil
}

// Run sweeps until ctx ends. Failures are logged; the next round tries again.
func (s *Sweeper) Run(ctx context.Context) {
	garbage := time.NewTicker(s.config.GarbageInterval)
	defer garbage.Stop()
	orphans := time.NewTicker(s.config.OrphanInterval)
	defer orphans.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-garbage.C:
			err = s.Garbage(ctx)
		case <-orphans.C:
			err = errors.Join(s.Orphans(ctx), s.RetryPassed(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("sweep failed; the next round tries again", "error", err)
		}
	}
}

// ask asks the leader, but not for ever.
func ask[Q, A any](ctx context.Context, question func(context.Context, Q) (A, error), q Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return question(ctx, q)
}

// Orphans lists the bucket and deletes what is old and nothing refers to.
func (s *Sweeper) Orphans(ctx context.Context) error {
	now, err := s.store.Now(ctx)
	if err != nil {
		return fmt.Errorf("ask the store for its time: %w", err)
	}
	deleted, failed := 0, error(nil)
	strange, example := 0, ""
	// An object that cannot be deleted keeps none of those behind it.
	sweep := func(prefix string, page []string) (err error) {
		orphans := page
		if prefix != objstore.ProbePrefix { // to which nothing refers
			orphans, err = s.orphansOf(ctx, page)
		}
		if err == nil {
			err = s.guard(ctx, orphans)
		}
		if err != nil {
			return err
		}
		gone, _, err := s.deleteAll(ctx, orphans)
		deleted += len(gone)
		failed = errors.Join(failed, err)
		return nil
	}
	for _, prefix := range []string{"chunk/", "segment/", objstore.ProbePrefix} {
		var page []string
		for info, err := range s.store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			if now.Sub(info.Modified) < s.config.OrphanAge {
				continue
			}
			if !known(info.Key) {
				strange, example = strange+1, info.Key
				continue
			}
			if page = append(page, info.Key); len(page) == pageKeys {
				if err := sweep(prefix, page); err != nil {
					return err
				}
				page = page[:0]
			}
		}
		if err := sweep(prefix, page); err != nil {
			return err
		}
	}
	if strange > s.strange {
		s.log.Warn("the bucket holds objects whose names are not Varve's; they are left alone", "objects", strange, "example", example)
	}
	s.strange = strange
	if deleted > 0 {
		s.observe.Deleted(0, deleted)
		s.log.Info("deleted orphans", "objects", deleted)
	}
	return failed
}

// known says whether Varve would have given an object this name.
func known(key string) bool {
	_, chunk := meta.ParseChunkKey(key)
	_, segment := meta.ParseSegmentKey(key)
	return chunk || segment || objstore.IsProbe(key)
}

// orphansOf returns those of the keys that the leader knows nothing of.
func (s *Sweeper) orphansOf(ctx context.Context, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	answer, err := ask(ctx, s.leader.Referenced, &metapb.ReferencedRequest{Keys: keys})
	if err != nil {
		return nil, fmt.Errorf("ask which of %d objects are referred to: %w", len(keys), err)
	}
	if len(answer.Referenced) != len(keys) {
		return nil, fmt.Errorf("ask which of %d objects are referred to: %d answers", len(keys), len(answer.Referenced))
	}
	var orphans []string
	for i, referenced := range answer.Referenced {
		if !referenced {
			orphans = append(orphans, keys[i])
		}
	}
	return orphans, nil
}

func (s *Sweeper) guard(ctx context.Context, keys []string) error {
	if len(keys) == 0 || s.config.Guard == nil {
		return nil
	}
	if err := s.config.Guard(ctx); err != nil {
		return fmt.Errorf("delete nothing: %w", err)
	}
	return nil
}

// deleteAll deletes the keys and returns those that are gone, and the others, whatever becomes of them.
func (s *Sweeper) deleteAll(ctx context.Context, keys []string) (gone, stuck []string, failed error) {
	var group errgroup.Group
	group.SetLimit(s.config.Parallel)
	errs := make([]error, len(keys))
	for i, key := range keys {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			if err := s.store.Delete(ctx, key); err != nil {
				errs[i] = fmt.Errorf("delete %s: %w", key, err)
			}
			return nil
		})
	}
	_ = group.Wait() // each error stands in its place
	for i, err := range errs {
		if err == nil {
			gone = append(gone, keys[i])
			continue
		}
		if stuck = append(stuck, keys[i]); failed == nil {
			failed = err
		}
	}
	if len(stuck) > 1 {
		failed = fmt.Errorf("%w, and %d more", failed, len(stuck)-1)
	}
	return gone, stuck, failed
}
