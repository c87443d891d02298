package meta

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// FuzzApply: whatever an entry asks for, Apply does not panic, the invariants hold, and the state survives a snapshot.
func FuzzApply(f *testing.F) {
	for _, e := range storyLog(f).entries {
		b, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &metapb.Entry{}
		if proto.Unmarshal(b, e) != nil {
			return
		}
		l := storyLog(t)
		e.Format, e.LogId = EntryFormat, testLogID[:]
		if e.LeaderEpoch < 1 {
			e.LeaderEpoch = 1
		}
		created := int32(0)
		for _, c := range e.Commands {
			created = max(created, c.GetCreateTopic().GetPartitions(), c.GetCreatePartitions().GetCount())
		}
		if created > 1000 {
			return // slow, and nothing new
		}
		if l.s.Apply(l.s.Seq()+1, e, l) != nil {
			return
		}
		if err := l.s.invariants(); err != nil {
			t.Fatal(err)
		}
		if l.s.reread(t).Hash() != l.s.Hash() {
			t.Fatal("another state came back from a snapshot")
		}
		l.s.Due(l.now)
		for tp := range l.committed {
			l.s.Locate(tp, 0)
		}
	})
}

// FuzzReadSnapshot: damaged parts are refused or make a state that can be used; nothing panics.
func FuzzReadSnapshot(f *testing.F) {
	var parts [][]byte
	if err := storyLog(f).s.WriteSnapshot(func(part []byte) error { parts = append(parts, part); return nil }); err != nil {
		f.Fatal(err)
	}
	for i, part := range parts {
		f.Add(uint8(i), part[entryHeaderSize:])
	}
	f.Fuzz(func(t *testing.T, at uint8, body []byte) {
		i := int(at) % len(parts)
		damaged := append(make([]byte, 0, entryHeaderSize+len(body)), parts[i][:entryHeaderSize]...)
		damaged = append(damaged, body...)
		binary.LittleEndian.PutUint32(damaged[8:], uint32(len(body)))
		binary.LittleEndian.PutUint32(damaged[12:], crc32.Checksum(body, castagnoli))
		s, err := ReadSnapshot(func(yield func([]byte, error) bool) {
			for j, part := range parts {
				if j == i {
					part = damaged
				}
				if !yield(part, nil) {
					return
				}
			}
		})
		if err != nil {
			return
		}
		s.Hash()
		s.Due(0)
		for tp := range s.topics {
			s.Locate(TopicPartition{tp, 0}, 0)
		}
	})
}

// FuzzDecodeEntry: bytes of any kind do not panic.
func FuzzDecodeEntry(f *testing.F) {
	b, err := EncodeEntry(entryOf(1, 1, command(&metapb.Noop{})))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= entryHeaderSize {
			binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[entryHeaderSize:], castagnoli))
		}
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		if err := New(testLogID).Apply(1, e, nil); err == nil && len(e.LogId) != 16 {
			t.Fatal("an entry without a log was applied")
		}
	})
}
