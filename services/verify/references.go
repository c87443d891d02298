package verify

import (
	"fmt"
	"regexp"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/tiering/segment"
)

// expectedSegment is what the metadata says of one segment object.
type expectedSegment struct {
	sizeBytes uint64
	parts     []expectedPart
	seen      bool
}

type expectedPart struct {
	partition meta.TopicPartition
	location  meta.Location
}

// found is what the listing has shown.
type found struct {
	chunks  map[meta.ChunkID]*bool // object chunks with live runs, and whether they were seen
	garbage map[string]bool
}

// expect gathers what the metadata refers to, and checks that it refers to every offset.
func (v *verifier) expect() {
	v.found = found{chunks: map[meta.ChunkID]*bool{}, garbage: map[string]bool{}}
	for _, g := range v.state.Garbage() {
		v.found.garbage[g.Key] = true
	}
	for _, t := range v.state.Topics() {
		for i := range t.Partitions() {
			v.expectPartition(t, t.Partition(int32(i)))
		}
	}
}

func (v *verifier) expectPartition(t *meta.Topic, p *meta.Partition) {
	at, first := p.LogStartOffset(), true
	for l := range func(yield func(meta.Location) bool) { v.state.Extents(p, yield) } {
		if l.BaseOffset != at && !(first && l.BaseOffset < at) || l.NextOffset <= l.BaseOffset {
			v.findings.add(fmt.Sprintf("%s-%d", t.Name, p.Index()), fmt.Errorf("offsets from %d are followed by [%d, %d)", at, l.BaseOffset, l.NextOffset))
		}
		at, first = l.NextOffset, false
		switch l.Tier {
		case meta.TierSegment:
			o := v.expected[l.Object]
			if o == nil {
				o = &expectedSegment{sizeBytes: l.ObjectBytes}
				v.expected[l.Object] = o
			}
			o.parts = append(o.parts, expectedPart{meta.TopicPartition{Topic: t.ID, Partition: p.Index()}, l})
		case meta.TierChunk:
			v.found.chunks[l.Chunk] = new(bool)
		}
	}
	if at != p.NextOffset() {
		v.findings.add(fmt.Sprintf("%s-%d", t.Name, p.Index()), fmt.Errorf("offsets from %d to %d are nowhere", at, p.NextOffset()))
	}
}

// holds says whether a segment object's directory has what the metadata expects there.
func (o *expectedSegment) holds(parts []segment.Part) error {
	type place struct {
		partition meta.TopicPartition
		base      int64
	}
	there := make(map[place]*segment.Part, len(parts))
	for i := range parts {
		p := &parts[i]
		there[place{meta.TopicPartition{Topic: p.TopicID, Partition: p.Partition}, p.BaseOffset}] = p
	}
	for _, want := range o.parts {
		l := &want.location
		p := there[place{want.partition, l.BaseOffset}]
		switch {
		case p == nil:
			return fmt.Errorf("it has no part of %s at offset %d, which the metadata refers to", want.partition, l.BaseOffset)
		case p.NextOffset != l.NextOffset, p.Position != l.Position, p.LengthBytes != l.Length, p.IndexPosition != l.IndexPosition,
			p.IndexLengthBytes != l.IndexLength, p.Records != l.Records, p.MaxTimestamp != l.MaxTimestamp:
			return fmt.Errorf("%s is not as the metadata says: [%d, %d) of %d records at %d, %d bytes", p, l.BaseOffset, l.NextOffset, l.Records, l.Position, l.Length)
		}
	}
	return nil
}

var metadataKey = regexp.MustCompile(`^meta/(snapshot/[0-9]{20}|snapshot/part/[0-9a-f]{64}(-spare)?|archive/[0-9]{20}-[0-9]{20}|log/[0-9]{20})$`)

func knownMetadata(key string) bool { return metadataKey.MatchString(key) }
