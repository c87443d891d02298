package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Run is the contiguous batches of one partition in one chunk.
type Run struct {
	Topic     [16]byte
	Partition int32
	Position  uint32 // bytes from the chunk's first byte
	Length    uint32 // bytes
	Records   uint32 // offsets the run takes: the sum of lastOffsetDelta+1 over its batches
	// Details is how many batches are detailed: all of the run's, where any of them is idempotent; else 0, and the run is
	// judged as a unit. FirstDetail is the index of the first one, for Table.Detail.
	FirstDetail  uint32
	Details      uint32
	MaxTimestamp int64 // milliseconds; -1 where no batch has one
}

// Detail is what the sequencer needs to judge one batch. ProducerID is -1 where the batch is not idempotent.
type Detail struct {
	Length        uint32 // bytes
	Records       uint32
	ProducerID    int64
	ProducerEpoch int16
	Attributes    int16 // of the batch, as Kafka numbers the bits, and AttrJoinsTransaction
	BaseSequence  int32
	MaxTimestamp  int64
}

// Table is a view of a valid run table: its runs in order of (topic, partition) and of position. The zero Table has no runs.
type Table struct {
	b       []byte
	runs    int
	details int
}

// ParseTable validates b, which must be a run table and nothing else. The view keeps b.
func ParseTable(b []byte) (Table, error) {
	if len(b) < TableHeaderSize {
		return Table{}, fmt.Errorf("%w: %d bytes of a run table's header of %d", ErrTruncated, len(b), TableHeaderSize)
	}
	if v := binary.LittleEndian.Uint16(b); v != TableVersion {
		return Table{}, fmt.Errorf("%w: run table version %d, this build reads %d", ErrVersion, v, TableVersion)
	}
	if binary.LittleEndian.Uint16(b[2:]) != 0 || binary.LittleEndian.Uint32(b[12:]) != 0 {
		return Table{}, corrupt("reserved bytes of the run table are set")
	}
	runs, details := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	if runs > MaxRuns || details > MaxTableBytes/DetailSize || len(b) > MaxTableBytes {
		return Table{}, corrupt("run table of %d runs, %d details, %d bytes", runs, details, len(b))
	}
	t := Table{b: b, runs: int(runs), details: int(details)}
	switch want := TableHeaderSize + t.runs*RunSize + t.details*DetailSize; {
	case len(b) < want:
		return Table{}, fmt.Errorf("%w: %d bytes of a run table of %d", ErrTruncated, len(b), want)
	case len(b) > want:
		return Table{}, corrupt("run table of %d bytes with %d behind it", want, len(b)-want)
	}
	if err := t.validate(); err != nil {
		return Table{}, err
	}
	return t, nil
}

// validate holds what every reader relies on: ascending partitions, runs that tile the body, details that tile their run.
func (t Table) validate() error {
	position, details := uint64(HeaderSize+len(t.b)), uint32(0)
	var previous []byte
	for i := range t.runs {
		b := t.run(i)
		r := decodeRun(b)
		if i > 0 && !above(b, previous) {
			return corrupt("run %d is not above the run before it", i)
		}
		previous = b
		switch {
		case r.Partition < 0:
			return corrupt("run %d: partition %d", i, r.Partition)
		case uint64(r.Position) != position:
			return corrupt("run %d: position %d, not %d", i, r.Position, position)
		case r.Length == 0 || r.Records == 0 || r.Records > math.MaxInt32:
			return corrupt("run %d: %d records in %d bytes", i, r.Records, r.Length)
		case r.FirstDetail != details || r.Details > uint32(t.details)-details:
			return corrupt("run %d: details [%d, +%d) of %d", i, r.FirstDetail, r.Details, t.details)
		case r.MaxTimestamp < -1:
			return corrupt("run %d: maximum timestamp %d", i, r.MaxTimestamp)
		}
		if r.Details > 0 {
			if err := t.validateDetails(i, r); err != nil {
				return err
			}
		}
		position += uint64(r.Length)
		details += r.Details
	}
	if details != uint32(t.details) {
		return corrupt("%d details belong to no run", uint32(t.details)-details)
	}
	if position > HeaderSize+uint64(len(t.b))+MaxBodyBytes {
		return corrupt("runs add up to more than %d bytes", MaxBodyBytes)
	}
	return nil
}

// above says whether the run in b has a higher (topic, partition) than the one in than. Partitions are not negative.
func above(b, than []byte) bool {
	if c := bytes.Compare(b[:16], than[:16]); c != 0 {
		return c > 0
	}
	return binary.LittleEndian.Uint32(b[16:]) > binary.LittleEndian.Uint32(than[16:])
}

