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

// Source is a chunk that was stored as an object of its own, and some of whose runs are in a part.
type Source struct {
	Node  int32
	Lane  uint32
	Epoch uint64
	Seq   uint64
	Part  uint32 // index of the part in the directory
}

// Contents is a whole directory.
type Contents struct {
	Parts   []Part
	Topics  []Topic  // by id
	Sources []Source // in the order of the parts
}

const (
	topicBytes  = 16 + 4 + 2
	sourceBytes = 4 + 4 + 8 + 8 + 4
	// maxOverrides bounds the settings of one topic, of which there are less than a hundred.
	maxOverrides = 1000
)

func appendAbout(dst []byte, topics []Topic, sources []Source) []byte {
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
	dst = order.AppendUint32(dst, uint32(len(sources)))
	for _, s := range sources {
		dst = order.AppendUint32(dst, uint32(s.Node))
		dst = order.AppendUint32(dst, s.Lane)
		dst = order.AppendUint64(dst, s.Epoch)
		dst = order.AppendUint64(dst, s.Seq)
		dst = order.AppendUint32(dst, s.Part)
	}
	return dst
}

func appendText(dst []byte, text string) []byte {
	return append(order.AppendUint32(dst, uint32(len(text))), text...)
}

// parseAbout reads what stands behind the parts.
func (c *Contents) parseAbout(b []byte) error {
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
	for range r.count(sourceBytes) {
		s := Source{Node: int32(r.uint32()), Lane: r.uint32(), Epoch: r.uint64(), Seq: r.uint64(), Part: r.uint32()}
		if !r.bad && s.Part >= uint32(len(c.Parts)) {
			return fmt.Errorf("source in part %d of %d: %w", s.Part, len(c.Parts), ErrCorrupt)
		}
		c.Sources = append(c.Sources, s)
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("topics and sources do not fill the directory: %w", ErrCorrupt)
	}
	return nil
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
