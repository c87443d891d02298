package meta

import (
	"encoding/binary"
)

// Sizes of the packed records of a snapshot (FORMAT.md).
const (
	packedRunSize       = 40
	packedPartSize      = 96
	packedContainerSize = 80
	packedObjectSize    = 32
	packedProducerSize  = 24
	packedSequenceSize  = 16
)

// Flags of a packed container.
const (
	packedSealed     = 1
	packedHedgeShift = 8
)

var le = binary.LittleEndian

func (s *State) packRuns(runs []run) []byte {
	b := make([]byte, 0, len(runs)*packedRunSize)
	for i := range runs {
		r := &runs[i]
		b = le.AppendUint64(b, uint64(r.base))
		b = le.AppendUint64(b, uint64(r.maxTimestamp))
		b = le.AppendUint64(b, uint64(s.containerSlots[r.container].id))
		b = le.AppendUint32(b, r.position)
		b = le.AppendUint32(b, r.length)
		b = le.AppendUint32(b, r.records)
		b = le.AppendUint32(b, 0)
	}
	return b
}

// unpackRun reads one run and the id of its container.
func unpackRun(b []byte) (run, ContainerID) {
	return run{
		base: int64(le.Uint64(b)), maxTimestamp: int64(le.Uint64(b[8:])),
		position: le.Uint32(b[24:]), length: le.Uint32(b[28:]), records: le.Uint32(b[32:]),
	}, ContainerID(le.Uint64(b[16:]))
}

func packParts(parts []part) []byte {
	b := make([]byte, 0, len(parts)*packedPartSize)
	for i := range parts {
		p := &parts[i]
		b = le.AppendUint64(b, uint64(p.base))
		b = le.AppendUint64(b, uint64(p.next))
		b = le.AppendUint64(b, uint64(p.maxTimestamp))
		b = le.AppendUint64(b, uint64(p.maxTimestampOffset))
		b = le.AppendUint64(b, uint64(p.minTimestamp))
		b = le.AppendUint64(b, p.position)
		b = le.AppendUint64(b, p.length)
		b = le.AppendUint64(b, p.indexPosition)
		b = le.AppendUint64(b, p.indexLength)
		b = le.AppendUint64(b, p.records)
		b = le.AppendUint64(b, uint64(p.object.id.Job))
		b = le.AppendUint32(b, p.object.id.Ordinal)
		b = le.AppendUint32(b, 0)
	}
	return b
}

// unpackPart reads one part and the id of its object.
func unpackPart(b []byte) (part, SegmentID) {
	return part{
		base: int64(le.Uint64(b)), next: int64(le.Uint64(b[8:])), maxTimestamp: int64(le.Uint64(b[16:])),
		maxTimestampOffset: int64(le.Uint64(b[24:])), minTimestamp: int64(le.Uint64(b[32:])),
		position: le.Uint64(b[40:]), length: le.Uint64(b[48:]), indexPosition: le.Uint64(b[56:]), indexLength: le.Uint64(b[64:]),
		records: le.Uint64(b[72:]),
	}, SegmentID{JobID(le.Uint64(b[80:])), le.Uint32(b[88:])}
}

func appendContainer(b []byte, c *container) []byte {
	flags := c.hedge << packedHedgeShift
	if c.sealed {
		flags |= packedSealed
	}
	b = le.AppendUint64(b, uint64(c.id))
	b = le.AppendUint64(b, c.epoch)
	b = le.AppendUint64(b, c.segment)
	b = le.AppendUint64(b, c.seq)
	b = le.AppendUint64(b, uint64(c.job))
	b = le.AppendUint64(b, uint64(c.notBeforeMillis))
	b = le.AppendUint64(b, uint64(c.createdMillis))
	b = le.AppendUint32(b, uint32(c.node))
	b = le.AppendUint32(b, c.lane)
	b = le.AppendUint32(b, c.attempts)
	b = le.AppendUint32(b, flags)
	return le.AppendUint64(b, 0)
}

func unpackContainer(b []byte) *container {
	flags := le.Uint32(b[68:])
	return &container{
		id: ContainerID(le.Uint64(b)), epoch: le.Uint64(b[8:]), segment: le.Uint64(b[16:]), seq: le.Uint64(b[24:]),
		job: JobID(le.Uint64(b[32:])), notBeforeMillis: int64(le.Uint64(b[40:])), createdMillis: int64(le.Uint64(b[48:])),
		node: NodeID(le.Uint32(b[56:])), lane: le.Uint32(b[60:]), attempts: le.Uint32(b[64:]), sealed: flags&packedSealed != 0,
		hedge: flags >> packedHedgeShift & MaxHedges,
	}
}

func appendObject(b []byte, o *object) []byte {
	b = le.AppendUint64(b, uint64(o.id.Job))
	b = le.AppendUint32(b, o.id.Ordinal)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, o.sizeBytes)
	return le.AppendUint64(b, uint64(o.createdMillis))
}

func unpackObject(b []byte) *object {
	return &object{
		id: SegmentID{JobID(le.Uint64(b)), le.Uint32(b[8:])}, sizeBytes: le.Uint64(b[16:]), createdMillis: int64(le.Uint64(b[24:])),
	}
}

func packProducers(ps producers) []byte {
	b := make([]byte, 0, len(ps)*(packedProducerSize+packedSequenceSize))
	for _, id := range ps.ids() {
		e := ps[id]
		b = le.AppendUint64(b, uint64(id))
		b = le.AppendUint64(b, uint64(e.lastMillis))
		b = le.AppendUint16(b, uint16(e.epoch))
		b = le.AppendUint16(b, uint16(e.count))
		b = le.AppendUint32(b, 0)
		for _, r := range e.batches[:e.count] {
			b = le.AppendUint32(b, uint32(r.first))
			b = le.AppendUint32(b, uint32(r.last))
			b = le.AppendUint64(b, uint64(r.baseOffset))
		}
	}
	return b
}

// unpackProducers answers false where b is not what packProducers writes.
func unpackProducers(b []byte) (producers, bool) {
	if len(b) == 0 {
		return nil, true
	}
	ps := producers{}
	for len(b) > 0 {
		if len(b) < packedProducerSize {
			return nil, false
		}
		id := int64(le.Uint64(b))
		e := &producer{lastMillis: int64(le.Uint64(b[8:])), epoch: int16(le.Uint16(b[16:]))}
		count := int(le.Uint16(b[18:]))
		b = b[packedProducerSize:]
		if count < 1 || count > keptBatches || len(b) < count*packedSequenceSize || ps[id] != nil {
			return nil, false
		}
		e.count = uint8(count)
		for i := range count {
			e.batches[i] = sequenceRange{int32(le.Uint32(b)), int32(le.Uint32(b[4:])), int64(le.Uint64(b[8:]))}
			b = b[packedSequenceSize:]
		}
		ps[id] = e
	}
	return ps, true
}
