package leader

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// cutLog loses the answer to the first append after cut is set, and the entry is truncated before anybody asks for it: a successor
// has taken over, applied it, and written snapshots.
type cutLog struct {
	metalog.Log
	mu  sync.Mutex
	cut bool
}

func (l *cutLog) Append(ctx context.Context, seq uint64, entry []byte, kind metalog.Kind) error {
	err := l.Log.Append(ctx, seq, entry, kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut || err != nil {
		return err
	}
	l.cut = false
	return errors.Join(mem.ErrLost, l.Truncate(ctx, seq+1))
}

// What stood at the sequence is not known any more, so it may have been this leader's own entry. It was said that nothing of it was
// in the log, and whoever had submitted it submitted it again.
func TestAnEntryThatWasTruncatedUnreadIsAmbiguous(t *testing.T) {
	log := &cutLog{Log: mem.New().Open()}
	n := start(t, log, nil)
	log.mu.Lock()
	log.cut = true
	log.mu.Unlock()
	_, err := n.Submit(timeout(t), []*metapb.Command{allocate()})
	if !errors.Is(err, replica.ErrAmbiguous) || errors.Is(err, replica.ErrNotLeader) {
		t.Errorf("submit: %v, want %v", err, replica.ErrAmbiguous)
	}
	err = <-n.ended
	n.ended <- nil
	if !errors.Is(err, ErrFenced) {
		t.Errorf("ended with %v, want %v", err, ErrFenced)
	}
}

// A standby that was cut off for so long that the log was truncated past it is the one that takes over when it is back. It ended, and with it the
// last coordinator there was.
func TestAStandbyBehindTheTruncationTakesOverFromTheSnapshot(t *testing.T) {
	ctx, backing, store := timeout(t), mem.New(), memstore.New("snapshots")
	standby, err := replica.Open(ctx, replica.Config{LogID: logID, Log: backing.Open(), Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	first := start(t, backing.Open(), store)
	var last int64
	for range 10 {
		v, err := first.replica.Propose(ctx, allocate())
		if err != nil {
			t.Fatal(err)
		}
		last = v.ProducerID
	}
	if _, err := first.replica.SaveSnapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := backing.Open().Truncate(ctx, first.replica.Seq()); err != nil {
		t.Fatal(err)
	}
	first.halt(t)
	l, err := New(Config{ClusterID: cluster, LogID: logID, Log: backing.Open(), Replica: standby, InternalAddress: "127.0.0.1:2"})
	if err != nil {
		t.Fatal(err)
	}
	standby.SetSubmitter(l)
	leading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(leading, nil) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if v, err := standby.Propose(ctx, allocate()); err != nil || v.ProducerID != last+1 {
		t.Errorf("propose to the successor: %+v, %v; want producer %d", v, err, last+1)
	}
}
