package meta

import (
	"fmt"
	"testing"
)

// TestPartitionsWithManyExtentsGoOverSeveralParts: whoever reads a snapshot takes no part above a bound.
func TestPartitionsWithManyExtentsGoOverSeveralParts(t *testing.T) {
	l := newTestLog(t)
	l.lead(1)
	for i := range 3 {
		l.topic(fmt.Sprint("t", i), 200)
	}
	large := l.s.Topic(topicID("t1"))
	for i, p := range large.partitions {
		o := &object{id: SegmentID{1, uint32(i)}, refs: 1000}
		l.s.objects[o.id] = o
		for j := range int64(1000) {
			p.parts = append(p.parts, part{base: j, next: j + 1, length: 1, records: 1, object: o})
		}
		p.next = 1000
	}
	l.s.nextJob = 2
	sizes := func() (out []int) {
		if err := l.s.WriteSnapshot(func(part []byte) error { out = append(out, len(part)); return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, size := range sizes() {
		if size > partTopicBytes+1<<20 {
			t.Errorf("a part of %d bytes", size)
		}
	}
	if l.s.reread(t).Hash() != l.s.Hash() {
		t.Error("another state is read")
	}
	before := len(sizes())
	for _, p := range large.partitions {
		for i := range p.parts {
			p.parts[i].object.refs--
		}
		delete(l.s.objects, p.parts[0].object.id)
		p.parts, p.next = nil, 0
	}
	// Three parts of 256 partitions at most, and the core.
	if after := len(sizes()); after != 4 || before <= after {
		t.Errorf("%d parts, %d of them without the extents", before, after)
	}
}
