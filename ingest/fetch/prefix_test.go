package fetch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// slowPeers are nodes with the same run, behind networks of a throughput each.
type slowPeers struct {
	run     []byte
	perByte map[string]time.Duration // by address
}

// ReadHot implements Peer.
func (p slowPeers) ReadHot(ctx context.Context, address string, _ [16]byte, _ uint64, position uint32, buf []byte) (int, error) {
	perByte, began := p.perByte[address], time.Now()
	timer := time.NewTimer(time.Duration(len(buf)) * perByte)
	defer timer.Stop()
	select {
	case <-timer.C:
		return copy(buf, p.run[position:]), nil
	case <-ctx.Done():
		return copy(buf[:time.Since(began)/perByte], p.run[position:]), ctx.Err()
	}
}

// readOver reads a run of 10 batches for as long as half of it takes from the node "a".
func readOver(t *testing.T, run []byte, perByte map[string]time.Duration, e *extent) error {
	t.Helper()
	r, err := New(Config{}, Dependencies{Peer: slowPeers{run, perByte}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(run)/2)*time.Millisecond)
	defer cancel()
	e.loc = meta.Location{Tier: meta.TierHot, NextOffset: 20, Length: uint64(len(run))}
	e.limit, e.address = len(run), "a"
	return e.read(ctx, r)
}

func TestBatchesThatCameBeforeTheTimeWasOverAreKept(t *testing.T) {
	batch := batchOf(t, 2)
	run := slices.Repeat(batch, 10)
	slow, slower := time.Millisecond, 4*time.Millisecond
	for name, c := range map[string]struct {
		perByte map[string]time.Duration
		other   string
		flipped int // the batch with a flipped bit
		batches int
		fails   error
	}{
		"half of it":              {map[string]time.Duration{"a": slow}, "", -1, 5, nil},
		"less than a batch":       {map[string]time.Duration{"a": 10 * slow}, "", -1, 0, context.DeadlineExceeded},
		"damage in it":            {map[string]time.Duration{"a": slow}, "", 3, 3, nil},
		"damage at its beginning": {map[string]time.Duration{"a": slow}, "", 0, 0, errMissing},
		"damage that is to come":  {map[string]time.Duration{"a": slow}, "", 7, 5, nil},
		"the first of two copies": {map[string]time.Duration{"a": slow, "b": slower}, "b", -1, 5, nil},
		"the other of two copies": {map[string]time.Duration{"a": slower, "b": slow}, "b", -1, 4, nil}, // it is asked after hedgeDelay
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := slices.Clone(run)
				if c.flipped >= 0 {
					run[(c.flipped+1)*len(batch)-1] ^= 1
				}
				e := &extent{otherAddress: c.other}
				if err := readOver(t, run, c.perByte, e); !errors.Is(err, c.fails) {
					t.Fatalf("%v, want %v", err, c.fails)
				}
				if len(e.records) != c.batches*len(batch) || c.batches > 0 && (e.next != int64(2*c.batches) || e.start != uint64(len(e.records))) {
					t.Errorf("%d bytes up to offset %d, going on at %d, want %d batches of %d bytes", len(e.records), e.next, e.start, c.batches, len(batch))
				}
				if e.preferOther != (name == "the other of two copies") {
					t.Errorf("the other is preferred: %v", e.preferOther)
				}
			})
		})
	}
}
