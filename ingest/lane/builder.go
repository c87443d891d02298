package lane

import (
	"hash/crc32"
	"time"

	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/recordbatch"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// builder lays out one lane's chunks, one after the other, in memory that is reused.
type builder struct {
	chunk.Builder
}

// next takes the next chunk's batches out of the queue; nil if there are none.
func (b *builder) next(set *Set, lane Lane) *flight {
	f := flights.Get().(*flight)
	f.lane, f.built = lane, time.Now()
	f.entries, f.lastTicket = set.take(lane, f.entries[:0])
	for i := range f.entries {
		if b.Add(chunkBatch(&f.entries[i])) {
			continue
		}
		if i == 0 {
			// No chunk can hold it.
			failEntries(set, lane, f.entries[:1], TooLarge)
			set.putBack(lane, f.entries[1:])
			f.keep(0)
			break
		}
		set.putBack(lane, f.entries[i:])
		f.lastTicket -= uint64(len(f.entries) - i)
		f.keep(i)
		break
	}
	if len(f.entries) == 0 {
		f.abandon()
		return nil
	}
	return f
}

func chunkBatch(e *entry) chunk.Batch {
	h := &e.Header
	attributes := h.Attributes
	if e.JoinsTransaction {
		attributes |= chunk.AttrJoinsTransaction
	}
	return chunk.Batch{
		Topic: e.Topic, Partition: e.Partition, Data: e.Data, Records: uint32(h.LastOffsetDelta) + 1,
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Attributes: attributes, BaseSequence: h.BaseSequence,
		MaxTimestamp: h.MaxTimestamp,
	}
}

// seal lays the chunk out under f.seq. What it returns is valid until the builder's Reset.
func (b *builder) seal(registration Registration, f *flight) chunk.Sealed {
	sealed := b.Seal(chunk.Header{
		NodeID: int32(registration.Node), NodeEpoch: registration.Epoch, Lane: uint32(f.lane), Seq: f.seq,
		CreatedMillis: f.built.UnixMilli(),
	})
	f.place(sealed)
	return sealed
}

// checksum is the CRC-32C of a whole chunk, from those of its batches, which have been checked.
func checksum(sealed chunk.Sealed) uint32 {
	crc := crc32.Checksum(sealed.Head, castagnoli)
	for _, batch := range sealed.Body {
		crc = recordbatch.ExtendCRC(crc, batch)
	}
	return crc
}
