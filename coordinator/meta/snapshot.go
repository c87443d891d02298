package meta

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// SnapshotFormat is the format of snapshot parts and manifests.
const SnapshotFormat = 1

const (
	partMagic     = "VSNP"
	manifestMagic = "VMAN"

	partPartitions = 256 // partitions in a part of topics
	partTopicBytes = 8 << 20
	partContainers = 4096
	partObjects    = 16384
	partGroupBytes = 512 << 10
)

// WriteSnapshot calls emit for every part of a snapshot, in order. Equal states give equal bytes. A part is at most a few MiB for
// ordinary states; emit may keep it.
func (s *State) WriteSnapshot(emit func(part []byte) error) error {
	w := snapshotWriter{emit: emit}
	w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Core{Core: s.snapshotCore()}})
	s.writeContainers(&w)
	s.writeObjects(&w)
	s.writeTopics(&w)
	s.writeGroups(&w)
	s.writeTransactions(&w)
	if w.err != nil {
		return fmt.Errorf("write snapshot at %d: %w", s.seq, w.err)
	}
	return nil
}

// Hash is the SHA-256 over the hashes of the snapshot's parts. States that have applied the same entries have the same hash.
func (s *State) Hash() [32]byte {
	h := sha256.New()
	err := s.WriteSnapshot(func(part []byte) error {
		sum := sha256.Sum256(part)
		_, err := h.Write(sum[:])
		return err
	})
	if err != nil {
		panic("meta: hash: " + err.Error()) // a hash takes everything, and every state can be marshalled
	}
	return [32]byte(h.Sum(nil))
}

// Snapshot writes the parts through store, which gets each with its SHA-256, and answers the manifest that lists them.
// entryHash is that of the entry at Seq.
func (s *State) Snapshot(entryHash []byte, store func(hash [32]byte, part []byte) error) (*metapb.Manifest, error) {
	m := &metapb.Manifest{
		Format: SnapshotFormat, LogId: slices.Clone(s.logID[:]), Seq: s.seq, EntryHash: entryHash, LeaderEpoch: s.leader.epoch,
		TimeMillis: s.timeMillis, FeatureLevel: s.leader.featureLevel,
	}
	err := s.WriteSnapshot(func(part []byte) error {
		sum := sha256.Sum256(part)
		m.Parts = append(m.Parts, sum[:])
		return store(sum, part)
	})
	if err != nil {
		return nil, err
	}
	m.StateHash = manifestHash(m)
	return m, nil
}

func manifestHash(m *metapb.Manifest) []byte {
	h := sha256.New()
	for _, sum := range m.Parts {
		h.Write(sum)
	}
	return h.Sum(nil)
}

// EncodeManifest is the manifest as it is stored (FORMAT.md).
func EncodeManifest(m *metapb.Manifest) ([]byte, error) { return encodeFramed(manifestMagic, m) }

// DecodeManifest reads what EncodeManifest wrote. The error wraps ErrCorrupt or ErrFormat.
func DecodeManifest(b []byte) (*metapb.Manifest, error) {
	m := &metapb.Manifest{}
	if err := decodeFramed(manifestMagic, b, m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if m.Format != SnapshotFormat {
		return nil, fmt.Errorf("decode manifest: %w: snapshot format %d, this build reads %d", ErrFormat, m.Format, SnapshotFormat)
	}
	return m, nil
}

// encodeFramed puts a header of magic, version, length and CRC32C before a message.
func encodeFramed(magic string, m proto.Message) ([]byte, error) {
	b := make([]byte, entryHeaderSize, entryHeaderSize+proto.Size(m))
	copy(b, magic)
	b[4] = SnapshotFormat
	b, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", magic, err)
	}
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-entryHeaderSize))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[entryHeaderSize:], castagnoli))
	return b, nil
}

// framed is a message that says its format itself.
type framed interface {
	proto.Message
	GetFormat() uint32
}

