package meta

import (
	"crypto/sha256"
	"fmt"
	"iter"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Restore reads the snapshot a manifest lists, through fetch, and checks every part and the whole against their hashes.
func Restore(m *metapb.Manifest, fetch func(hash [32]byte) ([]byte, error)) (*State, error) {
	if m.Format != SnapshotFormat {
		return nil, fmt.Errorf("restore: %w: snapshot format %d, this build reads %d", ErrFormat, m.Format, SnapshotFormat)
	}
	if string(manifestHash(m)) != string(m.StateHash) {
		return nil, fmt.Errorf("restore snapshot at %d: %w: the manifest's parts do not make its state hash", m.Seq, ErrCorrupt)
	}
	s, err := ReadSnapshot(func(yield func([]byte, error) bool) {
		for i, hash := range m.Parts {
			part, err := fetchPart(hash, fetch)
			if err != nil {
				err = fmt.Errorf("part %d of %d: %w", i, len(m.Parts), err)
			}
			if !yield(part, err) || err != nil {
				return
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("restore snapshot at %d: %w", m.Seq, err)
	}
	if s.seq != m.Seq || string(s.logID[:]) != string(m.LogId) {
		return nil, fmt.Errorf("restore snapshot at %d of log %x: %w: its parts are of %d, %x", m.Seq, m.LogId, ErrCorrupt, s.seq, s.logID)
	}
	return s, nil
}

func fetchPart(hash []byte, fetch func([32]byte) ([]byte, error)) ([]byte, error) {
	if len(hash) != sha256.Size {
		return nil, fmt.Errorf("%w: hash of %d bytes", ErrCorrupt, len(hash))
	}
	part, err := fetch([32]byte(hash))
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(part) != [32]byte(hash) {
		return nil, fmt.Errorf("%w: content is not that of its hash %x", ErrCorrupt, hash)
	}
	return part, nil
}

// ReadSnapshot restores a state from the parts WriteSnapshot emitted, in that order. The error wraps ErrCorrupt, ErrFormat or
// ErrFeatureLevel, or is one that parts gave.
func ReadSnapshot(parts iter.Seq2[[]byte, error]) (*State, error) {
	var r restorer
	for b, err := range parts {
		if err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
		p := &metapb.SnapshotPart{}
		if err := decodeFramed(partMagic, b, p); err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
		if p.Format != SnapshotFormat {
			return nil, fmt.Errorf("read snapshot: %w: part format %d, this build reads %d", ErrFormat, p.Format, SnapshotFormat)
		}
		if err := r.part(p); err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
	}
	if err := r.finish(); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return r.s, nil
}

// restorer builds a state from parts.
type restorer struct {
	s *State
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: snapshot: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func (r *restorer) part(p *metapb.SnapshotPart) error {
	core := p.GetCore()
	if (core != nil) != (r.s == nil) {
		return bad("the core must come first, and once")
	}
	switch k := p.Kind.(type) {
	case *metapb.SnapshotPart_Core:
		return r.core(core)
	case *metapb.SnapshotPart_Containers:
		return r.containers(k.Containers.GetContainers(), k.Containers.GetCopies())
	case *metapb.SnapshotPart_Objects:
		return r.objects(k.Objects.GetObjects())
	case *metapb.SnapshotPart_Topics:
		for _, t := range k.Topics.GetTopics() {
			if err := r.topic(t); err != nil {
				return err
			}
		}
	case *metapb.SnapshotPart_Groups:
		for _, g := range k.Groups.GetGroups() {
			if err := r.group(g); err != nil {
				return err
			}
		}
	case *metapb.SnapshotPart_Transactions:
		for _, t := range k.Transactions.GetTransactions() {
			if err := r.transaction(t); err != nil {
				return err
			}
		}
	default:
		return bad("a part of unknown kind")
	}
	return nil
}

func (r *restorer) core(c *metapb.SnapshotCore) error {
	if len(c.LogId) != 16 || len(c.Garbage) != len(c.GarbageSinceMillis) || len(c.GarbageChunkMillis) > 0 && len(c.Garbage) != len(c.GarbageChunkMillis) || c.NextProducerId == 0 || c.NextContainer == 0 || c.NextJob == 0 || c.NextNodeId < 1 {
		return bad("core")
	}
	if c.FeatureLevel > FeatureLevel {
		return fmt.Errorf("%w: %d, this build knows %d", ErrFeatureLevel, c.FeatureLevel, FeatureLevel)
	}
	s := New([16]byte(c.LogId))
	r.s = s
	s.seq, s.timeMillis, s.voidEntries, s.lastRetentionMillis = c.Seq, c.TimeMillis, c.VoidEntries, c.LastRetentionMillis
	s.topicsSeq = c.Seq
	s.leader = leaderInfo{epoch: c.LeaderEpoch, address: c.LeaderAddress, name: c.LeaderName, featureLevel: c.FeatureLevel}
	s.nextProducerID, s.nextContainer, s.nextJob = int64(c.NextProducerId), ContainerID(c.NextContainer), JobID(c.NextJob)
	s.nodeEpochFloor = c.NodeEpochFloor
	if c.PendingCount > 0 {
		s.pending = frames{id: c.PendingId, next: c.PendingNext, count: c.PendingCount, bytes: c.Pending}
	}
	s.nextNode = NodeID(c.NextNodeId)
	last := NodeID(0)
	for _, n := range c.Nodes {
		if NodeID(n.GetId()) <= last || NodeID(n.GetId()) >= s.nextNode || len(n.DiskId) != 16 || len(n.LaneSeqs) > MaxLanes || s.nodeByDisk[[16]byte(n.DiskId)] != nil {
			return bad("node %d", n.GetId())
		}
		node := &Node{
			ID: NodeID(n.Id), goneMillis: n.GoneMillis, DiskID: [16]byte(n.DiskId), Epoch: n.Epoch, Zone: n.Zone, KafkaHost: n.KafkaHost, KafkaPort: n.KafkaPort,
			InternalAddress: n.InternalAddress, Live: n.Live, incarnation: n.Incarnation, past: n.PastIncarnations, lanes: n.LaneSeqs,
			released: n.ReleasedSegments, highSegment: n.HighSegment,
			Forgotten: n.Forgotten, Draining: n.Draining, Closed: n.Closed, ZoneListeners: zoneListeners(n.ZoneListeners), FeatureLevel: n.FeatureLevel,
		}
		last = node.ID
		s.nodes = append(s.nodes, node)
		s.nodeByDisk[node.DiskID] = node
	}
	for _, j := range c.Jobs {
		held := make([]ContainerID, 0, len(j.GetContainers()))
		for _, id := range j.GetContainers() {
			held = append(held, ContainerID(id))
		}
		round, ok := restoreRound(j.GetRound())
		if !ok {
			return bad("job %d", j.GetId())
		}
		s.jobs[JobID(j.GetId())] = &job{
			id: JobID(j.GetId()), worker: j.GetWorker(), leaseUntilMillis: j.GetLeaseUntilMillis(), containers: held, round: round,
		}
	}
	for _, k := range c.Configs {
		s.configs[configKey{Scope(k.GetResource()), k.GetName()}] = overridesOf(k.GetEntries())
	}
	s.refreshCluster()
	s.refreshQuotas()
	for i, key := range c.Garbage {
		g := Garbage{Key: key, SinceMillis: c.GarbageSinceMillis[i]}
		if id, ok := ParseChunkKey(key); ok {
			g.chunk = id
		}
		if len(c.GarbageChunkMillis) > 0 {
			g.chunkMillis = c.GarbageChunkMillis[i]
		}
		s.garbage = append(s.garbage, g)
		s.garbageKeys[key] = struct{}{}
	}
	return nil
}

func overridesOf(entries []*metapb.ConfigEntry) map[string]string {
	out := make(map[string]string, len(entries))
	for _, e := range entries {
		out[e.GetName()] = e.GetValue()
	}
	return out
}

func (r *restorer) containers(b, copies []byte) error {
	if len(b)%packedContainerSize != 0 {
		return bad("containers of %d bytes", len(b))
	}
	for ; len(b) > 0; b = b[packedContainerSize:] {
		c := unpackContainer(b)
		var ok bool
		if copies, ok = unpackCopies(c, copies); !ok {
			return bad("copies of container %d", c.id)
		}
		if r.s.Node(c.node) == nil || c.copy.node != 0 && r.s.Node(c.copy.node) == nil || c.id >= r.s.nextContainer || r.s.newestContainer != nil && r.s.newestContainer.id >= c.id {
			return bad("container %d of node %d", c.id, c.node)
		}
		r.s.addContainer(c)
	}
	if len(copies) > 0 {
		return bad("copies of containers that are not there")
	}
	return nil
}

func (r *restorer) objects(b []byte) error {
	if len(b)%packedObjectSize != 0 {
		return bad("objects of %d bytes", len(b))
	}
	for ; len(b) > 0; b = b[packedObjectSize:] {
		o := unpackObject(b)
		if r.s.objects[o.id] != nil {
			return bad("object %d-%d twice", o.id.Job, o.id.Ordinal)
		}
		r.s.objects[o.id] = o
	}
	return nil
}

func (r *restorer) topic(t *metapb.SnapshotTopic) error {
	if len(t.GetTopicId()) != 16 || t.PartitionCount <= 0 || t.PartitionCount > MaxTopicPartitions {
		return bad("topic %q", t.GetName())
	}
	topic := r.s.topics[TopicID(t.TopicId)]
	if topic == nil {
		if r.s.topicsByName[t.Name] != nil {
			return bad("topic %q twice", t.Name)
		}
		topic = &Topic{ID: TopicID(t.TopicId), Name: t.Name, Overrides: overridesOf(t.Configs)}
		r.s.refreshTopic(topic)
		r.s.addTopic(topic)
		r.s.addPartitions(topic, t.PartitionCount)
	}
	for _, p := range t.Partitions {
		to := topic.Partition(p.GetIndex())
		if to == nil {
			return bad("partition %s-%d", t.Name, p.GetIndex())
		}
		if err := r.partition(to, p); err != nil {
			return fmt.Errorf("partition %s-%d: %w", t.Name, p.Index, err)
		}
	}
	return nil
}

func (r *restorer) partition(p *Partition, from *metapb.SnapshotPartition) (err error) {
	p.logStart, p.next, p.leaderEpoch = from.LogStart, from.NextOffset, from.LeaderEpoch
	if p.runs, err = r.runs(p, from.Runs); err != nil {
		return err
	}
	if p.local, err = r.runs(p, from.Local); err != nil {
		return err
	}
	var ok bool
	if p.gaps, ok = unpackGaps(from.Gaps); !ok {
		return bad("gaps of %d bytes", len(from.Gaps))
	}
	p.runBytes, p.localBytes = sumLengths(p.runs), sumLengths(p.local)
	for i := range p.local {
		c := r.s.containerSlots[p.local[i].container]
		c.localRuns++
		p.isIn(c)
	}
	for i := range p.runs {
		c := r.s.containerSlots[p.runs[i].container]
		c.liveRuns++
		c.liveBytes += uint64(p.runs[i].length)
		p.isIn(c)
	}
	if len(from.Segments)%packedPartSize != 0 {
		return bad("parts of %d bytes", len(from.Segments))
	}
	for b := from.Segments; len(b) > 0; b = b[packedPartSize:] {
		part, id := unpackPart(b)
		if part.object = r.s.objects[id]; part.object == nil {
			return bad("a part in object %d-%d, which is not there", id.Job, id.Ordinal)
		}
		part.object.refs++
		p.partBytes += part.length
		p.parts = append(p.parts, part)
	}
	ps, ok := unpackProducers(from.Producers)
	if !ok {
		return bad("producers of %d bytes", len(from.Producers))
	}
	p.producers, p.cleaning = ps, restoreCleaning(from.Cleaning)
	if err := r.transactional(p, from); err != nil {
		return err
	}
	if err := p.restoreEpochs(from.Epochs); err != nil {
		return err
	}
	return r.tiles(p)
}

func (r *restorer) runs(p *Partition, b []byte) ([]run, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b)%packedRunSize != 0 {
		return nil, bad("runs of %d bytes", len(b))
	}
	out := make([]run, 0, len(b)/packedRunSize)
	for ; len(b) > 0; b = b[packedRunSize:] {
		run, id := unpackRun(b)
		c := r.s.containers[id]
		if c == nil {
			return nil, bad("a run in container %d, which is not there", id)
		}
		run.container = c.slot
		if n := len(out); n > 0 && out[n-1].next() > run.base {
			return nil, bad("runs out of order at offset %d", run.base)
		}
		out = append(out, run)
	}
	return out, nil
}

// tiles checks that the extents tile [log start, next offset).
func (r *restorer) tiles(p *Partition) error {
	at, first := p.logStart, true
	runs, parts, markers, gaps := p.runs, p.parts, p.markers, p.gaps
	for len(runs)+len(parts)+len(markers)+len(gaps) > 0 {
		var base, next int64
		switch earliest(runs, parts, markers, gaps) {
		case earliestGap:
			base, next, gaps = gaps[0].base, gaps[0].next, gaps[1:]
		case earliestRun:
			base, next, runs = runs[0].base, runs[0].next(), runs[1:]
		case earliestPart:
			base, next, parts = parts[0].base, parts[0].next, parts[1:]
		case earliestMarker:
			base, next, markers = markers[0].Offset, markers[0].Offset+1, markers[1:]
		}
		if first && base > at || !first && base != at || next <= base || next <= p.logStart {
			return bad("extents do not tile at offset %d", at)
		}
		at, first = next, false
	}
	if at != p.next || p.logStart < 0 {
		return bad("extents end at %d, next offset is %d", at, p.next)
	}
	return nil
}

func (r *restorer) group(g *metapb.SnapshotGroup) error {
	stored := g.GetGroup()
	if stored == nil || r.s.groups[stored.Group] != nil {
		return bad("group %q", stored.GetGroup())
	}
	to := &Group{Name: stored.Group, Stored: stored, offsets: make(map[TopicPartition]CommittedOffset, len(g.Offsets))}
	if stored.Kind == offsetsOnly {
		to.Stored = nil
	}
	var err error
	if to.Consumer, err = restoreConsumerGroup(g.Consumer); err != nil {
		return err
	}
	if to.Streams, err = restoreStreamsGroup(g.Streams); err != nil {
		return err
	}
	if to.Share, err = r.s.restoreShareGroup(g.Share); err != nil {
		return err
	}
	for _, o := range g.Offsets {
		t := r.s.topicOf(o.GetTopicId())
		if t == nil {
			return bad("group %q has an offset in topic %x, which is not there", to.Name, o.GetTopicId())
		}
		to.offsets[TopicPartition{t.ID, o.Partition}] = committedOffset(o)
	}
	r.s.groups[to.Name] = to
	return nil
}

// finish checks what only the whole can tell.
func (r *restorer) finish() error {
	if r.s == nil {
		return bad("no core")
	}
	r.hold()
	if err := r.rounds(); err != nil {
		return err
	}
	for _, o := range r.s.objects {
		if o.refs == 0 {
			return bad("no part in object %d-%d", o.id.Job, o.id.Ordinal)
		}
	}
	for c := range r.s.byID {
		if c.job != 0 && r.s.jobs[c.job] == nil {
			return bad("container %d is with job %d, which is not there", c.id, c.job)
		}
	}
	return nil
}
