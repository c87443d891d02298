package blockcache

import (
	"container/list"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// TestShelfAccounts drives a shelf with random steps: what it says it holds is what it holds, within its capacity, and
// every block is where it is said to be.
func TestShelfAccounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacityBytes, blockBytes = 20 * 10, 10
		s := newShelf(capacityBytes)
		pending := map[blockID]*block{}
		index := rapid.Int64Range(0, 40)
		t.Repeat(map[string]func(*rapid.T){
			"fetch": func(t *rapid.T) {
				id := blockID{"key", index.Draw(t, "index")}
				// As the cache does: at most half of the capacity is on its way, and only what is missing.
				if _, found := s.blocks[id]; found || s.pendingBytes+blockBytes > capacityBytes/2 || pending[id] != nil {
					return
				}
				pending[id] = &block{id: id}
				s.reserve(pending[id], blockBytes)
			},
			"arrive": func(t *rapid.T) {
				id := blockID{"key", index.Draw(t, "index")}
				b := pending[id]
				if b == nil {
					return
				}
				delete(pending, id)
				if rapid.Bool().Draw(t, "fails") {
					b.err = errors.New("failed")
				} else {
					b.data = make([]byte, rapid.IntRange(1, blockBytes).Draw(t, "bytes"))
				}
				s.settle(b, blockBytes)
			},
			"read": func(t *rapid.T) {
				if b := s.blocks[blockID{"key", index.Draw(t, "index")}]; b != nil {
					from := rapid.Int64Range(0, blockBytes-1).Draw(t, "from")
					s.read(b, from, rapid.Int64Range(from+1, blockBytes).Draw(t, "to"), 1)
				}
			},
			"forget": func(t *rapid.T) {
				if b := s.blocks[blockID{"key", index.Draw(t, "index")}]; b != nil {
					s.remove(b)
				}
			},
			"": func(t *rapid.T) { checkShelf(t, &s, len(pending)*blockBytes) },
		})
	})
}

func checkShelf(t *rapid.T, s *shelf, pendingBytes int) {
	listed := func(l *list.List, protected bool) (sizeBytes int64) {
		for element := l.Front(); element != nil; element = element.Next() {
			b := element.Value.(*block)
			if s.blocks[b.id] != b || b.place != element || b.protected != protected {
				t.Fatalf("block %v is listed and is not there", b.id)
			}
			sizeBytes += int64(len(b.data))
		}
		return sizeBytes
	}
	queueBytes, protectedBytes := listed(s.queue, false), listed(s.protected, true)
	if queueBytes != s.queueBytes || protectedBytes != s.protectedBytes || int64(pendingBytes) != s.pendingBytes {
		t.Fatalf("holds %d, %d and %d bytes, says %d, %d and %d", queueBytes, protectedBytes, pendingBytes, s.queueBytes, s.protectedBytes, s.pendingBytes)
	}
	if queueBytes+protectedBytes+s.pendingBytes > s.capacityBytes || protectedBytes > s.capacityBytes/2 {
		t.Fatalf("holds %d, %d and %d bytes of %d", queueBytes, protectedBytes, s.pendingBytes, s.capacityBytes)
	}
	placed := 0
	for _, b := range s.blocks {
		if b.place != nil {
			placed++
		}
	}
	if placed != s.queue.Len()+s.protected.Len() {
		t.Fatalf("%d blocks can be found, %d are listed", placed, s.queue.Len()+s.protected.Len())
	}
}