func decodeFramed(magic string, b []byte, into framed) error {
	if len(b) < entryHeaderSize || string(b[:4]) != magic {
		return fmt.Errorf("%w: %d bytes without the header %q", ErrCorrupt, len(b), magic)
	}
	wrong := decodeBody(b, into)
	if v := binary.LittleEndian.Uint16(b[4:]); v != SnapshotFormat {
		if wrong == nil && into.GetFormat() == SnapshotFormat {
			return fmt.Errorf("%w: the header of %q says format %d, its body %d", ErrCorrupt, magic, v, into.GetFormat())
		}
		return fmt.Errorf("%w: %q format %d, this build reads %d", ErrFormat, magic, v, SnapshotFormat)
	}
	return wrong
}

// snapshotWriter emits parts until the first error.
type snapshotWriter struct {
	emit func([]byte) error
	err  error
}

func (w *snapshotWriter) part(p *metapb.SnapshotPart) {
	if w.err != nil {
		return
	}
	p.Format = SnapshotFormat
	b, err := encodeFramed(partMagic, p)
	if err == nil {
		err = w.emit(b)
	}
	w.err = err
}

func (s *State) snapshotCore() *metapb.SnapshotCore {
	c := &metapb.SnapshotCore{
		NextProducerId: uint64(s.nextProducerID), NextContainer: uint64(s.nextContainer), NextJob: uint64(s.nextJob),
		NextNodeId: int32(s.nextNode), LeaderEpoch: s.leader.epoch, LeaderAddress: s.leader.address, LeaderName: s.leader.name,
		FeatureLevel: s.leader.featureLevel, TimeMillis: s.timeMillis, LogId: s.logID[:], Seq: s.seq,
		LastRetentionMillis: s.lastRetentionMillis, VoidEntries: s.voidEntries,
		NodeEpochFloor: s.nodeEpochFloor,
		PendingId:      s.pending.id, PendingNext: s.pending.next, PendingCount: s.pending.count, Pending: s.pending.bytes,
	}
	for _, n := range s.nodes {
		c.Nodes = append(c.Nodes, &metapb.SnapshotNode{
			Id: int32(n.ID), DiskId: n.DiskID[:], Epoch: n.Epoch, Zone: n.Zone, KafkaHost: n.KafkaHost, KafkaPort: n.KafkaPort,
			InternalAddress: n.InternalAddress, Incarnation: n.incarnation, PastIncarnations: n.past, Live: n.Live, LaneSeqs: n.lanes,
			ReleasedSegments: n.released, HighSegment: n.highSegment,
			Forgotten: n.Forgotten, Draining: n.Draining, Closed: n.Closed, ZoneListeners: zoneListenersToProto(n.ZoneListeners), FeatureLevel: n.FeatureLevel,
			GoneMillis: n.goneMillis,
		})
	}
	for _, j := range s.Jobs() {
		p := &metapb.SnapshotJob{Id: uint64(j.ID), Worker: j.Worker, LeaseUntilMillis: j.LeaseUntilMillis, Round: s.jobs[j.ID].round.snapshot()}
		for _, id := range j.Containers {
			p.Containers = append(p.Containers, uint64(id))
		}
		c.Jobs = append(c.Jobs, p)
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.configs), compareConfigKey) {
		c.Configs = append(c.Configs, &metapb.SnapshotConfig{Resource: int32(k.scope), Name: k.name, Entries: sortedEntries(s.configs[k])})
	}
	for _, g := range s.garbage {
		c.Garbage = append(c.Garbage, g.Key)
		c.GarbageSinceMillis = append(c.GarbageSinceMillis, g.SinceMillis)
		if s.leader.featureLevel >= mergingLevel {
			c.GarbageChunkMillis = append(c.GarbageChunkMillis, g.chunkMillis)
		}
	}
	return c
}

func (s *State) writeContainers(w *snapshotWriter) {
	for some := range slices.Chunk(slices.Collect(s.byID), partContainers) {
		b := make([]byte, 0, len(some)*packedContainerSize)
		for _, c := range some {
			b = appendContainer(b, c)
		}
		w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Containers{Containers: &metapb.SnapshotContainers{Containers: b, Copies: packCopies(some)}}})
	}
}

