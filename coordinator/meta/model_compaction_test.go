package meta

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
)

func (m *machine) raiseLevel(*rapid.T) { m.log.do(&metapb.RaiseFeatureLevel{Level: FeatureLevel}) }

func (m *machine) leaseCompaction(t *rapid.T) {
	merging := rapid.SampledFrom([]*metapb.Merging{nil, {Parts: 2}, {Parts: 3, Bytes: 30, ManyParts: 5, AgeMillis: 1000}}).Draw(t, "merging")
	wanted := m.log.s.Compactable(m.log.now, merging)
	v := m.log.do(&metapb.LeaseCompaction{Worker: "c", LeaseMillis: 30_000, Merging: merging})
	if (v.Code == OK) != wanted {
		t.Fatalf("%s, compactable %v", v.Code, wanted)
	}
	if v.Code != OK {
		return
	}
	r, ok := m.log.s.Round(v.JobID)
	if !ok || len(r.Parts) == 0 || r.Merges && len(r.Parts) < int(merging.GetParts()) || r.Merges == r.Topic.Config.Compact || r.Merges && m.log.s.FeatureLevel() < mergingLevel {
		t.Fatalf("round of %d parts, merges %v", len(r.Parts), r.Merges)
	}
	for i, p := range r.Parts {
		if i > 0 && r.Parts[i-1].NextOffset != p.BaseOffset {
			t.Fatalf("a gap before part [%d, %d)", p.BaseOffset, p.NextOffset)
		}
	}
	if last := r.Parts[len(r.Parts)-1].NextOffset; last > m.log.s.Partition(r.Partition).LastStableOffset() {
		t.Fatalf("a round up to %d, above the last stable offset", last)
	}
}

// compactRange reports of a round as a worker does, or as one that is confused.
func (m *machine) compactRange(t *rapid.T) {
	var rounds []*job
	for _, j := range m.log.s.Jobs() {
		if j := m.log.s.jobs[j.ID]; j.round != nil {
			rounds = append(rounds, j)
		}
	}
	if len(rounds) == 0 {
		t.Skip("no round")
	}
	j := rapid.SampledFrom(rounds).Draw(t, "round")
	r := *j.round
	c := &metapb.CompactRange{JobId: uint64(j.id), FromOffset: r.done, ToOffset: r.done, LeaseMillis: 30_000}
	if p := m.log.s.Partition(r.partition); p != nil {
		for i := firstPart(p.parts, r.done); i < len(p.parts) && p.parts[i].next <= r.to; i++ {
			c.ToOffset = p.parts[i].next
			if rapid.Bool().Draw(t, "to there") {
				break
			}
		}
	}
	m.fresh++
	if c.ToOffset > c.FromOffset && rapid.Bool().Draw(t, "anew") {
		c.Part = &metapb.CompactedPart{Ordinal: uint32(m.fresh), SizeBytes: 50, Length: 5, MaxTimestamp: m.log.now, MinTimestamp: m.log.now}
	}
	if c.Done = rapid.IntRange(0, 3).Draw(t, "done") == 0; c.Done {
		c.CleanedTo = rapid.Int64Range(r.done, c.ToOffset).Draw(t, "cleaned to")
		c.HorizonMillis = rapid.SampledFrom([]int64{0, m.log.now + 50_000}).Draw(t, "horizon")
	}
	lies := rapid.IntRange(0, 5).Draw(t, "lie") == 0
	if lies {
		c.FromOffset += rapid.Int64Range(-1, 1).Draw(t, "from")
		c.ToOffset += rapid.Int64Range(-1, 1).Draw(t, "to")
	}
	for range 1 + rapid.IntRange(0, 1).Draw(t, "again") {
		m.tell(t, r.partition, c, lies)
	}
}

func (m *machine) tell(t *rapid.T, tp TopicPartition, c *metapb.CompactRange, lies bool) {
	live := m.log.s.jobs[JobID(c.JobId)] != nil && m.log.s.Partition(tp) != nil
	v := m.log.do(c)
	if live && !lies && v.Code != OK {
		t.Fatalf("%s: %v", v.Code, c)
	}
	if v.Code != OK {
		return
	}
	if c.Part != nil {
		m.moved(JobID(c.JobId), c.Part.Ordinal, &metapb.Part{TopicId: slices.Clone(tp.Topic[:]), Partition: tp.Partition, BaseOffset: c.FromOffset, NextOffset: c.ToOffset})
	}
	if c.Done {
		p := m.partitions[tp]
		p.aborted = slices.DeleteFunc(p.aborted, func(a AbortedTransaction) bool { return a.LastOffset < m.log.s.Partition(tp).cleaning.cleanedTo })
	}
}

// compactionInvariants: a partition and the round that compacts it know of each other.
func (s *State) compactionInvariants() error {
	for _, j := range s.jobs {
		if j.round == nil {
			continue
		}
		if p := s.Partition(j.round.partition); len(j.containers) > 0 || p != nil && (p.cleaning == nil || p.cleaning.job != j.id) {
			return fmt.Errorf("job %d compacts %s, which does not know of it", j.id, j.round.partition)
		}
	}
	for _, p := range s.partitions {
		if p == nil || p.cleaning == nil || p.cleaning.job == 0 {
			continue
		}
		if j := s.jobs[p.cleaning.job]; j == nil || j.round == nil || j.round.partition != (TopicPartition{p.topic.ID, p.index}) {
			return fmt.Errorf("%s-%d is compacted by job %d, which does not know of it", p.topic.Name, p.index, p.cleaning.job)
		}
	}
	return nil
}
