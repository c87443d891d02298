package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/tiering/segment"
)

var (
	orders   = []byte("orders----------")
	payments = []byte("payments--------")
)

// fixture is a job over containers held in memory.
type fixture struct {
	job        *metapb.Job
	containers map[uint64][]byte
	finished   []*metapb.FinishJob
	refusals   int // of results, before one is taken
	// Damaged places of runs that were left, and of runs that another place had.
	left, repaired int
	renewals       int
	renew          func(*metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) // nil: the lease is renewed
}

func newFixture() *fixture {
	return &fixture{
		job: &metapb.Job{Id: 9, Topics: []*metapb.JobTopic{
			{TopicId: orders, Name: "orders"}, {TopicId: payments, Name: "payments"},
		}},
		containers: map[uint64][]byte{},
	}
}

// add appends a run of batches (one record a batch, offsets unassigned as in a chunk) to the numbered container.
func (f *fixture) add(t *testing.T, container uint64, topic []byte, partition int32, base int64, records int) {
	t.Helper()
	var c *metapb.JobContainer
	for _, known := range f.job.Containers {
		if known.Container == container {
			c = known
		}
	}
	if c == nil {
		c = &metapb.JobContainer{Container: container, Segment: container, NodeAddress: "here"}
		f.job.Containers = append(f.job.Containers, c)
	}
	position := len(f.containers[container])
	for i := range records {
		b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
		b.Reset(0, 0)
		offset := base + int64(i)
		if err := b.Append(0, 1000+offset, fmt.Appendf(nil, "key %d", offset), fmt.Appendf(nil, "value %d", offset), nil); err != nil {
			t.Fatal(err)
		}
		data, _, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		f.containers[container] = append(f.containers[container], data...)
	}
	c.Runs = append(c.Runs, &metapb.JobRun{
		TopicId: topic, Partition: partition, BaseOffset: base, Records: uint32(records),
		Position: uint32(position), Length: uint32(len(f.containers[container]) - position),
	})
}

func (f *fixture) LeaseJob(context.Context, *metapb.JobLeaseRequest) (*metapb.JobLeaseResponse, error) {
	job := f.job
	f.job = nil
	return &metapb.JobLeaseResponse{Job: job}, nil
}

func (f *fixture) RenewJob(_ context.Context, r *metapb.JobRenewRequest) (*metapb.JobRenewResponse, error) {
	f.renewals++
	if f.renew == nil {
		return &metapb.JobRenewResponse{}, nil
	}
	return f.renew(r)
}

func (f *fixture) FinishJob(_ context.Context, r *metapb.JobFinishRequest) (*metapb.JobFinishResponse, error) {
	if f.refusals > 0 {
		f.refusals--
		return nil, errors.New("no leader")
	}
	f.finished = append(f.finished, r.Finish)
	return &metapb.JobFinishResponse{Accepted: !r.Finish.Failed}, nil
}

func (f *fixture) OpenHot(_ context.Context, c *metapb.JobContainer) (Container, error) {
	body, ok := f.containers[c.Segment]
	if !ok {
		return nil, errors.New("no such segment")
	}
	return hotSegments{f, c, body}, nil
}

// hotSegments is a hot segment, and its copy where the container has one.
type hotSegments struct {
	*fixture
	*metapb.JobContainer
	body []byte
}

func (h hotSegments) ReadRun(_ context.Context, p []byte, r *metapb.JobRun, accept func(Place, []byte) error) error {
	copy(p, h.body[r.Position:])
	err := accept(Place{Address: h.NodeAddress, Segment: h.Segment, Position: int64(r.Position)}, p)
	if body, ok := h.containers[h.CopySegment]; err != nil && ok {
		copy(p, body[r.CopyPosition:])
		return accept(Place{Address: h.CopyAddress, Segment: h.CopySegment, Position: int64(r.CopyPosition)}, p)
	}
	return err
}

func (hotSegments) Close() error { return nil }

func (f *fixture) Shipped(int, int64, int64, time.Duration) {}
func (f *fixture) ShipFailed()                              {}

func (f *fixture) ShipDamaged(left bool) {
	if left {
		f.left++
	} else {
		f.repaired++
	}
}