func (t Table) validateDetails(run int, r Run) error {
	var length, records uint64
	maxTimestamp := int64(-1)
	for i := range r.Details {
		d := t.Detail(int(r.FirstDetail + i))
		if d.Length == 0 || d.Records == 0 || d.ProducerID < -1 || d.ProducerID >= 0 && (d.BaseSequence < 0 || d.ProducerEpoch < 0) {
			return corrupt("run %d: batch %d has %d records in %d bytes, producer %d, epoch %d, sequence %d",
				run, i, d.Records, d.Length, d.ProducerID, d.ProducerEpoch, d.BaseSequence)
		}
		length += uint64(d.Length)
		records += uint64(d.Records)
		maxTimestamp = max(maxTimestamp, d.MaxTimestamp)
	}
	if length != uint64(r.Length) || records != uint64(r.Records) || maxTimestamp != r.MaxTimestamp {
		return corrupt("run %d: batches add up to %d bytes, %d records, timestamp %d, the run has %d, %d, %d",
			run, length, records, maxTimestamp, r.Length, r.Records, r.MaxTimestamp)
	}
	return nil
}

// Runs is the number of runs.
func (t Table) Runs() int { return t.runs }

// Details is the number of detailed batches of all runs.
func (t Table) Details() int { return t.details }

// Bytes is the encoded table.
func (t Table) Bytes() []byte { return t.b }

// BodyBytes is the length of all runs together.
func (t Table) BodyBytes() int {
	if t.runs == 0 {
		return 0
	}
	last := t.Run(t.runs - 1)
	return int(last.Position) + int(last.Length) - HeaderSize - len(t.b)
}

// Run decodes the i-th run.
func (t Table) Run(i int) Run { return decodeRun(t.run(i)) }

// Detail decodes the i-th detailed batch of the table; those of run r are [r.FirstDetail, r.FirstDetail+r.Details).
func (t Table) Detail(i int) Detail {
	at := TableHeaderSize + t.runs*RunSize + i*DetailSize
	b := t.b[at : at+DetailSize : at+DetailSize]
	return Detail{
		Length:        binary.LittleEndian.Uint32(b),
		Records:       binary.LittleEndian.Uint32(b[4:]),
		ProducerID:    int64(binary.LittleEndian.Uint64(b[8:])),
		ProducerEpoch: int16(binary.LittleEndian.Uint16(b[16:])),
		Attributes:    int16(binary.LittleEndian.Uint16(b[18:])),
		BaseSequence:  int32(binary.LittleEndian.Uint32(b[20:])),
		MaxTimestamp:  int64(binary.LittleEndian.Uint64(b[24:])),
	}
}

func (t Table) run(i int) []byte {
	at := TableHeaderSize + i*RunSize
	return t.b[at : at+RunSize : at+RunSize]
}

func decodeRun(b []byte) Run {
	_ = b[RunSize-1]
	return Run{
		Topic:        [16]byte(b),
		Partition:    int32(binary.LittleEndian.Uint32(b[16:])),
		Position:     binary.LittleEndian.Uint32(b[20:]),
		Length:       binary.LittleEndian.Uint32(b[24:]),
		Records:      binary.LittleEndian.Uint32(b[28:]),
		FirstDetail:  binary.LittleEndian.Uint32(b[32:]),
		Details:      binary.LittleEndian.Uint32(b[36:]),
		MaxTimestamp: int64(binary.LittleEndian.Uint64(b[40:])),
	}
}

func (r Run) put(b []byte) {
	_ = b[RunSize-1]
	copy(b, r.Topic[:])
	binary.LittleEndian.PutUint32(b[16:], uint32(r.Partition))
	binary.LittleEndian.PutUint32(b[20:], r.Position)
	binary.LittleEndian.PutUint32(b[24:], r.Length)
	binary.LittleEndian.PutUint32(b[28:], r.Records)
	binary.LittleEndian.PutUint32(b[32:], r.FirstDetail)
	binary.LittleEndian.PutUint32(b[36:], r.Details)
	binary.LittleEndian.PutUint64(b[40:], uint64(r.MaxTimestamp))
}

func (d Detail) put(b []byte) {
	_ = b[DetailSize-1]
	binary.LittleEndian.PutUint32(b, d.Length)
	binary.LittleEndian.PutUint32(b[4:], d.Records)
	binary.LittleEndian.PutUint64(b[8:], uint64(d.ProducerID))
	binary.LittleEndian.PutUint16(b[16:], uint16(d.ProducerEpoch))
	binary.LittleEndian.PutUint16(b[18:], uint16(d.Attributes))
	binary.LittleEndian.PutUint32(b[20:], uint32(d.BaseSequence))
	binary.LittleEndian.PutUint64(b[24:], uint64(d.MaxTimestamp))
}
