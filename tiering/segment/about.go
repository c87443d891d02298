package segment

import (
	"fmt"
	"maps"
	"slices"
)

// Topic is what an object says of a topic that it has parts of, as of when it was written: enough to have the topic again when the
// metadata is lost.
type Topic struct {
	ID         [16]byte
	Partitions int32             // 0 where the writer did not know
	Overrides  map[string]string // the topic's own settings
}

// Source says where the records of a part came from: an object chunk, or a segment of a hot log.
type Source struct {
	Chunk ChunkName
	Hot   HotSegment // zero where it was a chunk
	// [From, To) are the bytes of the chunk, or of the hot segment, of which the part has all that its partition has there. Both are 0 for the whole of a
	// chunk, where version 2 did not tell.
	From, To uint32
	Part     uint32 // index of the part in the directory
}

// ChunkName names a chunk that was stored as an object of its own.
type ChunkName struct {
	Node       int32
	Lane       uint32
	Epoch, Seq uint64
}

// HotSegment names the chunks of a node in a segment of the hot log on a disk: its own disk, or another's that has copies, among those of others.
type HotSegment struct {
	Disk [16]byte
	ID   uint64
	Node int32
}

// IsHot says whether the source is a segment of a hot log.
func (s *Source) IsHot() bool { return s.Hot != HotSegment{} }

// Contents is a whole directory.
type Contents struct {
	Parts   []Part
	Topics  []Topic  // by id
	Sources []Source // chunks in the order of the parts, then hot segments in that order
}

const (
	topicBytes     = 16 + 4 + 2
	oldSourceBytes = 4 + 4 + 8 + 8 + 4 // of version 2
	chunkBytes     = oldSourceBytes + 4 + 4
	hotBytes       = 16 + 8 + 4 + 4 + 4 + 4
	// maxOverrides bounds the settings of one topic, of which there are less than a hundred.
	maxOverrides = 1000
)

func appendAbout(dst []byte, parts []Part, topics []Topic, sources []Source) []byte {
	dst = order.AppendUint32(dst, uint32(len(topics)))
	for i := range topics {
		t := &topics[i]
		dst = append(dst, t.ID[:]...)
		dst = order.AppendUint32(dst, uint32(t.Partitions))
		dst = order.AppendUint16(dst, uint16(len(t.Overrides)))
		for _, name := range slices.Sorted(maps.Keys(t.Overrides)) {
			dst = appendText(appendText(dst, name), t.Overrides[name])
		}
	}
	hot := 0
	for i := range sources {
		if sources[i].IsHot() {
			hot++
		}
	}
	dst = order.AppendUint32(dst, uint32(len(sources)-hot))
	for i := range sources {
		if s := &sources[i]; !s.IsHot() {
			dst = order.AppendUint32(dst, uint32(s.Chunk.Node))
			dst = order.AppendUint32(dst, s.Chunk.Lane)
			dst = order.AppendUint64(dst, s.Chunk.Epoch)
			dst = order.AppendUint64(dst, s.Chunk.Seq)
			dst = s.appendPlace(dst)
		}
	}
	dst = order.AppendUint32(dst, uint32(hot))
	for i := range sources {
		if s := &sources[i]; s.IsHot() {
			dst = append(dst, s.Hot.Disk[:]...)
			dst = order.AppendUint64(dst, s.Hot.ID)
			dst = order.AppendUint32(dst, uint32(s.Hot.Node))
			dst = s.appendPlace(dst)
		}
	}
	for i := range parts {
		dst = order.AppendUint64(dst, uint64(parts[i].LogStart))
	}
	return dst
}

func (s *Source) appendPlace(dst []byte) []byte {
	return order.AppendUint32(order.AppendUint32(order.AppendUint32(dst, s.From), s.To), s.Part)
}

func appendText(dst []byte, text string) []byte {
	return append(order.AppendUint32(dst, uint32(len(text))), text...)
}

// parseAbout reads what stands behind the parts.
func (c *Contents) parseAbout(b []byte, version uint16) error {
	r := reader{b: b}
	for range r.count(topicBytes) {
		var t Topic
		copy(t.ID[:], r.take(16))
		t.Partitions = int32(r.uint32())
		n := int(r.uint16())
		if n > maxOverrides || t.Partitions < 0 {
			return fmt.Errorf("%d settings, %d partitions of a topic: %w", n, t.Partitions, ErrCorrupt)
		}
		t.Overrides = make(map[string]string, n)
		for range n {
			name := r.text()
			t.Overrides[name] = r.text()
		}
		c.Topics = append(c.Topics, t)
	}
	c.parseSources(&r, version)
	if i := slices.IndexFunc(c.Sources, func(s Source) bool { return s.Part >= uint32(len(c.Parts)) || s.From > s.To }); i >= 0 && !r.bad {
		return fmt.Errorf("source %+v of %d parts: %w", c.Sources[i], len(c.Parts), ErrCorrupt)
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("topics and sources do not fill the directory: %w", ErrCorrupt)
	}
	return nil
}

func (c *Contents) parseSources(r *reader, version uint16) {
	chunk := func() ChunkName {
		return ChunkName{Node: int32(r.uint32()), Lane: r.uint32(), Epoch: r.uint64(), Seq: r.uint64()}
	}
	if version == 2 {
		for range r.count(oldSourceBytes) {
			c.Sources = append(c.Sources, Source{Chunk: chunk(), Part: r.uint32()})
		}
		return
	}
	for range r.count(chunkBytes) {
		c.Sources = append(c.Sources, Source{Chunk: chunk(), From: r.uint32(), To: r.uint32(), Part: r.uint32()})
	}
	for range r.count(hotBytes) {
		hot := HotSegment{Disk: [16]byte(r.take(16)), ID: r.uint64(), Node: int32(r.uint32())}
		c.Sources = append(c.Sources, Source{Hot: hot, From: r.uint32(), To: r.uint32(), Part: r.uint32()})
	}
	for i := range c.Parts {
		if c.Parts[i].LogStart = int64(r.uint64()); c.Parts[i].LogStart < 0 {
			r.bad = true
		}
	}
}

// reader reads fields until one is missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return make([]byte, min(max(n, 0), 16))
	}
	field := r.b[:n]
	r.b = r.b[n:]
	return field
}

func (r *reader) uint16() uint16 { return order.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return order.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return order.Uint64(r.take(8)) }

// count reads a number of things of at least so many bytes.
func (r *reader) count(atLeast int) int {
	n := r.uint32()
	if uint64(n)*uint64(atLeast) > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.uint32()
	if uint64(n) > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	return string(r.take(int(n)))
}
