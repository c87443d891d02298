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
