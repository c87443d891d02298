package lane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
	"github.com/varvelog/varve/ingest/recordbatch"
)

func readFull(r io.ReadCloser, buf []byte) (int, error) {
	n, err := io.ReadFull(r, buf)
	return n, errors.Join(err, r.Close())
}

func TestBatchesOfManyPartitionsAreCommittedInOrder(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 3)
	other := w.cluster.CreateTopic(t, "b", "local", 1)

	w.mustCommit([]int64{0, 0, 0, 2, 1},
		w.local(topic, 2, "p2-0"), w.local(other, 0, "o-0"), w.local(topic, 0, "p0-0", "p0-1"), w.local(topic, 0, "p0-2"), w.local(topic, 2, "p2-1"))
	w.mustCommit([]int64{3}, w.local(topic, 0, "p0-3"))

	if got := w.values(topic, 0); !slices.Equal(got, []string{"p0-0", "p0-1", "p0-2", "p0-3"}) {
		t.Errorf("partition 0: %q", got)
	}
	if got := w.values(topic, 2); !slices.Equal(got, []string{"p2-0", "p2-1"}) {
		t.Errorf("partition 2: %q", got)
	}
	if got := w.values(other, 0); !slices.Equal(got, []string{"o-0"}) {
		t.Errorf("other topic: %q", got)
	}
}

func TestEmptyRequestIsAnswered(t *testing.T) {
	w := newWorld(t, lane.Config{})
	if results := w.results(w.append()); len(results) != 0 {
		t.Errorf("results: %v", results)
	}
}

func TestPipelinedRequestsOfAConnectionKeepTheirOrder(t *testing.T) {
	w := newWorld(t, lane.Config{ChunkBytes: 500, UncommittedChunks: 4})
	topic := w.cluster.CreateTopic(t, "a", "local", 8)
	const connections, requests = 8, 50
	var group sync.WaitGroup
	for c := range connections {
		group.Go(func() {
			var pendings []*lane.Pending
			for i := range requests {
				p, err := w.set.Append(t.Context(), lane.Request{Batches: []lane.Batch{w.local(topic, int32(c), fmt.Sprint(i))}})
				if err != nil {
					t.Error(err)
					return
				}
				pendings = append(pendings, p)
			}
			for i, p := range pendings {
				if r := p.Wait(t.Context(), patience)[0]; r.Failure != lane.NoFailure || r.BaseOffset != int64(i) {
					t.Errorf("connection %d, request %d: %+v", c, i, r)
				}
				p.Free()
			}
		})
	}
	group.Wait()
	for c := range connections {
		for i, value := range w.values(topic, int32(c)) {
			if value != fmt.Sprint(i) {
				t.Fatalf("partition %d: record %d is %q", c, i, value)
			}
		}
	}
}

func TestIdempotentBatchesAreJudgedOneByOne(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	producer := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}).ProducerID
	batch := func(sequence int32) lane.Batch {
		data, header := lanetest.RecordBatch(t, &recordbatch.Producer{ID: producer, BaseSequence: sequence}, 1000, "x", "y")
		return lane.Batch{Topic: topic, Durability: metapb.Durability_DURABILITY_LOCAL, Header: header, Data: data}
	}
	results := w.results(w.append(batch(0), batch(2), batch(2), batch(100), batch(4)))
	want := []struct {
		code   meta.Code
		offset int64
	}{{meta.OK, 0}, {meta.OK, 2}, {meta.DuplicateSequence, 2}, {meta.OutOfOrderSequence, -1}, {meta.OK, 4}}
	for i, r := range results {
		if r.Failure != lane.NoFailure || r.Code != want[i].code || r.BaseOffset != want[i].offset {
			t.Errorf("batch %d: %+v, want %v", i, r, want[i])
		}
	}
}

func TestUnknownPartitionIsRefusedAlone(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 2)
	results := w.results(w.append(w.local(topic, 7, "x"), w.local(topic, 0, "y"), w.local(topic, -1, "z"),
		w.batch(topic, 1, metapb.Durability_DURABILITY_REPLICATED, "r")))
	if results[0].Code != meta.UnknownTopic || results[1].Code != meta.OK || results[1].BaseOffset != 0 {
		t.Errorf("results: %+v", results)
	}
	if results[2].Failure != lane.UnknownPartition || results[3].Failure != lane.NotEnoughReplicas {
		t.Errorf("results: %+v", results)
	}
}

func TestGroupCommitWritesWhatGatheredWithOneSync(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 4)
	w.mustCommit([]int64{0}, w.local(topic, 0, "first"))
	syncing := newGate()
	w.disk.SetDecide(func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpSyncData {
			syncing.pass()
		}
		return nil
	})
	before := w.events.groups.Load()
	pendings := []*lane.Pending{w.append(w.local(topic, 0, "alone"))}
	<-syncing.entered
	for i := range 100 {
		pendings = append(pendings, w.append(w.local(topic, int32(i%4), "together")))
	}
	syncing.release()
	for _, p := range pendings {
		if r := w.results(p)[0]; r.Failure != lane.NoFailure {
			t.Fatalf("%+v", r)
		}
	}
	if groups := w.events.groups.Load() - before; groups != 2 {
		t.Errorf("%d writes, want 2", groups)
	}
}

