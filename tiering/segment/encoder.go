package segment

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// Encoder builds one object in memory:
//
//	Begin → Batch… → End → Begin → … → Finish
//
// Parts are begun in ascending order of topic id, partition and base offset. An encoder is used once and by one goroutine.
type Encoder struct {
	header  Header
	buf     []byte
	parts   []Part
	topics  []Topic
	sources []Source
	named   map[sourceName]int // where in sources those of the part that is begun are
	index   []byte             // entries of all parts, one after the other
	indexAt []int              // where in index the entries of each part begin
	state   encoderState
}

// sourceName is what of a Source names it.
type sourceName struct {
	chunk ChunkName
	hot   HotSegment
}

type encoderState uint8

const (
	betweenParts encoderState = iota
	insidePart
	finished
)

// NewEncoder starts an object; sizeHintBytes is what its batches may come to.
func NewEncoder(h Header, sizeHintBytes int) *Encoder {
	buf := make([]byte, 0, HeaderBytes+sizeHintBytes)
	return &Encoder{header: h, buf: appendHeader(buf, h)}
}

// SizeBytes is what the object has come to, without indexes and directory.
func (e *Encoder) SizeBytes() int { return len(e.buf) }

// Parts is how many parts were ended.
func (e *Encoder) Parts() int {
	if e.state == insidePart {
		return len(e.parts) - 1
	}
	return len(e.parts)
}

// Begin starts a part, whose first batch begins at baseOffset or above.
func (e *Encoder) Begin(topicID [16]byte, topic string, partition int32, baseOffset int64) {
	e.mustBe(betweenParts)
	if len(topic) > maxTopicNameBytes {
		panic("segment: topic name longer than Kafka allows")
	}
	p := Part{
		TopicID: topicID, Topic: topic, Partition: partition, BaseOffset: baseOffset, NextOffset: baseOffset,
		Position: uint64(len(e.buf)), MaxTimestamp: -1, MinTimestamp: -1,
	}
	if n := len(e.parts); n > 0 && comparePlaces(&e.parts[n-1], &p) >= 0 {
		panic(fmt.Sprintf("segment: part %s-%d@%d begun out of order", topic, partition, baseOffset))
	}
	clear(e.named)
	e.parts = append(e.parts, p)
	e.indexAt = append(e.indexAt, len(e.index))
	e.state = insidePart
}

// About says what a topic is set to, for those who read the object without the metadata.
func (e *Encoder) About(t Topic) {
	at, known := slices.BinarySearchFunc(e.topics, t.ID, func(x Topic, id [16]byte) int { return bytes.Compare(x.ID[:], id[:]) })
	if !known {
		e.topics = slices.Insert(e.topics, at, t)
	}
}

// LogStart says where the log of the part's partition begins, as far as the writer knows.
func (e *Encoder) LogStart(offset int64) {
	e.mustBe(insidePart)
	e.parts[len(e.parts)-1].LogStart = max(0, offset)
}

// From says that the part that is begun has a run of a chunk or of a hot segment; s.Part is filled in. Runs of one of these are told as one range: those
// of one partition, and of one node, come into parts in the order in which they stand there.
func (e *Encoder) From(s Source) {
	e.mustBe(insidePart)
	s.Part = uint32(len(e.parts) - 1)
	name := sourceName{s.Chunk, s.Hot}
	i, named := e.named[name]
	if !named {
		if e.named == nil {
			e.named = map[sourceName]int{}
		}
		e.named[name] = len(e.sources)
		e.sources = append(e.sources, s)
		return
	}
	switch known := &e.sources[i]; {
	case s.To == 0:
		known.From, known.To = 0, 0
	case known.To != 0: // else it has the whole
		known.From, known.To = min(known.From, s.From), max(known.To, s.To)
	}
}

