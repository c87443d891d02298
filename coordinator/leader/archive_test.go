package leader

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
)

// lead runs a leader with an archive while it gets so many entries, and returns the hash and sequence it ends with.
func lead(t *testing.T, log metalog.Log, store objstore.Store, entries int, options ...option) (hash [32]byte, seq uint64) {
	t.Helper()
	ctx := timeout(t)
	n := start(t, log, store, append(options, func(c *Config) { c.Archive = store })...)
	for range entries {
		if _, err := n.replica.Propose(ctx, allocate()); err != nil {
			t.Fatal(err)
		}
	}
	n.halt(t)
	return n.hash(), n.replica.Seq()
}

func TestBucketAloneRebuildsTheLiveState(t *testing.T) {
	often := func(c *Config) { c.SnapshotEntries = 30 }
	rarely := func(c *Config) { c.SnapshotEntries = 1 << 40 }
	for name, snapshots := range map[string]option{"snapshots and archive": often, "the first snapshot and archive": rarely} {
		t.Run(name, func(t *testing.T) {
			log, store := mem.New().Open(), memstore.New("bucket")
			for range 3 {
				want, seq := lead(t, log, store, 100, snapshots)
				r, err := replica.OpenArchived(timeout(t), replica.Config{LogID: logID, Store: store})
				if err != nil {
					t.Fatal(err)
				}
				if got := (&node{replica: r}).hash(); got != want || r.Seq() != seq {
					t.Errorf("rebuilt at %d as %x, the live state is at %d and %x", r.Seq(), got, seq, want)
				}
				r.Close()
			}
		})
	}
}

func TestLogShorterThanItsArchiveIsRefused(t *testing.T) {
	log, store := mem.New().Open(), memstore.New("bucket")
	_, seq := lead(t, log, store, 50, func(c *Config) { c.SnapshotEntries = 1 << 40 })

	shorter := mem.New().Open() // as after the loss of a disk's last writes: longer than the snapshot of the first entry
	for record, err := range log.Read(context.Background(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if record.Seq == seq {
			break
		}
		if err := shorter.Append(context.Background(), record.Seq, record.Entry, metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	_, err := replica.Open(context.Background(), replica.Config{LogID: logID, Log: shorter, Store: store})
	if !errors.Is(err, replica.ErrLogShort) || !errors.Is(err, identity.ErrRefused) {
		t.Fatalf("open: %v, want ErrLogShort and ErrRefused", err)
	}
	for _, part := range []string{"archive", "varve recover", store.String()} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q does not name %q in one line", err, part)
		}
	}
}

func TestCommitsGoOnWhileTheArchiveCannotBeWritten(t *testing.T) {
	store := faulty.New(memstore.New("bucket"), faulty.Config{})
	store.AddRule(faulty.Rule{Ops: faulty.Write, Fail: true})
	log := mem.New().Open()
	lead(t, log, store, 200)
	store.SetRules()
	want, _ := lead(t, log, store, 1)
	r, err := replica.OpenArchived(timeout(t), replica.Config{LogID: logID, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := (&node{replica: r}).hash(); got != want {
		t.Errorf("rebuilt as %x, the live state is %x", got, want)
	}
}

// The older snapshot was restored, the parts of the newer were taken for whole as they were there, and both snapshots that were kept, and behind
// which the log and the archive were cut, soon named the damaged one.
func TestTheLeaderThatSurvivesADamagedSnapshotMendsIt(t *testing.T) {
	ctx, log, store, o := timeout(t), mem.New().Open(), memstore.New("bucket"), new(observed)
	begin := func() *node {
		return start(t, log, store, func(c *Config) { c.SnapshotEntries, c.Observer, c.Archive = 20, o, store })
	}
	// grow appends until so many snapshots have been written and pruned.
	grow := func(n *node, snapshots int64) {
		t.Helper()
		for want := o.snapshots.Load() + snapshots; o.snapshots.Load() < want; {
			if _, err := n.replica.Propose(ctx, allocate()); err != nil {
				t.Fatal(err)
			}
		}
	}
	parts := func() (keys [][]string) {
		t.Helper()
		seqs, err := replica.ListManifests(ctx, store)
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range seqs {
			m, err := replica.ReadManifest(ctx, store, seq)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, nil)
			for _, hash := range m.Parts {
				keys[len(keys)-1] = append(keys[len(keys)-1], replica.PartKey([32]byte(hash)))
			}
		}
		return keys
	}
	n := begin()
	await(t, func() bool { return o.snapshots.Load() == 1 })
	wide := &metapb.CreateTopic{Name: "idle", TopicId: []byte("a topic, 16 bytes"[:16]), Partitions: 1024, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}
	if v, err := n.replica.Propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: wide}}); err != nil || v.Code != meta.OK {
		t.Fatal(v, err)
	}
	grow(n, 1)
	n.halt(t)
	both := parts()
	if len(both) != 2 || len(both[0]) > 1 || len(both[1]) < 5 {
		t.Fatalf("parts of snapshots: %v", both)
	}
	idle := both[1][2]
	object, _, err := objstore.ReadAll(ctx, store, idle, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	object = slices.Clone(object)
	object[len(object)/2] ^= 4
	if _, err := store.Put(ctx, idle, object); err != nil {
		t.Fatal(err)
	}

	n = begin()
	grow(n, 3)
	n.halt(t)
	want, seq := n.hash(), n.replica.Seq()
	if both = parts(); !slices.Contains(both[len(both)-1], idle) || o.rewritten.Load() != 1 {
		t.Fatalf("%d objects were written again; parts of snapshots: %v", o.rewritten.Load(), both)
	}
	r, err := replica.Open(ctx, replica.Config{LogID: logID, Log: log, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := (&node{replica: r}).hash(); got != want || r.Seq() != seq {
		t.Errorf("opened at %d, want the state at %d", r.Seq(), seq)
	}
}