func (s *State) writeObjects(w *snapshotWriter) {
	for some := range slices.Chunk(s.objectsInOrder(), partObjects) {
		b := make([]byte, 0, len(some)*packedObjectSize)
		for _, o := range some {
			b = appendObject(b, o)
		}
		w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Objects{Objects: &metapb.SnapshotObjects{Objects: b}}})
	}
}

// writeTopics puts up to 256 partitions in a part: of many small topics, or of one large one. Where these have very many extents, they are several parts, each
// of partTopicBytes and one partition at most. The next 256 begin where they would else, so that what grows moves nothing behind them to other parts.
func (s *State) writeTopics(w *snapshotWriter) {
	var part []*metapb.SnapshotTopic
	partitions, size := 0, 0
	flush := func() {
		if len(part) > 0 {
			w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Topics{Topics: &metapb.SnapshotTopics{Topics: part}}})
			part, size = nil, 0
		}
	}
	for _, t := range s.topicOrder {
		for from := 0; from < len(t.partitions); {
			last, to := min(len(t.partitions), from+partPartitions-partitions), from
			for to < last && size < partTopicBytes {
				size += t.partitions[to].packedBytes()
				to++
			}
			part = append(part, s.snapshotTopic(t, from, to))
			partitions += to - from
			from = to
			if partitions == partPartitions || size >= partTopicBytes {
				flush()
			}
			partitions %= partPartitions
		}
	}
	flush()
}

// packedBytes is about what the partition takes in a snapshot.
func (p *Partition) packedBytes() int {
	return (len(p.runs)+len(p.local))*packedRunSize + len(p.parts)*packedPartSize + len(p.gaps)*packedGapSize + len(p.markers)*packedMarkerSize +
		len(p.aborted)*packedAbortedSize + len(p.producers)*(packedProducerSize+packedSequenceSize)
}

func (s *State) snapshotTopic(t *Topic, from, to int) *metapb.SnapshotTopic {
	out := &metapb.SnapshotTopic{
		Name: t.Name, TopicId: t.ID[:], Configs: sortedEntries(t.Overrides), PartitionCount: int32(len(t.partitions)),
	}
	for _, p := range t.partitions[from:to] {
		out.Partitions = append(out.Partitions, &metapb.SnapshotPartition{
			Index: p.index, LogStart: p.logStart, NextOffset: p.next, LeaderEpoch: p.leaderEpoch,
			Runs: s.packRuns(p.runs), Segments: packParts(p.parts), Producers: packProducers(p.producers), Local: s.packRuns(p.local),
			Markers: packMarkers(p.markers), Aborted: packAborted(p.aborted), Cleaning: p.snapshotCleaning(),
			Epochs: p.snapshotEpochs(), Gaps: packGaps(p.gaps),
		})
	}
	return out
}

func (s *State) writeGroups(w *snapshotWriter) {
	var part []*metapb.SnapshotGroup
	size := 0
	flush := func() {
		if len(part) > 0 {
			w.part(&metapb.SnapshotPart{Kind: &metapb.SnapshotPart_Groups{Groups: &metapb.SnapshotGroups{Groups: part}}})
			part, size = nil, 0
		}
	}
	for _, g := range s.Groups() {
		out := &metapb.SnapshotGroup{Group: g.Stored, Consumer: g.Consumer.snapshot(), Streams: g.Streams.snapshot(), Share: g.Share.snapshot()}
		if out.Group == nil {
			out.Group = &metapb.StoreGroup{Group: g.Name, Kind: offsetsOnly}
		}
		for _, tp := range g.Partitions() {
			o := g.offsets[tp]
			out.Offsets = append(out.Offsets, packOffset(tp, o))
		}
		part = append(part, out)
		if size += proto.Size(out); size >= partGroupBytes {
			flush()
		}
	}
	flush()
}

// offsetsOnly is the kind under which a snapshot keeps a group that was never stored.
const offsetsOnly = "-"
