package meta

import "testing"

func TestEveryOffsetHasTheEpochInWhichItWasGiven(t *testing.T) {
	p := &Partition{}
	for offset := range int64(5) {
		if got := p.EpochAt(offset); got != 0 {
			t.Errorf("offset %d has epoch %d in a partition that knows one", offset, got)
		}
	}
	p.next = 10
	p.raiseLeaderEpoch()
	p.raiseLeaderEpoch() // before anything was given in the second
	p.next = 20
	p.raiseLeaderEpoch()
	p.next = 30
	for offset, want := range map[int64]int32{0: 0, 9: 0, 10: 2, 19: 2, 20: 3, 29: 3} {
		if got := p.EpochAt(offset); got != want {
			t.Errorf("offset %d has epoch %d, want %d", offset, got, want)
		}
		// What a client has read is within its epoch, so that it does not go back.
		if _, end, ok := p.EpochEnd(p.EpochAt(offset)); !ok || offset >= end {
			t.Errorf("offset %d lies behind its epoch, which ends at %d", offset, end)
		}
	}
}
