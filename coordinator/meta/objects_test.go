package meta

import "testing"

// A bucket in which nothing can be deleted has ever more chunks; a round of compaction must be told of them all the same.
func TestChunksThatAreTooManyAreNotNamed(t *testing.T) {
	const limit = 5
	s := New([16]byte{1})
	for i := range uint64(2 * limit) {
		s.garbage = append(s.garbage, Garbage{Key: SegmentKey(JobID(i+1), 0)}) // of no account
		id := ChunkID{Node: 1, Epoch: 1, Lane: 1, Seq: i + 1}
		s.garbage = append(s.garbage, Garbage{Key: id.Key(), chunk: id})
		there := int(i) + 1
		got := s.there(limit)
		if wanted := there > limit; got.All != wanted || !wanted && len(got.Chunks) != there || wanted && len(got.Chunks) != 0 {
			t.Errorf("%d are there: %d names, too many: %v", there, len(got.Chunks), got.All)
		}
	}
}