func TestFlushedChunksShareASubmission(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	submitting := newGate()
	var sizes []int
	w.cluster.OnSubmit(func(_ int, commands []*metapb.Command) (bool, error) {
		sizes = append(sizes, len(commands)) // one submission at a time
		submitting.pass()
		return true, nil
	})
	var pendings []*lane.Pending
	for i := range 5 {
		pendings = append(pendings, w.append(w.local(topic, 0, fmt.Sprint(i))))
		flushed := int64(i + 1)
		w.await("flush", func() bool { return w.events.flushed.Load() == flushed })
		if i == 0 {
			<-submitting.entered
		}
	}
	submitting.release()
	for i, p := range pendings {
		w.expect(p, int64(i))
	}
	if !slices.Equal(sizes, []int{1, 4}) {
		t.Errorf("commands in submissions: %v", sizes)
	}
}

func TestLostAnswersAndFailedSubmissionsAreSettled(t *testing.T) {
	w := newWorld(t, lane.Config{SubmitTimeout: time.Second})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	broken := errors.New("connection lost")
	w.cluster.OnSubmit(func(attempt int, _ []*metapb.Command) (bool, error) {
		switch attempt % 4 {
		case 0:
			return true, nil
		case 1:
			return true, broken // in the log, and the answer is lost
		default:
			return false, broken
		}
	})
	for i := range 20 {
		w.mustCommit([]int64{int64(i)}, w.local(topic, 0, fmt.Sprint(i)))
	}
	if got := w.values(topic, 0); len(got) != 20 {
		t.Errorf("%d records: %q", len(got), got)
	}
	if w.events.epochs.Load() != 1 {
		t.Errorf("%d epochs", w.events.epochs.Load())
	}
}

func TestSubmissionThatHangsEndsWithItsVerdicts(t *testing.T) {
	hanging := &hangingReplica{hang: make(chan struct{}, 1)}
	hanging.hang <- struct{}{}
	w := newWorldThrough(t, lane.Config{SubmitTimeout: time.Hour}, func(c *lanetest.Cluster) lane.Replica {
		hanging.Cluster = c
		return hanging
	})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.mustCommit([]int64{0}, w.local(topic, 0, "x"))
	w.mustCommit([]int64{1}, w.local(topic, 0, "y"))
}

// hangingReplica applies what it is given and, once, never answers.
type hangingReplica struct {
	*lanetest.Cluster
	hang chan struct{}
}

func (h *hangingReplica) SubmitChunks(ctx context.Context, commands []*metapb.Command) error {
	if err := h.Cluster.SubmitChunks(ctx, commands); err != nil {
		return err
	}
	select {
	case <-h.hang:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

func TestVerdictThatStaysAwayIsAskedForAgain(t *testing.T) {
	w := newWorld(t, lane.Config{VerdictTimeout: 5 * time.Millisecond})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.cluster.OnSubmit(func(attempt int, _ []*metapb.Command) (bool, error) { return attempt > 2, nil })
	w.mustCommit([]int64{0}, w.local(topic, 0, "x"))
}

func TestDeadlineAnswersWhileTheLaneGoesOnSettling(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	submitting := newGate()
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
		submitting.pass()
		return true, nil
	})
	held := &memory{}
	p, err := w.set.Append(t.Context(), lane.Request{Batches: []lane.Batch{w.local(topic, 0, "x")}, Memory: held})
	if err != nil {
		t.Fatal(err)
	}
	<-submitting.entered
	if r := p.Wait(t.Context(), time.Millisecond)[0]; r.Failure != lane.TimedOut {
		t.Errorf("%+v", r)
	}
	p.Free()
	if held.released.Load() != 0 {
		t.Error("memory was released while the lane had it")
	}
	submitting.release()
	w.await("verdict", func() bool { return w.nextOffset(topic, 0) == 1 })
	w.await("release of memory", func() bool { return held.released.Load() == 1 })
}

func TestBudgetHoldsBackAppend(t *testing.T) {
	w := newWorld(t, lane.Config{BudgetBytes: 200})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	submitting := newGate()
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
		submitting.pass()
		return true, nil
	})
	first := w.append(w.local(topic, 0, "x"), w.local(topic, 0, "y")) // 2 x 70 bytes
	<-submitting.entered
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := w.set.Append(ctx, lane.Request{Batches: []lane.Batch{w.local(topic, 0, "z")}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("append above the budget: %v", err)
	}
	submitting.release()
	w.expect(first, 0, 1)
	w.mustCommit([]int64{2}, w.local(topic, 0, strings.Repeat("larger than the budget", 50)))
}

func TestCloseAnswersEverything(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) { return false, errors.New("no leader") })
	p := w.append(w.local(topic, 0, "x"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.set.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	w.expectFailure(p, lane.Closed)
	if _, err := w.set.Append(t.Context(), lane.Request{}); !errors.Is(err, lane.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestCloseLetsVerdictsCome(t *testing.T) {
	w := newWorld(t, lane.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	p := w.append(w.local(topic, 0, "x"))
	if err := w.set.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.expect(p, 0)
}