func (f *fixture) worker(t *testing.T, config Config, store objstore.Store) *Worker {
	t.Helper()
	w, err := New(config, f, f, store, nil, f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// readBack returns, for each partition, the records that the objects hold, in order.
func readBack(t *testing.T, store objstore.Store, finish *metapb.FinishJob) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, described := range finish.Objects {
		body, _, err := objstore.ReadAll(t.Context(), store, meta.SegmentKey(meta.JobID(described.JobId), described.Ordinal), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		object, err := segment.Open(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := object.Verify(); err != nil {
			t.Fatal(err)
		}
		if len(object.Parts) != len(described.Parts) || described.SizeBytes != uint64(len(body)) {
			t.Fatalf("object of %d bytes with %d parts described as %v", len(body), len(object.Parts), described)
		}
		for i := range object.Parts {
			p := &object.Parts[i]
			if p.BaseOffset != described.Parts[i].BaseOffset || p.Position != described.Parts[i].Position {
				t.Fatalf("part %+v described as %v", p, described.Parts[i])
			}
			place := fmt.Sprintf("%s-%d", p.Topic, p.Partition)
			for batch, err := range recordbatch.Batches(object.Batches(p)) {
				if err != nil {
					t.Fatal(err)
				}
				var scratch recordbatch.Scratch
				for record, err := range recordbatch.Records(batch.Bytes, &scratch) {
					if err != nil {
						t.Fatal(err)
					}
					found[place] = append(found[place], fmt.Sprintf("%d %d %s %s", record.Offset, record.Timestamp, record.Key, record.Value))
				}
			}
		}
	}
	return found
}

func expect(t *testing.T, got []string, from, to int64) {
	t.Helper()
	if len(got) != int(to-from) {
		t.Fatalf("%d records, want %d", len(got), to-from)
	}
	for i, record := range got {
		offset := from + int64(i)
		if want := fmt.Sprintf("%d %d key %d value %d", offset, 1000+offset, offset, offset); record != want {
			t.Fatalf("record %q, want %q", record, want)
		}
	}
}

func TestRunsOfSeveralContainersBecomeOnePart(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	f.add(t, 1, payments, 2, 40, 3)
	f.add(t, 2, orders, 0, 5, 5)
	f.add(t, 1, orders, 0, 10, 5)
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	finish := f.finished[0]
	if len(finish.Objects) != 1 || len(finish.Objects[0].Parts) != 2 {
		t.Fatalf("objects: %v", finish.Objects)
	}
	if p := finish.Objects[0].Parts[0]; p.BaseOffset != 0 || p.NextOffset != 15 || p.Records != 15 {
		t.Errorf("part %v", p)
	}
	found := readBack(t, store, finish)
	expect(t, found["orders-0"], 0, 15)
	expect(t, found["payments-2"], 40, 43)
}

func TestPartitionsFollowEachOtherWhateverTheirOffsets(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 5000, 5)
	f.add(t, 1, orders, 1, 0, 3)
	f.add(t, 1, payments, 0, 0, 2)
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	found := readBack(t, store, f.finished[0])
	expect(t, found["orders-0"], 5000, 5005)
	expect(t, found["orders-1"], 0, 3)
	expect(t, found["payments-0"], 0, 2)
}

func TestAGapInOffsetsEndsAPart(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	f.add(t, 1, orders, 0, 9, 2)
	store := mem.New("ship")
	if _, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	parts := f.finished[0].Objects[0].Parts
	if len(parts) != 2 || parts[0].NextOffset != 5 || parts[1].BaseOffset != 9 || parts[1].NextOffset != 11 {
		t.Errorf("parts %v", parts)
	}
}

func TestObjectsEndBetweenRuns(t *testing.T) {
	f := newFixture()
	for i := range int64(20) {
		f.add(t, 1, orders, 0, i*10, 10)
	}
	store := mem.New("ship")
	if _, err := f.worker(t, Config{ObjectBytes: 2048, Rebatch: recordbatch.RebatchOptions{TargetBytes: 512}}, store).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish := f.finished[0]
	if len(finish.Objects) < 2 {
		t.Fatalf("%d objects", len(finish.Objects))
	}
	expect(t, readBack(t, store, finish)["orders-0"], 0, 200)
}

func TestAFailedJobIsGivenBack(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	delete(f.containers, 1)
	if shipped, err := f.worker(t, Config{}, mem.New("ship")).Once(t.Context()); err == nil || shipped {
		t.Fatal("a job whose container is gone was shipped")
	}
	if len(f.finished) != 1 || !f.finished[0].Failed {
		t.Errorf("finished %v", f.finished)
	}
}

// addCopy gives a container a second place, in which its bytes stand further on.
func (f *fixture) addCopy(container, segment uint64) {
	const ahead = 100
	f.containers[segment] = append(make([]byte, ahead), f.containers[container]...)
	for _, c := range f.job.Containers {
		if c.Container == container {
			c.CopySegment, c.CopyAddress = segment, "there"
			for _, r := range c.Runs {
				r.CopyPosition = r.Position + ahead
			}
		}
	}
}

// harmless are the bits of a batch that do not matter in a hot log, where offsets and leader epoch are not given yet: base offset and leader epoch.
func harmless(f *fixture, position int) bool {
	for at := 0; ; {
		h, err := recordbatch.ParseHeader(f.containers[1][at:])
		if err != nil {
			panic(err)
		}
		if position < at+h.SizeBytes() {
			within := position - at
			return within < 8 || within >= 12 && within < 16
		}
		at += h.SizeBytes()
	}
}

// Every bit that flips is noticed, and the other copy shipped; where there is none, its run alone is left.
func TestAFlippedBitIsNeverShipped(t *testing.T) {
	for _, copied := range []bool{false, true} {
		for range 60 {
			f := newFixture()
			f.add(t, 1, orders, 0, 0, 4)
			f.add(t, 1, orders, 1, 0, 4)
			f.add(t, 1, payments, 0, 0, 4)
			if copied {
				f.addCopy(1, 2)
			}
			at, bit := rand.IntN(len(f.containers[1])), rand.IntN(8)
			ignored := harmless(f, at)
			f.containers[1][at] ^= 1 << bit
			store := mem.New("ship")
			if shipped, err := f.worker(t, Config{ObjectBytes: 64 << 10}, store).Once(t.Context()); err != nil || !shipped {
				t.Fatalf("bit %d of byte %d: shipped %v: %v", bit, at, shipped, err)
			}
			finish := f.finished[0]
			found := readBack(t, store, finish)
			if copied || ignored {
				if finish.Failed || f.left != 0 || !ignored && f.repaired != 1 {
					t.Fatalf("bit %d of byte %d: failed %v, %d left, %d taken from the copy", bit, at, finish.Failed, f.left, f.repaired)
				}
				for _, partition := range []string{"orders-0", "orders-1", "payments-0"} {
					expect(t, found[partition], 0, 4)
				}
				continue
			}
			if !finish.Failed || f.left != 1 || len(found) != 2 {
				t.Fatalf("bit %d of byte %d: failed %v, %d left, shipped %v", bit, at, finish.Failed, f.left, found)
			}
			for _, records := range found {
				expect(t, records, 0, 4)
			}
		}
	}
}

func TestARunThatIsDamagedInBothPlacesKeepsNoOther(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 3)
	f.add(t, 1, orders, 1, 0, 3)
	f.addCopy(1, 2)
	f.containers[1][70] ^= 1
	f.containers[2][100+71] ^= 4
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	if !f.finished[0].Failed || f.left != 2 || f.repaired != 0 {
		t.Errorf("failed %v, %d places left, %d repaired", f.finished[0].Failed, f.left, f.repaired)
	}
	expect(t, readBack(t, store, f.finished[0])["orders-1"], 0, 3)
}

// lostAnswer stores the first object and then says that it failed.
type lostAnswer struct {
	objstore.Store
	lost bool
}

func (s *lostAnswer) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	version, err := s.Store.PutIfAbsent(ctx, key, body)
	if err == nil && !s.lost {
		s.lost = true
		return "", errors.New("connection reset")
	}
	return version, err
}

