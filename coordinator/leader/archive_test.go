package leader

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
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
