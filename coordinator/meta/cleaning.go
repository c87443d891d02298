package meta

import (
	"math"

	"github.com/varvelog/varve/coordinator/metapb"
)

// cleaning is how far compaction has come in a partition.
//
// Below cleanedTo no record has a later one of its key below it. Only rounds that went through everything from the log start on move it,
// so that a tombstone below it has nothing left to hide: it may be dropped once its time has come.
type cleaning struct {
	cleanedTo       int64
	horizonMillis   int64 // when there is something to drop again: tombstones and markers whose time has come. 0 for never
	job             JobID // 0 where no round is under way
	attempts        uint32
	notBeforeMillis int64 // no round before that: the last one came to nothing
}

// CleanedOffset is the offset below which the partition is compacted.
func (p *Partition) CleanedOffset() int64 {
	if p.cleaning == nil {
		return p.logStart
	}
	return max(p.cleaning.cleanedTo, p.logStart)
}

// maxRoundParts bounds what a worker is told of a round. The parts behind them are the next one's, when these have become fewer.
const maxRoundParts = 400_000

// dirt is what there is to compact in a partition.
type dirt struct {
	next  int64   // a round goes up to there
	ratio float64 // of the bytes up to there, those that are new since the last round
	due   bool    // by ratio, by age, or because something is to be dropped again
}

// dirt looks at what compaction would find at a state time. It goes through the parts that are new since the last round only.
func (s *State) dirt(p *Partition, nowMillis int64) (d dirt) {
	config := &p.topic.Config
	if c := p.cleaning; !config.Compact || len(p.parts) == 0 || c != nil && (c.job != 0 || nowMillis < c.notBeforeMillis) {
		return dirt{}
	}
	// Whatever is not shipped may still find its way between parts, and what is not decided may still be aborted.
	end := min(p.LastStableOffset(), p.firstHot())
	clean := p.partBytes
	var dirty uint64
	oldest := int64(math.MaxInt64)
	first := firstPart(p.parts, p.CleanedOffset())
	if n := min(first, maxRoundParts); n > 0 {
		d.next = p.parts[n-1].next
	}
	held := false
	for i := first; i < len(p.parts); i++ {
		t := &p.parts[i]
		clean -= t.length
		if held = held || i >= maxRoundParts || t.next > end || config.MinCompactionLagMillis > 0 && t.newest() > nowMillis-config.MinCompactionLagMillis; held {
			continue
		}
		dirty += t.length
		oldest = min(oldest, t.oldest())
		d.next = t.next
	}
	if dirty > 0 {
		d.ratio = float64(dirty) / float64(clean+dirty)
		late := addMillis(oldest, max(config.MaxCompactionLagMillis, config.MinCompactionLagMillis)) < nowMillis
		d.due = d.ratio > config.MinCleanableDirtyRatio || late
	}
	if c := p.cleaning; c != nil && c.horizonMillis > 0 && c.horizonMillis <= nowMillis && d.next > p.logStart {
		d.due = true
	}
	return d
}

// newest and oldest are the times of a part's records, or that of its object where they have none.
func (t *part) newest() int64 {
	if t.maxTimestamp < 0 {
		return t.object.createdMillis
	}
	return t.maxTimestamp
}

func (t *part) oldest() int64 {
	if t.minTimestamp <= 0 {
		return t.object.createdMillis
	}
	return t.minTimestamp
}

// dirtiest is the partition that needs a round of compaction most, and how far it goes; nil where none needs one.
func (s *State) dirtiest(nowMillis int64) (worst *Partition, next int64) {
	ratio := -1.0
	for _, t := range s.topicOrder {
		if !t.Config.Compact {
			continue
		}
		for _, p := range t.partitions {
			if d := s.dirt(p, nowMillis); d.due && d.ratio > ratio {
				worst, next, ratio = p, d.next, d.ratio
			}
		}
	}
	return worst, next
}

// nextRound is the round that is needed most at a state time: of compaction, or else one that merges; nil where none is.
func (s *State) nextRound(nowMillis int64, merging *metapb.Merging) *round {
	if p, next := s.dirtiest(nowMillis); p != nil {
		return &round{partition: TopicPartition{p.topic.ID, p.index}, to: next, done: p.parts[0].base}
	}
	if p, from, to := s.toMerge(nowMillis, merging); p != nil {
		return &round{partition: TopicPartition{p.topic.ID, p.index}, to: to, done: from, merges: true}
	}
	return nil
}

// Compactable says whether LeaseCompaction would find a partition at a state time.
func (s *State) Compactable(nowMillis int64, merging *metapb.Merging) bool {
	return s.nextRound(nowMillis, merging) != nil
}

// clean is the partition's cleaning, begun if there was none.
func (p *Partition) clean() *cleaning {
	if p.cleaning == nil {
		p.cleaning = &cleaning{}
	}
	return p.cleaning
}

// cleaned notes that a round has gone through everything below an offset. What was aborted there is no more, and readers need not be
// told of it.
func (p *Partition) cleaned(to, horizonMillis int64) {
	c := p.clean()
	c.cleanedTo, c.horizonMillis, c.attempts, c.notBeforeMillis = max(c.cleanedTo, to), horizonMillis, 0, 0
	p.dropAborted(c.cleanedTo)
}