func TestAPutWhoseAnswerWasLostIsRecognised(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	store := &lostAnswer{Store: mem.New("ship")}
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	expect(t, readBack(t, store, f.finished[0])["orders-0"], 0, 5)
}

// roomy notes how much memory the objects took that it was given.
type roomy struct {
	objstore.Store
	roomBytes []int
}

func (s *roomy) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	s.roomBytes = append(s.roomBytes, cap(body))
	return s.Store.PutIfAbsent(ctx, key, body)
}

// Every object took the memory of the largest there may be, 64 MiB, whatever was in it.
func TestAnObjectTakesTheMemoryOfWhatItHolds(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 50)
	store := &roomy{Store: mem.New("ship")}
	w := f.worker(t, Config{}, store)
	if shipped, err := w.Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	if len(store.roomBytes) != 1 || store.roomBytes[0] > 256<<10 {
		t.Errorf("objects of %d bytes took %v", f.finished[0].Objects[0].SizeBytes, store.roomBytes)
	}
	if w.ratio <= 0 || w.ratio >= 1 {
		t.Errorf("the ratio of objects to runs is %v", w.ratio)
	}
}

func TestAForeignObjectUnderTheKeyFailsTheJob(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	store := mem.New("ship")
	if _, err := store.Put(t.Context(), meta.SegmentKey(9, 0), []byte("foreign")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.worker(t, Config{}, store).Once(t.Context()); !errors.Is(err, objstore.ErrExists) && err == nil {
		t.Errorf("got %v", err)
	}
	if len(f.finished) != 1 || !f.finished[0].Failed {
		t.Errorf("finished %v", f.finished)
	}
}

func TestAResultIsToldUntilALeaderTakesIt(t *testing.T) {
	f := newFixture()
	f.refusals = 3
	f.add(t, 1, orders, 0, 0, 10)
	shipped, err := f.worker(t, Config{Poll: time.Millisecond}, mem.New("ship")).Once(t.Context())
	if err != nil || !shipped || len(f.finished) != 1 || f.finished[0].Failed {
		t.Fatalf("shipped %v, finished %v: %v", shipped, f.finished, err)
	}
}

func TestAResultIsGivenUpWithTheLease(t *testing.T) {
	f := newFixture()
	f.refusals = math.MaxInt
	f.add(t, 1, orders, 0, 0, 10)
	shipped, err := f.worker(t, Config{Poll: time.Millisecond, Lease: 50 * time.Millisecond}, mem.New("ship")).Once(t.Context())
	if err == nil || shipped {
		t.Fatalf("shipped %v: %v", shipped, err)
	}
}

// Jobs hold many containers. One that is missing failed them all, and since all of them then waited equally long, they met again in
// the next job: nothing of them was ever shipped, and the disk filled.
func TestAMissingContainerKeepsNoOther(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	f.add(t, 2, orders, 0, 5, 5)
	f.add(t, 3, orders, 0, 10, 5)
	delete(f.containers, 2)
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	finish := f.finished[0]
	if len(f.finished) != 1 || !finish.Failed || len(finish.Objects) != 1 || len(finish.Objects[0].Parts) != 2 {
		t.Fatalf("finished %v", f.finished)
	}
	found := readBack(t, store, finish)
	expect(t, found["orders-0"][:5], 0, 5)
	expect(t, found["orders-0"][5:], 10, 15)
}

func TestARunOfGarbageKeepsNoOther(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 5)
	f.add(t, 1, payments, 0, 0, 5)
	clear(f.containers[1][:20])
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	if finish := f.finished[0]; !finish.Failed {
		t.Errorf("finished %v", finish)
	}
	expect(t, readBack(t, store, f.finished[0])["payments-0"], 0, 5)
}