// Batch adds the next batch of the part; verbatim marks one that could not be decoded. batch is copied. It is ErrCorrupt when batch does not follow the previous one.
func (e *Encoder) Batch(h recordbatch.Header, batch []byte, verbatim bool) error {
	e.mustBe(insidePart)
	p := &e.parts[len(e.parts)-1]
	if h.BaseOffset < p.NextOffset || h.SizeBytes() != len(batch) {
		return fmt.Errorf("add batch at offset %d (%d bytes) behind %d: %w", h.BaseOffset, len(batch), p.NextOffset, ErrCorrupt)
	}
	if p.LengthBytes+uint64(len(batch)) > MaxPartBytes || h.NextOffset()-p.BaseOffset > math.MaxUint32 {
		return fmt.Errorf("add batch at offset %d: part is full: %w", h.BaseOffset, ErrCorrupt)
	}
	e.index = order.AppendUint32(e.index, uint32(h.BaseOffset-p.BaseOffset))
	e.index = order.AppendUint32(e.index, uint32(p.LengthBytes))
	e.index = order.AppendUint64(e.index, uint64(h.MaxTimestamp))
	e.buf = append(e.buf, batch...)
	p.LengthBytes += uint64(len(batch))
	p.NextOffset = h.NextOffset()
	p.Records += uint64(h.RecordCount)
	p.LeaderEpoch = h.LeaderEpoch
	p.Verbatim = p.Verbatim || verbatim
	if !h.IsControl() {
		p.MaxTimestamp = max(p.MaxTimestamp, h.MaxTimestamp)
		p.noteFirst(&h)
	}
	return nil
}

// noteFirst takes the time of a batch's first record into account, as far as its header tells it.
func (p *Part) noteFirst(h *recordbatch.Header) {
	first := h.BaseTimestamp
	if h.IsLogAppendTime() || h.HasDeleteHorizon() {
		first = h.MaxTimestamp
	}
	if first >= 0 && h.RecordCount > 0 && (p.MinTimestamp < 0 || first < p.MinTimestamp) {
		p.MinTimestamp = first
	}
}

// End ends the part, which reaches to nextOffset even where the last batches are missing (a compacted log). It returns
// the part, complete but for its index, which Finish places. A part without batches is dropped, and ok is false.
func (e *Encoder) End(nextOffset int64) (ok bool) {
	e.mustBe(insidePart)
	e.state = betweenParts
	p := &e.parts[len(e.parts)-1]
	if p.LengthBytes == 0 {
		e.parts = e.parts[:len(e.parts)-1]
		e.indexAt = e.indexAt[:len(e.indexAt)-1]
		e.sources = slices.DeleteFunc(e.sources, func(s Source) bool { return s.Part == uint32(len(e.parts)) })
		return false
	}
	p.NextOffset = max(p.NextOffset, nextOffset)
	return true
}

// Finish writes indexes, directory and trailer, and returns the object and its parts. The encoder must not be used again.
func (e *Encoder) Finish() ([]byte, []Part) {
	e.mustBe(betweenParts)
	e.state = finished
	e.buf = slices.Grow(e.buf, len(e.index)+len(e.parts)*(crcBytes+directoryPartBytes+64)+TrailerBytes)
	for i := range e.parts {
		end := len(e.index)
		if i+1 < len(e.indexAt) {
			end = e.indexAt[i+1]
		}
		entries := e.index[e.indexAt[i]:end]
		e.parts[i].IndexPosition = uint64(len(e.buf))
		e.parts[i].IndexLengthBytes = uint64(len(entries) + crcBytes)
		e.buf = append(e.buf, entries...)
		e.buf = order.AppendUint32(e.buf, crc32.Checksum(entries, castagnoli))
	}
	t := Trailer{DirectoryPosition: uint64(len(e.buf))}
	e.buf = appendAbout(appendDirectory(e.buf, e.parts), e.parts, e.topics, e.sources)
	directory := e.buf[t.DirectoryPosition:]
	t.DirectoryBytes = uint32(len(directory))
	t.directoryCRC = crc32.Checksum(directory, castagnoli)
	t.ObjectBytes = uint64(len(e.buf)) + TrailerBytes
	e.buf = appendTrailer(e.buf, t)
	return e.buf, e.parts
}

func (e *Encoder) mustBe(state encoderState) {
	if e.state != state {
		panic(fmt.Sprintf("segment: encoder used in state %d, want %d", e.state, state))
	}
}

func comparePlaces(a, b *Part) int {
	if c := bytes.Compare(a.TopicID[:], b.TopicID[:]); c != 0 {
		return c
	}
	if a.Partition != b.Partition {
		return int(a.Partition) - int(b.Partition)
	}
	switch {
	case a.BaseOffset < b.BaseOffset:
		return -1
	case a.BaseOffset > b.BaseOffset:
		return 1
	default:
		return 0
	}
}
