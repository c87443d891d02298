package hotlog

import (
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/varvelog/varve/infra/vfs"
)

// writer is what appending needs; the mutex is held over a whole Append, Roll, Abandon or Close, their I/O included:
// it is the queue for the one thing that a log does one at a time. Readers never take it.
type writer struct {
	sync.Mutex
	// active is nil after a failure to create a segment; the next append tries again.
	active *segment
	// previous is the last segment with chunks before the active one, and where it durably ended.
	previous begin
	// poison is the failure that Abandon has to clear.
	poison error
	// failed are abandoned segments without acknowledged chunks, which Abandon has yet to delete.
	failed []*segment
	closed bool

	// buffers and headers are the group under construction, kept for their capacity.
	buffers [][]byte
	headers []byte
}

func (w *writer) usable() error {
	if w.closed {
		return ErrClosed
	}
	if w.poison != nil {
		return fmt.Errorf("%w: %w", ErrPoisoned, w.poison)
	}
	return nil
}

// Chunk is what is appended: the buffers that make it up, and the CRC-32C of their bytes. The log writes the checksum down and does not compute it: who
// has checked the bytes knows it, and what happens to them between there and the disk is found when they are read. A wrong one
// is damage like any other: the next Open cuts the last group, and refuses a log with such a group further up.
type Chunk struct {
	Buffers [][]byte
	CRC     uint32
}

// NewChunk is a chunk of bytes that nobody has a checksum of.
func NewChunk(buffers ...[]byte) Chunk {
	c := Chunk{Buffers: buffers}
	for _, buf := range buffers {
		c.CRC = crc32.Update(c.CRC, castagnoli, buf)
	}
	return c
}

func (c *Chunk) sizeBytes() int64 {
	size := int64(0)
	for _, buf := range c.Buffers {
		size += int64(len(buf))
	}
	return size
}

// Append makes chunks durable, in their order, with one write and one fdatasync, and appends their places to places. The chunks'
// buffers are neither copied nor retained, and must not change until return. A group
// that does not fit into what is left of the segment continues in the next; each part is durable by itself.
//
// On an error the places that were appended are of chunks that are durable; the chunks after them have failed, and may or may
// not be found by a later Open. Errors: *ChunkTooLargeError (nothing was written), ErrNoSpace (try again later), ErrPoisoned
// (the caller takes a new epoch and calls Abandon), ErrClosed. There is no context: a write that has begun cannot be
// called off.
func (l *Log) Append(places []Place, chunks ...Chunk) ([]Place, error) {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.writer.usable(); err != nil {
		return places, err
	}
	for i := range chunks {
		if size := chunks[i].sizeBytes(); size > l.MaxChunkBytes() {
			return places, &ChunkTooLargeError{SizeBytes: size, MaxBytes: l.MaxChunkBytes()}
		}
	}
	for len(chunks) > 0 {
		count, err := l.makeRoom(chunks)
		if err != nil {
			return places, err
		}
		if places, err = l.appendGroup(places, chunks[:count]); err != nil {
			return places, err
		}
		chunks = chunks[count:]
	}
	return places, nil
}

// makeRoom returns how many of the chunks, at least one, go into the active segment, rolling first if none does.
func (l *Log) makeRoom(chunks []Chunk) (int, error) {
	if active := l.writer.active; active != nil {
		if count := l.fitting(active, chunks); count > 0 {
			return count, nil
		}
		if err := l.sealActive(); err != nil {
			return 0, err
		}
	}
	if err := l.openNext(); err != nil {
		return 0, err
	}
	return l.fitting(l.writer.active, chunks), nil
}

// fitting counts the chunks that the segment can take, leaving room for its footer.
func (l *Log) fitting(s *segment, chunks []Chunk) int {
	room := l.cfg.SegmentBytes - sealFrameBytes - int64(s.end.Load())
	if !s.begun {
		room -= beginFrameBytes
	}
	for i := range chunks {
		if room -= frameBytes(chunks[i].sizeBytes()); room < 0 {
			return i
		}
	}
	return len(chunks)
}

