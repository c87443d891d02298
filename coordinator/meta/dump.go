package meta

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Dump writes the state for people to read. With extents, every run and part is listed too.
func (s *State) Dump(w io.Writer, extents bool) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "log %x seq %d time %d ms\n", s.logID, s.seq, s.timeMillis)
	fmt.Fprintf(b, "leader epoch %d %q at %q, feature level %d, %d void entries\n",
		s.leader.epoch, s.leader.name, s.leader.address, s.leader.featureLevel, s.voidEntries)
	fmt.Fprintf(b, "next producer id %d, container %d, job %d\n", s.nextProducerID, s.nextContainer, s.nextJob)
	if s.pending.count > 0 {
		fmt.Fprintf(b, "pending command %x: %d of %d frames\n", s.pending.id, s.pending.next, s.pending.count)
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.configs), compareConfigKey) {
		fmt.Fprintf(b, "config %s %q:", k.scope, k.name)
		dumpOverrides(b, s.configs[k])
	}
	for _, n := range s.nodes {
		fmt.Fprintf(b, "node %d epoch %d live %v draining %v zone %q kafka %s:%d internal %s disk %x lanes %v released %v\n",
			n.ID, n.Epoch, n.Live, n.Draining, n.Zone, n.KafkaHost, n.KafkaPort, n.InternalAddress, n.DiskID, n.lanes, n.released)
		for _, z := range n.ZoneListeners {
			fmt.Fprintf(b, "node %d for zone %q %s:%d\n", n.ID, z.Zone, z.KafkaHost, z.KafkaPort)
		}
	}
	for c := range s.Containers {
		fmt.Fprintf(b, "container %d", c.ID)
		if c.IsChunk() {
			fmt.Fprintf(b, " chunk %s", c.Chunk.Key())
		} else {
			fmt.Fprintf(b, " node %d epoch %d segment %d", c.Node, c.NodeEpoch, c.Segment)
			if c.CopyNode != 0 {
				fmt.Fprintf(b, " copy node %d segment %d chunks %d", c.CopyNode, c.CopySegment, len(s.containers[c.ID].places))
			}
		}
		fmt.Fprintf(b, " sealed %v job %d live %d runs %d bytes, local %d runs\n", c.Sealed, c.Job, c.LiveRuns, c.LiveBytes, c.LocalRuns)
	}
	for _, j := range s.Jobs() {
		fmt.Fprintf(b, "job %d worker %q until %d", j.ID, j.Worker, j.LeaseUntilMillis)
		if r := s.jobs[j.ID].round; r != nil {
			does := "compacts"
			if r.merges {
				does = "merges"
			}
			fmt.Fprintf(b, " %s %s to %d, has come to %d\n", does, r.partition, r.to, r.done)
		} else {
			fmt.Fprintf(b, " containers %v\n", j.Containers)
		}
	}
	for _, o := range s.objectsInOrder() {
		fmt.Fprintf(b, "object %s %d bytes, %d parts\n", o.id.Key(), o.sizeBytes, o.refs)
	}
	for _, g := range s.garbage {
		fmt.Fprintf(b, "garbage %s since %d\n", g.Key, g.SinceMillis)
	}
	for _, t := range s.topicOrder {
		fmt.Fprintf(b, "topic %s id %s partitions %d", t.Name, t.ID, len(t.partitions))
		dumpOverrides(b, t.Overrides)
		for _, p := range t.partitions {
			s.dumpPartition(b, p, extents)
		}
	}
	for _, t := range s.transactionsInOrder() {
		s.dumpTransaction(b, t)
	}
	for _, g := range s.Groups() {
		fmt.Fprintf(b, "group %q kind %q generation %d members %d\n", g.Name, g.Stored.GetKind(), g.Stored.GetGeneration(), len(g.Stored.GetMembers()))
		if c := g.Consumer; c != nil {
			fmt.Fprintf(b, "  consumer protocol: version %d epoch %d assignment epoch %d members %d\n", c.Version, c.Epoch, c.AssignmentEpoch, len(c.Members))
		}
		if c := g.Streams; c != nil {
			fmt.Fprintf(b, "  streams protocol: version %d epoch %d assignment epoch %d topology epoch %d members %d\n",
				c.Version, c.Epoch, c.AssignmentEpoch, c.Topology.GetEpoch(), len(c.Members))
		}
		for _, tp := range g.Partitions() {
			o := g.offsets[tp]
			fmt.Fprintf(b, "  %s offset %d committed %d\n", tp, o.Offset, o.CommitMillis)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("dump state: %w", err)
	}
	return nil
}

func (s *State) dumpPartition(b *bufio.Writer, p *Partition, extents bool) {
	fmt.Fprintf(b, "  %s-%d [%d, %d) runs %d (%d bytes) parts %d (%d bytes) local %d (%d bytes) producers %d\n", p.topic.Name, p.index,
		p.logStart, p.next, len(p.runs), p.runBytes, len(p.parts), p.partBytes, len(p.local), p.localBytes, len(p.producers))
	if len(p.markers)+len(p.open)+len(p.aborted) > 0 {
		fmt.Fprintf(b, "    stable below %d, open %d, aborted %d, markers %d\n", p.LastStableOffset(), len(p.open), len(p.aborted), len(p.markers))
	}
	if c := p.cleaning; c != nil {
		fmt.Fprintf(b, "    compacted to %d, again at %d, attempts %d not before %d\n", c.cleanedTo, c.horizonMillis, c.attempts, c.notBeforeMillis)
	}
	if !extents {
		return
	}
	for _, g := range p.gaps {
		fmt.Fprintf(b, "    lost [%d, %d) since %d\n", g.base, g.next, g.sinceMillis)
	}
	for _, m := range p.markers {
		fmt.Fprintf(b, "    marker %d %s producer %d epoch %d\n", m.Offset, map[bool]string{true: "commit", false: "abort"}[m.Commit], m.ProducerID, m.ProducerEpoch)
	}
	for _, t := range p.aborted {
		fmt.Fprintf(b, "    aborted [%d, %d] producer %d\n", t.FirstOffset, t.LastOffset, t.ProducerID)
	}
	for i := range p.parts {
		t := &p.parts[i]
		fmt.Fprintf(b, "    part [%d, %d) in %s at %d+%d\n", t.base, t.next, t.object.id.Key(), t.position, t.length)
	}
	for i := range p.local {
		r := &p.local[i]
		fmt.Fprintf(b, "    local [%d, %d) in container %d at %d+%d\n", r.base, r.next(), s.containerSlots[r.container].id, r.position, r.length)
	}
	for i := range p.runs {
		r := &p.runs[i]
		fmt.Fprintf(b, "    run [%d, %d) in container %d at %d+%d\n", r.base, r.next(), s.containerSlots[r.container].id, r.position, r.length)
	}
}

func dumpOverrides(b *bufio.Writer, overrides map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		fmt.Fprintf(b, " %s=%s", name, overrides[name])
	}
	fmt.Fprintln(b)
}

func (s *State) dumpTransaction(b *bufio.Writer, t *transaction) {
	v, _ := s.Transaction(t.id)
	fmt.Fprintf(b, "transaction %q %s producer %d epoch %d last %d previous %d timeout %d ms start %d groups %v", t.id, t.state, t.producerID, t.epoch,
		t.lastEpoch, t.previousProducerID, t.timeoutMillis, v.StartMillis, v.Groups)
	for _, tp := range v.Partitions {
		p := s.Partition(tp)
		fmt.Fprintf(b, " %s-%d@%d", p.topic.Name, p.index, t.partitions[p])
	}
	fmt.Fprintln(b)
}
