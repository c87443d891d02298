package meta

import (
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

func adopted(base, next int64, job uint64) StoredPart {
	id := topicID("t")
	return StoredPart{Object: SegmentID{Job: JobID(job)}, SizeBytes: 100, CreatedMillis: 1000, Part: &metapb.Part{
		TopicId: id[:], BaseOffset: base, NextOffset: next, Length: uint64(next - base), Records: uint64(next - base), MaxTimestamp: -1, MinTimestamp: -1,
	}}
}

func recoveryOf(t *testing.T, s *State) *Recovery {
	t.Helper()
	r := NewRecovery(s, 1)
	if _, _, err := r.AdoptTopic(StoredTopic{ID: topicID("t"), Name: "t", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	return r
}

// Batches keep the leader epochs they were written with. With all metadata lost, the partition's has to be above them, or none could be read.
func TestAdoptedPartsBringTheirLeaderEpochs(t *testing.T) {
	r := recoveryOf(t, New(testLogID))
	first, second := adopted(0, 10, 1), adopted(10, 20, 2)
	first.Epochs = []PartEpoch{{2, 4}}
	second.Epochs = []PartEpoch{{2, 10}, {5, 15}}
	for _, p := range []StoredPart{first, second} {
		if a := r.AdoptPart(p); !a.Taken {
			t.Fatal(a.Reason)
		}
	}
	s, err := r.Finish(testLogID, r.Job(1))
	if err != nil {
		t.Fatal(err)
	}
	p := restored(t, s).Partition(TopicPartition{Topic: topicID("t")})
	if p.LeaderEpoch() != 1000 {
		t.Errorf("leader epoch %d", p.LeaderEpoch())
	}
	for offset, want := range map[int64]int32{3: 0, 4: 2, 14: 2, 15: 5, 19: 5, 20: 1000} {
		if got := p.EpochAt(offset); got != want {
			t.Errorf("offset %d is of epoch %d, want %d", offset, got, want)
		}
	}
}

// A part takes the place of others only where they are, together, the same offsets.
func TestAPartTakesThePlaceOfWhatItWasMadeOf(t *testing.T) {
	for _, test := range []struct {
		name   string
		gone   []uint64 // jobs whose objects are not there any more
		part   StoredPart
		taken  bool
		added  int64
		regain int64
		parts  int
	}{
		{"a part in the middle of another", nil, adopted(2, 8, 9), false, 0, 0, 3},
		{"of all", nil, adopted(0, 30, 9), true, 0, 0, 1},
		{"of two", nil, adopted(10, 30, 9), true, 0, 0, 2},
		{"of one and what is behind the end", nil, adopted(20, 40, 9), true, 10, 0, 3},
		{"of half of one", nil, adopted(15, 30, 9), false, 0, 0, 3},
		{"of what is lost", []uint64{2}, adopted(10, 20, 9), true, 0, 10, 3},
		{"of half of what is lost", []uint64{2}, adopted(10, 15, 9), true, 0, 5, 3},
		{"of what is lost and more", []uint64{1, 3}, adopted(0, 30, 9), true, 0, 20, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := recoveryOf(t, New(testLogID))
			for job := range uint64(3) {
				r.AdoptPart(adopted(int64(10*job), int64(10*job+10), job+1))
			}
			gone := map[SegmentID]bool{}
			for _, job := range test.gone {
				gone[SegmentID{Job: JobID(job)}] = true
			}
			r.DropObjects(gone)
			fits := r.Fits(test.part.Part)
			a := r.AdoptPart(test.part)
			if a.Taken != test.taken || a.New != test.added || a.Regained != test.regain {
				t.Errorf("adoption %+v", a)
			}
			if (fits == "") != (a.Reason == "") {
				t.Errorf("it fits %q, and is refused for %q", fits, a.Reason)
			}
			p := r.State().Partition(TopicPartition{Topic: topicID("t")})
			if len(p.parts) != test.parts {
				t.Errorf("%d parts", len(p.parts))
			}
			r.DeclareLost()
			s, err := r.Finish(testLogID, r.Job(1))
			if err != nil {
				t.Fatal(err)
			}
			if err := restored(t, s).invariants(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What began in a rescued part may have ended in one that is there.
func TestRescuedPartsTellOnlyOfTheirOwnTransactions(t *testing.T) {
	r := recoveryOf(t, New(testLogID))
	for job := range uint64(4) {
		r.AdoptPart(adopted(int64(10*job), int64(10*job+10), job+1))
	}
	r.DropObjects(map[SegmentID]bool{{Job: 1}: true, {Job: 3}: true, {Job: 4}: true})
	r.SealAll()
	data := func(offset int64) PartEvent {
		return PartEvent{Offset: offset, Records: 1, ProducerID: 7, BaseSequence: -1, Transactional: true}
	}
	marker := PartEvent{Offset: 35, Records: 1, ProducerID: 7, BaseSequence: -1, Transactional: true, Marker: true}
	first, third, fourth := adopted(0, 10, 11), adopted(20, 30, 12), adopted(30, 40, 13)
	first.Events, third.Events, fourth.Events = []PartEvent{data(5)}, []PartEvent{data(28)}, []PartEvent{data(31), marker}
	for _, p := range []StoredPart{first, third, fourth} {
		if !r.Rescues(p.Part) || !r.AdoptPart(p).Taken {
			t.Fatalf("[%d, %d) is not rescued", p.Part.BaseOffset, p.Part.NextOffset)
		}
	}
	aborted := r.State().Partition(TopicPartition{Topic: topicID("t")}).AbortedTransactions(nil, 0, 40)
	if len(aborted) != 1 || aborted[0].FirstOffset != 28 || aborted[0].LastOffset != 35 {
		t.Errorf("aborted: %+v", aborted)
	}
}

// A log's jobs and leader epochs are of one range, whatever is found while its state is made: which log a part is of is told by both.
func TestJobsAndEpochsAreOfOneLog(t *testing.T) {
	r := recoveryOf(t, New(testLogID))
	job := r.Job(7)
	r.noteProducer(3*recoveryProducers + 1) // of a chunk
	s, err := r.Finish([16]byte{9}, job)
	if err != nil {
		t.Fatal(err)
	}
	if jobs, epochs := LogOfJob(s.nextJob), LogOfEpoch(s.Partition(TopicPartition{topicID("t"), 0}).LeaderEpoch()); jobs != 4 || epochs != 4 || s.nextJob <= job {
		t.Errorf("jobs are of log %d, epochs of %d; job %d comes behind %d", jobs, epochs, s.nextJob, job)
	}
}
