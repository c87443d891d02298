package replica

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// staleLog is asked through a server that was cut off from the others when the log ended at end; 0 where it was not.
type staleLog struct {
	metalog.Log
	end   atomic.Uint64
	asked atomic.Int64
}

func (l *staleLog) Bounds(ctx context.Context) (first, next uint64, err error) {
	first, next, err = l.Log.Bounds(ctx)
	if end := l.end.Load(); end > 0 {
		l.asked.Add(1)
		next = end
	}
	return first, next, err
}

// staleRig is a log of 14 entries, of which the first eleven are in a snapshot alone, and a replica that was opened before there were any.
func staleRig(t *testing.T) (*staleLog, *Replica, *writer) {
	t.Helper()
	backing, store := mem.New(), memstore.New("snapshots")
	log := &staleLog{Log: backing.Open()}
	early := openReplica(t, Config{Log: log, Store: store, PollInterval: time.Hour, ShortPatience: 20 * time.Second})
	w := newWriter(t, backing.Open())
	for range 11 {
		w.append(allocate())
	}
	ahead := openReplica(t, Config{Log: backing.Open(), Store: store})
	if _, err := ahead.SaveSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.append(allocate())
	}
	if err := log.Truncate(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	log.end.Store(5)
	return log, early, w
}

func TestAServerThatIsBehindEndsNoFollower(t *testing.T) {
	for name, healed := range map[string]bool{"it learns": true, "the log is short": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, r, w := staleRig(t)
				defer r.Close()
				r.Hear(w.seq)
				followed := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { followed <- r.Follow(ctx, nil, nil) }()
				select {
				case err := <-followed:
					t.Fatalf("it ended: %v", err)
				case <-time.After(15 * time.Second):
				}
				if log.asked.Load() < 10 {
					t.Errorf("asked %d times", log.asked.Load())
				}
				if !healed {
					if err := <-followed; !errors.Is(err, ErrLogShort) {
						t.Errorf("it ended: %v", err)
					}
					return
				}
				log.end.Store(0)
				if err := r.WaitSeq(ctx, w.seq); err != nil {
					t.Error(err)
				}
				cancel()
				if err := <-followed; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAServerThatIsBehindKeepsNobodyFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, early, w := staleRig(t)
		early.Close()
		config := early.cfg
		time.AfterFunc(12*time.Second, func() { log.end.Store(0) })
		r, err := Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Seq() != w.seq {
			t.Errorf("at %d of %d", r.Seq(), w.seq)
		}
		log.end.Store(5)
		began := time.Now()
		if _, err := Open(t.Context(), config); !errors.Is(err, ErrLogShort) || time.Since(began) < config.ShortPatience {
			t.Errorf("a log that stays short, after %v: %v", time.Since(began), err)
		}
	})
}
