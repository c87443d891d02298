package chunk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// Batch is one validated record batch on its way into a chunk. Data is kept, not copied, until the Builder is reset.
type Batch struct {
	Topic         [16]byte
	Partition     int32
	Data          []byte
	Records       uint32 // lastOffsetDelta+1, at least 1
	ProducerID    int64  // -1 where the batch is not idempotent
	ProducerEpoch int16
	Attributes    int16
	BaseSequence  int32
	MaxTimestamp  int64 // milliseconds, -1 for none
}

// Builder gathers batches in arrival order and lays them out as a chunk. The zero value is ready. Not safe for concurrent use.
type Builder struct {
	batches []Batch
	next    []int32 // the batch after this one in the same partition, -1 for none
	slots   []slot
	byPart  map[partitionKey]int32

	bodyBytes int
	details   int

	head  []byte
	body  [][]byte
	order []int32
	first []int32
}

type partitionKey struct {
	topic     [16]byte
	partition int32
}

// slot is a run in the making.
type slot struct {
	key          partitionKey
	head, tail   int32
	count        int
	bytes        int
	records      int64
	idempotent   bool
	maxTimestamp int64
}

// Add appends a batch to its partition's run. It answers false, and changes nothing, where a bound of the format would be passed:
// seal what is there and add the batch to the next chunk. An empty Builder takes every batch of a valid size.
func (b *Builder) Add(batch Batch) bool {
	key := partitionKey{batch.Topic, batch.Partition}
	at, known := b.byPart[key]
	runs, details := len(b.slots), b.details
	if !known {
		runs++
	}
	idempotent := batch.ProducerID >= 0
	switch {
	case known && b.slots[at].idempotent:
		details++
	case idempotent && known:
		details += b.slots[at].count + 1 // the run's earlier batches are detailed from now on
	case idempotent:
		details++
	}
	if runs > MaxRuns || TableHeaderSize+runs*RunSize+details*DetailSize > MaxTableBytes ||
		b.bodyBytes+len(batch.Data) > MaxBodyBytes || known && b.slots[at].records+int64(batch.Records) > math.MaxInt32 {
		return false
	}
	index := int32(len(b.batches))
	b.batches = append(b.batches, batch)
	b.next = append(b.next, -1)
	if !known {
		if b.byPart == nil {
			b.byPart = make(map[partitionKey]int32)
		}
		at = int32(len(b.slots))
		b.byPart[key] = at
		b.slots = append(b.slots, slot{key: key, head: index, tail: index, maxTimestamp: -1})
	} else {
		b.next[b.slots[at].tail] = index
	}
	s := &b.slots[at]
	s.tail = index
	s.count++
	s.bytes += len(batch.Data)
	s.records += int64(batch.Records)
	s.idempotent = s.idempotent || idempotent
	s.maxTimestamp = max(s.maxTimestamp, batch.MaxTimestamp)
	b.bodyBytes += len(batch.Data)
	b.details = details
	return true
}

// Batches is the number of batches added since the last Reset, Runs that of their partitions, BodyBytes that of their bytes.
func (b *Builder) Batches() int   { return len(b.batches) }
func (b *Builder) Runs() int      { return len(b.slots) }
func (b *Builder) BodyBytes() int { return b.bodyBytes }

// Sealed is a chunk laid out for a gathering write: Head, then every slice of Body. Its slices belong to the Builder and are
// valid until its Reset or next Seal.
type Sealed struct {
	Header Header
	Head   []byte   // header and run table
	Table  Table    // a view of Head; its Bytes are CommitChunk's run_table
	Body   [][]byte // the batches in chunk order
	// Order[i] is the arrival index (counted over Add) of the i-th batch in chunk order. The batches of run r are
	// [First[r], First[r+1]) in chunk order, whether detailed or not.
	Order []int32
	First []int32
}

// Seal lays the chunk out. The header's identity is the caller's; its lengths are set here. Calling it again with another
// header gives the same chunk under another identity. After Seal a Builder takes no batches until it is reset.
func (b *Builder) Seal(h Header) Sealed {
	slices.SortFunc(b.slots, func(x, y slot) int {
		return cmp.Or(bytes.Compare(x.key.topic[:], y.key.topic[:]), cmp.Compare(x.key.partition, y.key.partition))
	})
	table := TableHeaderSize + len(b.slots)*RunSize + b.details*DetailSize
	h.TableBytes, h.BodyBytes = uint32(table), uint32(b.bodyBytes)
	b.head = slices.Grow(b.head[:0], HeaderSize+table)[:HeaderSize+table]
	b.body, b.order, b.first = b.body[:0], b.order[:0], b.first[:0]

	t := b.head[HeaderSize:]
	clear(t[:TableHeaderSize])
	binary.LittleEndian.PutUint16(t, TableVersion)
	binary.LittleEndian.PutUint32(t[4:], uint32(len(b.slots)))
	binary.LittleEndian.PutUint32(t[8:], uint32(b.details))

	position, detail := HeaderSize+table, 0
	for i := range b.slots {
		s := &b.slots[i]
		r := Run{
			Topic: s.key.topic, Partition: s.key.partition, Position: uint32(position), Length: uint32(s.bytes),
			Records: uint32(s.records), FirstDetail: uint32(detail), MaxTimestamp: s.maxTimestamp,
		}
		if s.idempotent {
			r.Details = uint32(s.count)
		}
		r.put(t[TableHeaderSize+i*RunSize:])
		b.first = append(b.first, int32(len(b.order)))
		for at := s.head; at >= 0; at = b.next[at] {
			batch := &b.batches[at]
			b.order = append(b.order, at)
			b.body = append(b.body, batch.Data)
			if s.idempotent {
				batch.detail().put(t[TableHeaderSize+len(b.slots)*RunSize+detail*DetailSize:])
				detail++
			}
		}
		position += s.bytes
	}
	b.first = append(b.first, int32(len(b.order)))
	h.put(b.head)
	return Sealed{
		Header: h, Head: b.head, Table: Table{b: t, runs: len(b.slots), details: b.details},
		Body: b.body, Order: b.order, First: b.first,
	}
}

func (b *Batch) detail() Detail {
	d := Detail{
		Length: uint32(len(b.Data)), Records: b.Records, ProducerID: -1, ProducerEpoch: -1, Attributes: b.Attributes,
		BaseSequence: -1, MaxTimestamp: b.MaxTimestamp,
	}
	if b.ProducerID >= 0 {
		d.ProducerID, d.ProducerEpoch, d.BaseSequence = b.ProducerID, b.ProducerEpoch, b.BaseSequence
	}
	return d
}

// Reset forgets the batches and keeps the memory.
func (b *Builder) Reset() {
	clear(b.batches) // lets go of the batches' bytes
	clear(b.body)
	clear(b.byPart)
	b.batches, b.next, b.slots, b.body = b.batches[:0], b.next[:0], b.slots[:0], b.body[:0]
	b.bodyBytes, b.details = 0, 0
}
