package fetch_test

import (
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
)

// movingLog moves the log start on while the look-up reads.
type movingLog struct {
	*brokenLog
	once sync.Once
	move func()
}

func (l *movingLog) ReadAt(segment uint64, position uint32, buf []byte) error {
	err := l.brokenLog.ReadAt(segment, position, buf)
	l.once.Do(l.move)
	return err
}

func TestTheLogStartMovesOnWhileTheHighestIsLookedFor(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	tp := partition(topic, 0)
	b := func(millis int64, values ...string) batchOf { return batchOf{tp: tp, millis: millis, values: values} }
	w.produceAll(b(5000, "0"), b(3000, "1", "2"))
	w.produceAll(b(2000, "3"))
	start := func(offset int64) {
		w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: topic[:], Offset: offset}}})
	}
	start(1)
	log := &movingLog{brokenLog: w.hot, move: func() { start(3) }}
	r, err := fetch.New(fetch.Config{}, fetch.Dependencies{
		Replica: w.cluster, Log: log, DiskID: w.cluster.DiskID, Objects: w.cache, Index: startOfPart{w.cache}, Damaged: func(fetch.Damage) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := r.OffsetOfMaxTimestamp(t.Context(), tp)
	if err != nil || !found || got.Offset != 3 {
		t.Errorf("%+v %v %v, want offset 3 at 2000", got, found, err)
	}
}
