package meta

import (
	"sort"

	"github.com/varvelog/varve/coordinator/metapb"
)

// epochStart is where a leader epoch of a partition began. A partition begins with epoch 0 at offset 0, which is not kept.
type epochStart struct {
	epoch int32
	start int64
}

// raiseLeaderEpoch begins the partition's next leader epoch at its end: offsets from there on may have been given before, to records
// that were lost.
func (p *Partition) raiseLeaderEpoch() { p.beginLeaderEpochAt(p.leaderEpoch+1, p.next) }

// beginLeaderEpochAt is raiseLeaderEpoch, to an epoch that is higher than the present one, at an offset that is not below its beginning.
func (p *Partition) beginLeaderEpochAt(epoch int32, start int64) {
	p.leaderEpoch = epoch
	p.epochs = append(p.epochs, epochStart{epoch, start})
}

// EpochEnd is Kafka's answer to where an epoch ended (KIP-101, KIP-279): the highest epoch up to the one asked for in which offsets were
// given, and the offset behind its last one. False where the epoch is not known yet.
func (p *Partition) EpochEnd(epoch int32) (found int32, end int64, ok bool) {
	if epoch < 0 || epoch > p.leaderEpoch {
		return -1, -1, false
	}
	later := sort.Search(len(p.epochs), func(i int) bool { return p.epochs[i].epoch > epoch })
	if later > 0 {
		found = p.epochs[later-1].epoch
	}
	if later == len(p.epochs) {
		return found, p.next, true
	}
	return found, p.epochs[later].start, true
}

// EpochAt is the leader epoch in which an offset was given.
func (p *Partition) EpochAt(offset int64) int32 {
	later := sort.Search(len(p.epochs), func(i int) bool { return p.epochs[i].start > offset })
	if later == 0 {
		return 0
	}
	return p.epochs[later-1].epoch
}

func (p *Partition) snapshotEpochs() (out []*metapb.SnapshotLeaderEpoch) {
	for _, e := range p.epochs {
		out = append(out, &metapb.SnapshotLeaderEpoch{Epoch: e.epoch, StartOffset: e.start})
	}
	return out
}

func (p *Partition) restoreEpochs(from []*metapb.SnapshotLeaderEpoch) error {
	last := epochStart{}
	for _, e := range from {
		next := epochStart{e.GetEpoch(), e.GetStartOffset()}
		if next.epoch <= last.epoch || next.start < last.start || next.epoch > p.leaderEpoch || next.start > p.next {
			return bad("leader epoch %d from offset %d", next.epoch, next.start)
		}
		p.epochs = append(p.epochs, next)
		last = next
	}
	return nil
}
