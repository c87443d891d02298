package recovery

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	"github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/recordbatch"
	"github.com/varvelog/varve/services/verify"
)

var histories = flag.Int("histories", 150, "how many random histories to recover from")

// mustRecover recovers store and returns the report.
func mustRecover(t *testing.T, store objstore.Store) *Report {
	t.Helper()
	plan, err := Prepare(t.Context(), Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	if err := plan.Execute(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &plan.Report
}

// reopen is the state that a coordinator would find.
func reopen(t *testing.T, store objstore.Store) (*identity.Cluster, *meta.State) {
	t.Helper()
	cluster, r := openArchived(t, store)
	defer r.Close()
	var state *meta.State
	r.View(func(s *meta.State) { state = s })
	return cluster, state
}

// openArchived opens what the bucket has of its log. The caller must Close it.
func openArchived(t *testing.T, store objstore.Store) (*identity.Cluster, *replica.Replica) {
	t.Helper()
	cluster, err := identity.Load(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	r, err := replica.OpenArchived(t.Context(), replica.Config{LogID: cluster.LogID, Store: cluster.Metadata(store)})
	if err != nil {
		t.Fatal(err)
	}
	return cluster, r
}

// readBack reads every record that a state refers to.
func readBack(t *testing.T, store objstore.Store, s *meta.State) map[spot]string {
	t.Helper()
	records := map[spot]string{}
	for _, topic := range s.Topics() {
		for i := range topic.Partitions() {
			p := topic.Partition(int32(i))
			tp := meta.TopicPartition{Topic: topic.ID, Partition: int32(i)}
			s.Extents(p, func(l meta.Location) bool {
				if l.Tier == meta.TierMarker || l.Tier == meta.TierGap {
					return true
				}
				data := make([]byte, l.Length)
				if _, _, err := objstore.ReadRange(t.Context(), store, l.Key(), int64(l.Position), data); err != nil {
					t.Fatalf("%s [%d, %d): %v", tp, l.BaseOffset, l.NextOffset, err)
				}
				if l.Tier == meta.TierChunk {
					if _, err := recordbatch.AssignOffsets(data, l.BaseOffset, 0); err != nil {
						t.Fatal(err)
					}
				}
				readBatches(t, data, func(offset int64, value string) {
					if offset >= p.LogStartOffset() && offset >= l.BaseOffset && offset < l.NextOffset {
						records[spot{tp, offset}] = value
					}
				})
				return true
			})
		}
	}
	return records
}

// countBack says how often each value can be read.
func countBack(t *testing.T, store objstore.Store, s *meta.State) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, value := range readBack(t, store, s) {
		count[value]++
	}
	return count
}

func readBatches(t *testing.T, data []byte, yield func(offset int64, value string)) {
	t.Helper()
	scratch := recordbatch.GetScratch(1 << 20)
	defer scratch.Put()
	for b, err := range recordbatch.Batches(data) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Header.IsControl() || b.Header.RecordCount == 0 {
			continue
		}
		for r, err := range recordbatch.Records(b.Bytes, scratch) {
			if err != nil {
				t.Fatal(err)
			}
			yield(b.Header.BaseOffset+int64(r.OffsetDelta), nameOf(&r))
		}
	}
}

// nameOf is the value of a record, or what would be that of a tombstone.
func nameOf(r *recordbatch.Record) string {
	if r.Value == nil {
		return fmt.Sprintf("value %d", r.Timestamp-1000)
	}
	return string(r.Value)
}

// Whatever a cluster has done, merging, compaction, deletion of records and topics included, and however far the bucket was behind when everything else was lost: every record that is in the bucket is
// there afterwards, once, at its offset wherever that can be known, and else in a leader epoch of its own; nothing is there that was not written; what is missing is in the report;
// and no record of an aborted transaction can be seen.
func TestRecoveryOfRandomHistories(t *testing.T) {
	for seed := range uint64(*histories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			w.busy = []int{0, 20, 60}[seed%3]
			w.skewMillis = []int64{0, 300}[seed/12%2]
			for range 40 + w.random.IntN(120) {
				w.step()
			}
			known := w.state
			switch seed / 3 % 4 {
			case 0:
				w.archive()
			case 1: // what is not archived is lost
				known = nil
			case 2: // so is everything else of the metadata
				known = nil
				loseMetadata(t, w.store)
			case 3:
				known = nil
				w.tear()
			}
			h := w.history(known)
			report, err := tryRecover(t, w.store)
			if errors.Is(err, ErrNothing) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cluster, state := reopen(t, w.store)
			if !cluster.Recovered() || cluster.LogID == w.cluster.LogID || cluster.ClusterID != w.cluster.ClusterID {
				t.Errorf("identity %+v", cluster)
			}
			h.compare(state, report)
			if t.Failed() {
				t.Logf("%+v", report)
			}
			if verified, err := verify.Run(t.Context(), verify.Config{Store: w.store}); err != nil || !verified.OK() {
				t.Errorf("verify: %v, %+v", err, verified.Findings)
			}
			before := state.Hash()
			if again := mustRecover(t, w.store); !again.Again || again.LostOffsets != report.LostOffsets {
				t.Errorf("again: %+v", again)
			}
			if _, state := reopen(t, w.store); state.Hash() == before {
				t.Error("a second recovery has the first one's log")
			}
		})
	}
}

