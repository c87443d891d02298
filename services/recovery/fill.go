package recovery

import (
	"fmt"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

// fillerParts bounds the parts of one filler object.
const fillerParts = 10_000

// filler is a segment object of markers that have no run left to be stored with.
type filler struct {
	key  string
	body []byte
}

// fill builds the fillers and puts them in the markers' places.
func (p *Plan) fill() error {
	fills := p.recovery.Fills()
	for ; len(fills) > 0; p.ordinals++ {
		ordinal := p.ordinals
		some := fills[:min(fillerParts, len(fills))]
		fills = fills[len(some):]
		encoder := segment.NewEncoder(segment.Header{JobID: uint64(p.job), Ordinal: ordinal, CreatedMillis: p.recovery.State().TimeMillis(), Filler: true}, len(some)*128)
		for i := range some {
			if err := encodeFill(encoder, &some[i]); err != nil {
				return err
			}
		}
		body, parts := encoder.Finish()
		if err := p.recovery.PlaceFill(describe(p.job, ordinal, len(body), parts)); err != nil {
			return err
		}
		p.fillers = append(p.fillers, filler{key: meta.SegmentKey(p.job, ordinal), body: body})
	}
	return nil
}

func encodeFill(encoder *segment.Encoder, f *meta.Fill) error {
	encoder.Begin(f.Topic.ID, f.Topic.Name, f.Partition, f.Markers[0].Offset)
	for _, m := range f.Markers {
		batch := recordbatch.ControlBatch(recordbatch.Marker{
			ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit, TimestampMillis: m.TimestampMillis,
		}, m.Offset, f.LeaderEpoch)
		h, err := recordbatch.ParseHeader(batch)
		if err == nil {
			err = encoder.Batch(h, batch, false)
		}
		if err != nil {
			return fmt.Errorf("store marker of %s-%d at %d: %w", f.Topic.Name, f.Partition, m.Offset, err)
		}
	}
	encoder.End(f.Markers[len(f.Markers)-1].Offset + 1)
	return nil
}

// describe is what the metadata says of a segment object.
func describe(job meta.JobID, ordinal uint32, size int, parts []segment.Part) *metapb.SegmentObject {
	o := &metapb.SegmentObject{JobId: uint64(job), Ordinal: ordinal, SizeBytes: uint64(size)}
	for i := range parts {
		o.Parts = append(o.Parts, describePart(&parts[i]))
	}
	return o
}

func describePart(p *segment.Part) *metapb.Part {
	id := p.TopicID
	return &metapb.Part{
		TopicId: id[:], Partition: p.Partition, BaseOffset: p.BaseOffset, NextOffset: p.NextOffset,
		Position: p.Position, Length: p.LengthBytes, IndexPosition: p.IndexPosition, IndexLength: p.IndexLengthBytes,
		MaxTimestamp: p.MaxTimestamp, MaxTimestampOffset: -1, MinTimestamp: p.MinTimestamp, Records: p.Records,
	}
}
