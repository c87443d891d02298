package recovery

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
)

// ownLog is a log in a bucket, and its leader.
type ownLog struct {
	t       *testing.T
	cluster *identity.Cluster
	log     *bucket.Log
	seq     uint64
	hash    [32]byte
}

func newOwnLog(t *testing.T, store objstore.Store) *ownLog {
	t.Helper()
	cluster, err := identity.LoadOrCreate(t.Context(), store, identity.MetalogBucket)
	if err != nil {
		t.Fatal(err)
	}
	log, err := bucket.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	l := &ownLog{t: t, cluster: cluster, log: log}
	if err := l.append(&metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1, FeatureLevel: meta.FeatureLevel}}}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *ownLog) append(command *metapb.Command) error {
	l.t.Helper()
	e := &metapb.Entry{LogId: l.cluster.LogID[:], LeaderEpoch: 1, TimeMillis: int64(l.seq), Commands: []*metapb.Command{command}}
	if l.seq > 0 {
		e.PreviousHash = l.hash[:]
	}
	encoded, err := meta.EncodeEntry(e)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.log.Append(l.t.Context(), l.seq+1, encoded, metalog.Ordinary); err != nil {
		return err
	}
	l.seq, l.hash = l.seq+1, hashOf(encoded)
	return nil
}

func (l *ownLog) createTopic(name string) error {
	return l.append(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: name, TopicId: []byte(name), Partitions: 1}}})
}

const sixteen = "topic-of-16-byte"

// Whoever led the former log cannot append to it any more, and what it had appended behind what was read keeps the recovery from its end.
func TestTheFormerLogIsFenced(t *testing.T) {
	store := mem.New("bucket-x")
	l := newOwnLog(t, store)
	if err := l.createTopic(sixteen); err != nil {
		t.Fatal(err)
	}
	plan, err := Prepare(t.Context(), Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.createTopic("another-16-bytes"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(plan.Execute(t.Context()), plan.Close()); !errors.Is(err, ErrAlive) {
		t.Fatalf("the log went on while it was recovered: %v", err)
	}
	if cluster, err := identity.Load(t.Context(), store); err != nil || cluster.Recovered() {
		t.Fatalf("%+v, %v", cluster, err)
	}
	for range 3 { // a repetition begins from the former log again
		if report := mustRecover(t, store); report.Topics != 2 || report.Late != 0 {
			t.Fatalf("%+v", report)
		}
		if err := l.createTopic("a-third-16-bytes"); !errors.Is(err, metalog.ErrConflict) {
			t.Fatalf("the former leader appends: %v", err)
		}
		there, _, err := metalog.ReadOne(t.Context(), l.log, l.seq+1)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := meta.DecodeEntry(there); err != nil || e.LeaderEpoch <= 1 || string(e.PreviousHash) != string(l.hash[:]) {
			t.Fatalf("the entry behind its own: %+v, %v", e, err)
		}
	}
	if _, state := reopen(t, store); len(state.Topics()) != 2 {
		t.Fatalf("%d topics", len(state.Topics()))
	}
}