func tryRecover(t *testing.T, store objstore.Store) (*Report, error) {
	plan, err := Prepare(t.Context(), Config{Store: store})
	if err != nil {
		return nil, err
	}
	defer plan.Close()
	return &plan.Report, plan.Execute(t.Context())
}

// loseMetadata deletes all metadata, that of recovered logs included.
func loseMetadata(t *testing.T, store objstore.Store) {
	t.Helper()
	for _, prefix := range []string{"meta/", "recovered/"} {
		for info, err := range store.List(t.Context(), prefix, "") {
			if err == nil {
				err = store.Delete(t.Context(), info.Key)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A recovery that is interrupted, at whatever call, leaves the bucket as it was or recovered, and the next one comes to its end.
func TestRecoveryCanBeInterruptedAnywhere(t *testing.T) {
	build := func() *world {
		w := newWorld(t, 7)
		for range 50 {
			w.step()
		}
		return w
	}
	w := build()
	counted := faulty.New(w.store, faulty.Config{})
	mustRecover(t, counted)
	calls := counted.Calls(faulty.Any)
	want := readBack(t, w.store, second(reopen(t, w.store)))
	died := errors.New("died")
	for _, after := range []bool{false, true} {
		for at := range calls {
			w := build()
			ctx, die := context.WithCancelCause(t.Context())
			store := faulty.New(w.store, faulty.Config{Rules: []faulty.Rule{{Skip: at, Fail: !after, FailAfter: after, Err: objstore.ErrAccess}}})
			plan, err := Prepare(ctx, Config{Store: store, Parallel: 1})
			if err == nil {
				err = errors.Join(plan.Execute(ctx), plan.Close())
			}
			die(died)
			cluster, loadErr := identity.Load(t.Context(), w.store)
			if loadErr != nil {
				t.Fatalf("died at call %d: %v", at, loadErr)
			}
			if !cluster.Recovered() {
				if err == nil {
					t.Fatalf("died at call %d of %d, and nobody has noticed", at, calls)
				}
				if cluster.LogID != w.cluster.LogID {
					t.Fatalf("died at call %d: the identity is neither the old nor a new one", at)
				}
				if _, err := replica.OpenArchived(t.Context(), replica.Config{LogID: cluster.LogID, Store: cluster.Metadata(w.store)}); err != nil {
					t.Fatalf("died at call %d: the former metadata is damaged: %v", at, err)
				}
			}
			mustRecover(t, w.store)
			if got := readBack(t, w.store, second(reopen(t, w.store))); !equalRecords(got, want) {
				t.Fatalf("died at call %d: %d records after the next recovery, want %d", at, len(got), len(want))
			}
		}
	}
	t.Logf("%d calls", calls)
}

func second(_ *identity.Cluster, s *meta.State) *meta.State { return s }

func equalRecords(x, y map[spot]string) bool {
	if len(x) != len(y) {
		return false
	}
	for at, value := range x {
		if y[at] != value {
			return false
		}
	}
	return true
}

func TestOneOfTwoRecoveriesWins(t *testing.T) {
	w := newWorld(t, 3)
	for range 50 {
		w.step()
	}
	var plans []*Plan
	for range 2 {
		plan, err := Prepare(t.Context(), Config{Store: w.store})
		if err != nil {
			t.Fatal(err)
		}
		defer plan.Close()
		plans = append(plans, plan)
	}
	if err := plans[0].Execute(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := plans[1].Execute(t.Context()); !errors.Is(err, identity.ErrReplaced) {
		t.Errorf("the second: %v, want ErrReplaced", err)
	}
	reopen(t, w.store)
}

func TestDamagedObjectsAreNamedAndLeftOut(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed)
		for range 80 {
			w.step()
		}
		loseMetadata(t, w.store)
		var damaged []string
		for info, err := range w.store.List(t.Context(), "segment/", "") {
			if err != nil {
				t.Fatal(err)
			}
			if w.random.IntN(4) > 0 {
				continue
			}
			body, _, err := objstore.ReadAll(t.Context(), w.store, info.Key, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			body = bytes.Clone(body)
			body[w.random.IntN(len(body))] ^= 1
			if _, err := w.store.Put(t.Context(), info.Key, body); err != nil {
				t.Fatal(err)
			}
			damaged = append(damaged, info.Key)
		}
		report, err := tryRecover(t, w.store)
		if errors.Is(err, ErrNothing) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, state := reopen(t, w.store)
		for _, value := range readBack(t, w.store, state) {
			if !strings.HasPrefix(value, "value ") {
				t.Errorf("seed %d: %q was never written", seed, value)
			}
		}
		for _, f := range report.Damaged {
			if !slices.Contains(damaged, f.Where) {
				t.Errorf("seed %d: %s is whole, and reported: %s", seed, f.Where, f.Why)
			}
		}
	}
}

func TestAnEmptyBucketIsNoCluster(t *testing.T) {
	if _, err := Prepare(t.Context(), Config{Store: mem.New("empty")}); !errors.Is(err, ErrNothing) {
		t.Errorf("error %v, want ErrNothing", err)
	}
}

func TestNewerVersionsAreRefusedByName(t *testing.T) {
	for _, test := range []struct {
		prefix   string
		identity bool // the cluster's is there
	}{{"segment/", false}, {"chunk/", false}, {"meta/archive/", true}, {"meta/archive/", false}, {"meta/snapshot/0", true}, {"meta/snapshot/0", false}} {
		prefix := test.prefix
		w := newWorld(t, 11)
		for range 60 {
			w.step()
		}
		w.snapshot()
		w.createTopic()
		w.archive()
		if prefix == "segment/" || prefix == "chunk/" {
			loseMetadata(t, w.store)
		}
		if !test.identity {
			if err := w.store.Delete(t.Context(), identity.Key); err != nil {
				t.Fatal(err)
			}
		}
		keys := w.keys(prefix)
		key := keys[len(keys)-1]
		body, _, err := objstore.ReadAll(t.Context(), w.store, key, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Put(t.Context(), key, ofNewerVersion(t, prefix, body)); err != nil {
			t.Fatal(err)
		}
		if _, err := tryRecover(t, w.store); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "version") {
			t.Errorf("%s of version 9, identity %v: %v", key, test.identity, err)
		}
	}
}
