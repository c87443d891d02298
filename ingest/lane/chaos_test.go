package lane_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/lane/lanetest"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// TestIdempotentProducersSurviveEverything lets producers repeat what failed while submissions are lost, answers are lost, the disk
// fails, the store fails and other incarnations register: each record is there once, in order, and was acknowledged
// with its own offset.
func TestIdempotentProducersSurviveEverything(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { idempotentProducersSurvive(t, seed) })
	}
}

func idempotentProducersSurvive(t *testing.T, seed uint64) {
	config := unlimited
	config.UploadTimeout, config.SubmitTimeout, config.DrainTimeout = 20*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond
	config.VerdictTimeout = 10 * time.Millisecond
	w := newWorld(t, config)
	local := w.cluster.CreateTopic(t, "a", "local", 4)
	object := w.cluster.CreateTopic(t, "b", "object", 4)
	var chance struct {
		sync.Mutex
		*rand.Rand
	}
	chance.Rand = rand.New(rand.NewPCG(seed, 1))
	happens := func(percent int) bool {
		chance.Lock()
		defer chance.Unlock()
		return chance.IntN(100) < percent
	}
	w.cluster.OnSubmit(func(int, []*metapb.Command) (bool, error) {
		if happens(2) {
			if _, err := w.cluster.Renew(t.Context()); err != nil {
				t.Error(err)
			}
		}
		switch {
		case happens(15):
			return true, errors.New("answer lost")
		case happens(15):
			return false, errors.New("submission lost")
		case happens(3):
			return false, nil // a leader that is deposed before its entry counts
		}
		return true, nil
	})
	w.disk.SetDecide(func(c vfs.Call) *vfs.Fault {
		if c.Op == vfs.OpSyncData && happens(3) {
			return &vfs.Fault{Err: syscall.EIO}
		}
		if c.Op == vfs.OpWrite && happens(3) {
			return &vfs.Fault{Err: syscall.ENOSPC}
		}
		return nil
	})
	w.bucket.SetRules(faulty.Rule{Ops: faulty.PutIfAbsent, Chance: 0.1, Fail: true}, faulty.Rule{Ops: faulty.PutIfAbsent, Chance: 0.1, FailAfter: true})

	const records = 60
	var producers sync.WaitGroup
	for i := range 8 {
		topic, durability := local, metapb.Durability_DURABILITY_LOCAL
		if i >= 4 {
			topic, durability = object, metapb.Durability_DURABILITY_OBJECT
		}
		id := w.cluster.Propose(&metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}).ProducerID
		producers.Go(func() {
			for n := range int32(records) {
				data, header := lanetest.RecordBatch(t, &recordbatch.Producer{ID: id, BaseSequence: n}, 1000, fmt.Sprint(n))
				batch := lane.Batch{Topic: topic, Partition: int32(i % 4), Durability: durability, Header: header, Data: data}
				offset, ok := produceUntilCommitted(t, w, batch)
				if !ok {
					return
				}
				if offset != int64(n) {
					t.Errorf("producer %d: record %d was acknowledged at %d", i, n, offset)
				}
			}
		})
	}
	producers.Wait()
	w.disk.SetDecide(nil)
	w.bucket.SetRules()
	w.cluster.OnSubmit(nil)
	for p := range int32(4) {
		for _, topic := range []meta.TopicID{local, object} {
			values := w.values(topic, p)
			if len(values) != records {
				t.Errorf("topic %s partition %d: %d records", topic, p, len(values))
			}
			for i, value := range values {
				if value != fmt.Sprint(i) {
					t.Fatalf("topic %s partition %d: record %d is %s", topic, p, i, value)
				}
			}
		}
	}
}

// produceUntilCommitted repeats a batch as a producer does.
func produceUntilCommitted(t *testing.T, w *world, batch lane.Batch) (offset int64, ok bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		p, err := w.set.Append(t.Context(), lane.Request{Batches: []lane.Batch{batch}})
		if err != nil {
			t.Error(err)
			return 0, false
		}
		r := p.Wait(t.Context(), 200*time.Millisecond)[0]
		p.Free()
		switch {
		case r.Failure != lane.NoFailure:
		case r.Code == meta.OK || r.Code == meta.DuplicateSequence:
			return r.BaseOffset, true
		default:
			t.Errorf("%+v", r)
			return 0, false
		}
	}
	t.Error("not committed in time")
	return 0, false
}