// A marker has no bytes anywhere; in the object stands its control batch, in the part of the run before it.
func TestMarkersBecomeControlBatches(t *testing.T) {
	f := newFixture()
	f.add(t, 1, orders, 0, 0, 3)
	f.add(t, 1, orders, 0, 4, 2)
	f.job.Containers[0].Runs = append(f.job.Containers[0].Runs, &metapb.JobRun{
		TopicId: orders, BaseOffset: 3, Records: 1, Marker: &metapb.JobMarker{ProducerId: 7, ProducerEpoch: 2, CoordinatorEpoch: 4, Commit: true, TimestampMillis: 5_000_000},
	})
	store := mem.New("ship")
	if shipped, err := f.worker(t, Config{}, store).Once(t.Context()); err != nil || !shipped {
		t.Fatal(shipped, err)
	}
	described := f.finished[0].Objects[0]
	if len(described.Parts) != 1 || described.Parts[0].NextOffset != 6 || described.Parts[0].MaxTimestamp != 1005 {
		t.Fatalf("parts %v", described.Parts)
	}
	body, _, err := objstore.ReadAll(t.Context(), store, meta.SegmentKey(meta.JobID(described.JobId), described.Ordinal), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	object, err := segment.Open(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := object.Verify(); err != nil {
		t.Fatal(err)
	}
	var control []recordbatch.Header
	for batch, err := range recordbatch.Batches(object.Batches(&object.Parts[0])) {
		if err != nil {
			t.Fatal(err)
		}
		if batch.IsControl() {
			control = append(control, batch.Header)
		}
	}
	if len(control) != 1 || control[0].BaseOffset != 3 || control[0].ProducerID != 7 || control[0].ProducerEpoch != 2 {
		t.Errorf("control batches %+v", control)
	}
}
