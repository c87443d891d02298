package torture

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// check reads everything, and looks that what should exist does and nothing else.
func (w *workload) check() {
	w.readAll()
	if w.c.t.Failed() {
		return
	}
	// Everything is shipped and deleted in the end.
	var wrong []string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		for {
			shipped, err := w.worker().Once(ctx)
			if err != nil || !shipped {
				break
			}
		}
		s := w.sweeper()
		_ = s.Garbage(ctx)
		_ = s.Orphans(ctx)
		cancel()
		if wrong = w.leftovers(); len(wrong) == 0 {
			break
		}
	}
	for _, what := range wrong {
		w.c.fail("%s", what)
	}
	w.readAll()
	w.sameState()
}

func (w *workload) readAll() {
	for _, tp := range w.topics.order {
		for _, n := range w.c.nodes {
			n.readAll(tp, w.topics.models[tp])
		}
	}
}

// leftovers says what is missing or too much in the bucket and on the disks.
func (w *workload) leftovers() (wrong []string) {
	ctx := context.Background()
	keys := map[string]bool{}
	segments := map[meta.NodeID]map[uint64]bool{}
	nodes := map[[16]byte]meta.NodeID{}
	open := map[string]bool{} // may come to be referred to
	var stored []string
	for _, prefix := range []string{"chunk/", "segment/"} {
		for info, err := range w.c.bucket.List(ctx, prefix, "") {
			if err != nil {
				return []string{err.Error()}
			}
			stored = append(stored, info.Key)
		}
	}
	w.c.leading.Load().replica.View(func(s *meta.State) {
		for _, n := range s.Nodes() {
			nodes[n.DiskID] = n.ID
			segments[n.ID] = map[uint64]bool{}
			for _, segment := range s.Released(n.ID) {
				wrong = append(wrong, "released segment is not removed: "+itoa(segment))
			}
		}
		if n, _ := s.Waiting(s.TimeMillis() + 1<<40); n > 0 || len(s.Jobs()) > 0 {
			wrong = append(wrong, "containers wait to be shipped")
			for c := range s.Containers {
				if c.Sealed && c.LiveRuns > 0 {
					wrong = append(wrong, fmt.Sprintf("%+v", c))
				}
			}
		}
		for c := range s.Containers {
			if c.IsChunk() {
				keys[c.Chunk.Key()] = true
			} else {
				segments[c.Node][c.Segment] = true
			}
		}
		for _, t := range s.Topics() {
			for i := range int32(t.Partitions()) {
				tp := meta.TopicPartition{Topic: t.ID, Partition: i}
				p := t.Partition(i)
				for offset := p.LogStartOffset(); offset < p.NextOffset(); {
					l, ok := s.LocateStored(tp, offset)
					if !ok {
						break
					}
					keys[l.Key()] = true
					offset = l.NextOffset
				}
			}
		}
		for _, key := range stored {
			if c, ok := meta.ParseChunkKey(key); ok && s.Referenced(key) && !keys[key] && c.Seq >= s.NextSeq(c.Node, c.Lane) {
				open[key] = true
			}
		}
		if n := len(s.Garbage()); n > 0 {
			wrong = append(wrong, itoa(uint64(n))+" objects of garbage")
		}
	})
	there := map[string]bool{}
	for _, key := range stored {
		there[key] = true
		if !keys[key] && !open[key] {
			wrong = append(wrong, "orphan "+key)
		}
	}
	for key := range keys {
		if !there[key] {
			wrong = append(wrong, "missing object "+key)
		}
	}
	for _, n := range w.c.nodes {
		referenced := segments[nodes[n.log.DiskUUID()]]
		for _, s := range n.log.Segments() {
			if s.Sealed && !referenced[s.ID] {
				wrong = append(wrong, n.name+": nothing refers to hot segment "+itoa(s.ID))
			}
			delete(referenced, s.ID)
		}
		for segment := range referenced {
			wrong = append(wrong, n.name+": missing hot segment "+itoa(segment))
		}
	}
	return wrong
}

// sameState compares the replicas.
func (w *workload) sameState() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for range 50 {
		leader := w.c.leading.Load().replica
		var seq uint64
		var hash [32]byte
		leader.View(func(s *meta.State) { seq, hash = s.Seq(), s.Hash() })
		same := true
		for _, n := range w.c.nodes {
			if err := n.replica.WaitSeq(ctx, seq); err != nil {
				w.c.fail("%s does not come to entry %d: %v", n.name, seq, err)
				return
			}
			n.replica.View(func(s *meta.State) {
				if s.Seq() != seq {
					same = false
				} else if s.Hash() != hash {
					w.c.fail("%s differs from the leader at entry %d", n.name, seq)
				}
			})
		}
		if same {
			return
		}
	}
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