// appendGroup writes chunks, which fit, behind the durable end of the active segment and makes them durable.
func (l *Log) appendGroup(places []Place, chunks []Chunk) ([]Place, error) {
	active := l.writer.active
	firstPlace := len(places)
	position, payloadBytes := l.writer.encode(active, chunks, &places)
	if err := l.writeGroup(active, position, len(chunks), payloadBytes); err != nil {
		return places[:firstPlace], err
	}
	active.begun = true
	active.chunks.Add(uint64(len(chunks)))
	active.end.Store(position)
	c := &l.counters
	c.groups.Add(1)
	c.chunks.Add(uint64(len(chunks)))
	c.payloadBytes.Add(uint64(payloadBytes))
	if !l.cfg.NoSpare && int64(position) > l.cfg.SegmentBytes/2 {
		l.prepareSpare()
	}
	return places, nil
}

// encode lays the group out in w.buffers:
//
//	header, payload buffers..., padding, header, payload buffers..., padding, ...
//
// with the begin frame in front where the segment has none yet. It returns where the group ends.
func (w *writer) encode(s *segment, chunks []Chunk, places *[]Place) (position uint32, payloadBytes int64) {
	w.buffers = w.buffers[:0]
	headers := len(chunks)*frameHeaderBytes + beginFrameBytes
	if cap(w.headers) < headers {
		w.headers = make([]byte, headers)
	}
	scratch := w.headers[:headers]
	durableEnd := s.end.Load()
	position = durableEnd
	if !s.begun {
		s.begin = w.previous
		frame := scratch[:beginFrameBytes]
		scratch = scratch[beginFrameBytes:]
		payload := frame[frameHeaderBytes:]
		s.begin.encode(payload)
		w.frame(s, frame[:frameHeaderBytes], KindBegin, position, durableEnd, beginPayloadBytes, crc32.Checksum(payload, castagnoli))
		w.buffers = append(w.buffers, frame)
		position += beginFrameBytes
	}
	for i := range chunks {
		header := scratch[:frameHeaderBytes]
		scratch = scratch[frameHeaderBytes:]
		w.buffers = append(w.buffers, header)
		size := chunks[i].sizeBytes()
		w.buffers = append(w.buffers, chunks[i].Buffers...)
		w.frame(s, header, KindChunk, position, durableEnd, uint32(size), chunks[i].CRC)
		if padding := frameBytes(size) - frameHeaderBytes - size; padding > 0 {
			w.buffers = append(w.buffers, zeroes[:padding])
		}
		*places = append(*places, Place{Segment: s.id, Position: position + frameHeaderBytes, Length: uint32(size)})
		position += uint32(frameBytes(size))
		payloadBytes += size
	}
	return position, payloadBytes
}

// frame encodes a header under the segment's next sequence number.
func (w *writer) frame(s *segment, header []byte, kind Kind, position, durableEnd, payloadBytes, payloadCRC uint32) {
	s.sequence++
	frameHeader{
		payloadBytes: payloadBytes, payloadCRC: payloadCRC, durableEnd: durableEnd, sequence: s.sequence, kind: kind,
	}.encode(header, s.header.Salt, position)
}

// writeGroup writes w.buffers, which end at position, at the durable end and syncs. A full disk leaves the log as it was: whatever part was written
// lies above the durable end, and the next group, with higher sequence numbers, overwrites it. Any other failure
// poisons.
func (l *Log) writeGroup(s *segment, position uint32, chunks int, payloadBytes int64) error {
	defer clear(l.writer.buffers)
	var began time.Time
	if l.cfg.Observer != nil {
		began = time.Now()
	}
	if filler := l.filler(s.header, int64(position)); len(filler) > 0 {
		l.writer.buffers = append(l.writer.buffers, filler)
	}
	if _, err := s.file.WritevAt(l.writer.buffers, int64(s.end.Load())); err != nil {
		err = fmt.Errorf("write segment %d: %w", s.id, err)
		if vfs.IsNoSpace(err) {
			return l.classify(err)
		}
		return l.poison(err)
	}
	var written time.Time
	if l.cfg.Observer != nil {
		written = time.Now()
	}
	l.counters.syncs.Add(1)
	if err := s.file.SyncData(); err != nil {
		return l.poison(fmt.Errorf("sync segment %d: %w", s.id, err))
	}
	if l.cfg.Observer != nil {
		l.cfg.Observer.GroupAppended(chunks, payloadBytes, written.Sub(began), time.Since(written))
	}
	return nil
}

// poison ends the use of the active segment for writing.
func (l *Log) poison(err error) error {
	l.counters.poisonings.Add(1)
	l.writer.poison = err
	return fmt.Errorf("%w: %w", ErrPoisoned, err)
}
