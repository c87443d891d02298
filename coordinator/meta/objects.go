package meta

import (
	"cmp"
	"math"
	"slices"
)

// object is a stored segment object that parts refer to.
type object struct {
	id            SegmentID
	sizeBytes     uint64
	createdMillis int64
	refs          int // parts that refer to it
}

// Garbage is an object that no reader can be led to any more.
type Garbage struct {
	Key         string
	SinceMillis int64 // state time
	// chunk is which it is, where it is a chunk, and chunkMillis when it was committed, 0 where that is not known.
	chunk       ChunkID
	chunkMillis int64
}

func (g *Garbage) isChunk() bool { return g.chunk != ChunkID{} }

// Garbage are the objects that may be deleted, oldest first.
func (s *State) Garbage() []Garbage { return s.garbage }

func (a *applier) addGarbage(key string) { a.addGarbageOf(Garbage{Key: key}) }

// addChunkGarbage takes when the chunk was committed, which no snapshot holds below mergingLevel.
func (a *applier) addChunkGarbage(id ChunkID, committedMillis int64) {
	if a.leader.featureLevel < mergingLevel {
		committedMillis = 0
	}
	a.addGarbageOf(Garbage{Key: id.Key(), chunk: id, chunkMillis: committedMillis})
}

func (a *applier) addGarbageOf(g Garbage) {
	if _, known := a.garbageKeys[g.Key]; known {
		return
	}
	a.garbageKeys[g.Key] = struct{}{}
	g.SinceMillis = a.timeMillis
	a.garbage = append(a.garbage, g)
	a.changed(ChangedGarbage)
}

// unref lets go of one part of the object.
func (a *applier) unref(o *object) {
	o.refs--
	if o.refs == 0 {
		delete(a.objects, o.id)
		a.addGarbage(o.id.Key())
	}
}

// settledMillis is before when everything that was stored has nothing left of what it was made of. What takes the place of anything else
// has to say what that was: a recovery that finds a chunk, or a hot log, and does not know that a segment has its records would take them twice.
// A chunk has records that are shipped at different times, since open transactions hold some back; so it counts from its commit until it is deleted.
func (s *State) settledMillis() int64 {
	settled := int64(math.MaxInt64)
	for i := range s.garbage {
		if g := &s.garbage[i]; g.isChunk() {
			settled = min(settled, g.chunkMillis)
		}
	}
	if s.oldestContainer != nil {
		settled = min(settled, s.oldestContainer.createdMillis) // the oldest
	}
	if slices.ContainsFunc(s.nodes, func(n *Node) bool { return len(n.released) > 0 }) {
		return 0 // nobody knows any more how old those are
	}
	return settled
}

// There are object chunks and hot segments that are not known to be deleted.
type There struct {
	All    bool      // they are too many to name
	Chunks []ChunkID // whichever of their keys
	Hot    []HotSegment
}

// HotSegment is a file of a hot log.
type HotSegment struct {
	Disk [16]byte
	ID   uint64
}

// maxThere bounds what is named of There, to some megabytes. Where deleting is denied for days there are millions, more than an answer may hold.
const maxThere = 100_000

func (s *State) there(limit int) (t There) {
	count := len(s.containers)
	for _, n := range s.nodes {
		count += len(n.released)
	}
	for i := 0; i < len(s.garbage) && count <= limit; i++ {
		if s.garbage[i].isChunk() {
			count++
		}
	}
	if count > limit {
		return There{All: true}
	}
	hot := func(node NodeID, segment uint64) {
		if n := s.Node(node); n != nil {
			t.Hot = append(t.Hot, HotSegment{n.DiskID, segment})
		}
	}
	for c := range s.byID {
		if c.isChunk() {
			t.Chunks = append(t.Chunks, c.chunkID())
			continue
		}
		hot(c.node, c.segment)
		if c.copy.node != 0 {
			hot(c.copy.node, c.copy.segment)
		}
	}
	for _, n := range s.nodes {
		for _, segment := range n.released {
			hot(n.ID, segment)
		}
	}
	for i := range s.garbage {
		if g := &s.garbage[i]; g.isChunk() {
			t.Chunks = append(t.Chunks, g.chunk)
		}
	}
	return t
}

func (a *applier) forgetGarbage(keys []string) Verdict {
	gone := make(map[string]struct{}, len(keys))
	for _, k := range keys {
		if _, ok := a.garbageKeys[k]; ok {
			gone[k] = struct{}{}
			delete(a.garbageKeys, k)
		}
	}
	if len(gone) > 0 {
		a.garbage = slices.DeleteFunc(a.garbage, func(g Garbage) bool { _, ok := gone[g.Key]; return ok })
		a.changed(ChangedGarbage)
	}
	return Verdict{}
}

// Referenced says whether the state refers to the object under key, or may come to: a chunk of an epoch that is not
// fenced, a segment of a job that has not ended, and anything this state cannot judge. An object it does not refer to can
// never be referred to again, and may be deleted.
func (s *State) Referenced(key string) bool {
	if c, ok := ParseChunkKey(key); ok {
		if s.chunks[c] != nil {
			return true
		}
		n := s.Node(c.Node)
		if n == nil {
			return !s.Dropped(c.Node)
		}
		return c.Epoch > n.Epoch || c.Epoch == n.Epoch && c.Seq >= n.nextSeq(c.Lane)
	}
	if o, ok := ParseSegmentKey(key); ok {
		return s.objects[o] != nil || s.jobs[o.Job] != nil || o.Job >= s.nextJob
	}
	return true
}

// Refers says whether the state refers to the object under key now.
func (s *State) Refers(key string) bool {
	if c, ok := ParseChunkKey(key); ok {
		return s.chunks[c] != nil
	}
	o, ok := ParseSegmentKey(key)
	return ok && s.objects[o] != nil
}

func (s *State) objectsInOrder() []*object {
	out := make([]*object, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, o)
	}
	slices.SortFunc(out, func(x, y *object) int {
		return cmp.Or(cmp.Compare(x.id.Job, y.id.Job), cmp.Compare(x.id.Ordinal, y.id.Ordinal))
	})
	return out
}
