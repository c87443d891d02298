package fetch_test

import (
	"fmt"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// The state knows the highest timestamp of an extent, which may lie below a log start that has cut into it, while others of the extent lie above.
func TestTheHighestTimestampAboveALogStartWithinAnExtent(t *testing.T) {
	w := func(millis int64, values ...string) batchOf { return batchOf{millis: millis, values: values} }
	tests := []struct {
		name     string
		extents  [][]batchOf // each one chunk, and so one extent
		logStart int64
		want     fetch.TimedOffset // of offset -1 for none
	}{
		{"of the rest of the extent", [][]batchOf{{w(5000, "0"), w(3000, "1", "2")}, {w(2000, "3")}}, 1, fetch.TimedOffset{Offset: 2, Timestamp: 3001}},
		{"of another extent", [][]batchOf{{w(5000, "0"), w(3000, "1", "2")}, {w(4000, "3", "4")}, {w(4001, "5")}}, 1, fetch.TimedOffset{Offset: 4, Timestamp: 4001}},
		{"of both: the first", [][]batchOf{{w(5000, "0"), w(3000, "1", "2")}, {w(3001, "3")}}, 1, fetch.TimedOffset{Offset: 2, Timestamp: 3001}},
		{"of two batches: the first", [][]batchOf{{w(5000, "0"), w(3000, "1"), w(2000, "2"), w(3000, "3")}}, 1, fetch.TimedOffset{Offset: 1, Timestamp: 3000}},
		{"in a batch that the log start has cut into", [][]batchOf{{w(5000, "0"), w(4000, "1", "2", "3"), w(100, "4")}}, 2, fetch.TimedOffset{Offset: 3, Timestamp: 4002}},
		{"behind a batch that the log start has cut into", [][]batchOf{{w(5000, "0"), w(100, "1"), w(200, "2")}}, 1, fetch.TimedOffset{Offset: 2, Timestamp: 200}},
	}
	for _, test := range tests {
		for _, shipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shipped=%v", test.name, shipped), func(t *testing.T) {
				w := newWorld(t, fetch.Config{})
				topic := w.cluster.CreateTopic(t, "a", "local", 1)
				tp := partition(topic, 0)
				for _, batches := range test.extents {
					for i := range batches {
						batches[i].tp = tp
					}
					w.produceAll(batches...)
				}
				if shipped {
					w.ship()
				}
				w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: topic[:], Offset: test.logStart}}})
				var cut bool
				w.cluster.View(func(st *meta.State) { _, cut = st.LocateCut(tp) })
				if !cut {
					t.Fatal("the log start has cut into no extent")
				}
				got, found, err := w.reader.OffsetOfMaxTimestamp(t.Context(), tp)
				if got.LeaderEpoch = 0; err != nil || !found || got != test.want {
					t.Errorf("%+v %v %v, want %+v", got, found, err, test.want)
				}
			})
		}
	}
}

// A batch that the log start has cut into claims the timestamp of a record that may lie below.
func TestTheHighestTimestampAboveALogStartWithinABatch(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	tp := partition(topic, 0)
	b := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	for i, millis := range []int64{5000, 1000, 3000, 2000, 3000} {
		if err := b.Append(int64(i), millis, nil, []byte("value"), nil); err != nil {
			t.Fatal(err)
		}
	}
	data, header, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.append(lane.Batch{Topic: topic, Durability: metapb.Durability_DURABILITY_LOCAL, Header: header, Data: data})
	for _, row := range []struct{ logStart, offset, millis int64 }{{0, 0, 5000}, {1, 2, 3000}, {3, 4, 3000}} {
		w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: topic[:], Offset: row.logStart}}})
		if got, found, err := w.reader.OffsetOfMaxTimestamp(t.Context(), tp); err != nil || !found || got.Offset != row.offset || got.Timestamp != row.millis {
			t.Errorf("log start %d: %+v %v %v, want %d at %d", row.logStart, got, found, err, row.millis, row.offset)
		}
	}
}

// Batches whose headers rule them out are not read: what is asked may be asked often, and an extent be large.
func TestTheHighestTimestampIsFoundByHeaders(t *testing.T) {
	w := newWorld(t, fetch.Config{})
	topic := w.cluster.CreateTopic(t, "a", "local", 1)
	tp := partition(topic, 0)
	batches := []batchOf{{tp, 1e6, []string{"the highest"}}}
	for i := range 300 {
		batches = append(batches, batchOf{tp, 1000 + int64(i), []string{"value"}})
	}
	w.produceAll(batches...)
	w.cluster.Apply(&metapb.Command{Kind: &metapb.Command_AdvanceLogStart{AdvanceLogStart: &metapb.AdvanceLogStart{TopicId: topic[:], Offset: 1}}})
	before := w.hot.reads.Load()
	if got, found, err := w.reader.OffsetOfMaxTimestamp(t.Context(), tp); err != nil || !found || got.Offset != 300 || got.Timestamp != 1299 {
		t.Errorf("%+v %v %v", got, found, err)
	}
	if reads := w.hot.reads.Load() - before; reads > 50 {
		t.Errorf("%d reads", reads)
	}
}
