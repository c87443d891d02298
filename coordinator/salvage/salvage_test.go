package salvage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/archive"
	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/bucket"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/mem"
)

var logID = [16]byte{7}

// fixture writes a log of ten entries, of which snapshots stand for the first three and the first six, in the way of a backend.
func fixture(t *testing.T, kind string) objstore.Store {
	t.Helper()
	ctx, store := context.Background(), mem.New("bucket")
	log, err := bucket.Open(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	state := meta.New(logID)
	var hash []byte
	put := func(key string, body []byte) {
		t.Helper()
		if _, err := store.Put(ctx, key, body); err != nil {
			t.Fatal(err)
		}
	}
	for seq := uint64(1); seq <= 10; seq++ {
		command := &metapb.Command{Kind: &metapb.Command_AllocateProducerId{AllocateProducerId: &metapb.AllocateProducerId{}}}
		epoch := uint64(1)
		if seq == 1 {
			command = &metapb.Command{Kind: &metapb.Command_LeaderStart{LeaderStart: &metapb.LeaderStart{Epoch: 1}}}
		}
		entry := &metapb.Entry{LogId: logID[:], PreviousHash: hash, LeaderEpoch: epoch, Commands: []*metapb.Command{command}}
		encoded, err := meta.EncodeEntry(entry)
		if err == nil {
			err = state.Apply(seq, entry, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		hash = meta.HashEntry(encoded)
		if kind == identity.MetalogBucket {
			err = log.Append(ctx, seq, encoded, metalog.Ordinary)
		} else {
			b := &archive.Batch{LogID: logID, First: seq, Entries: [][]byte{encoded}}
			put((archive.Object{First: seq, Next: seq + 1}).Key(), archive.Encode(b))
		}
		if err != nil {
			t.Fatal(err)
		}
		if seq == 3 || seq == 6 {
			m, err := state.Snapshot(hash, func(hash [32]byte, part []byte) error { put(replica.PartKey(hash), part); return nil })
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := meta.EncodeManifest(m)
			if err != nil {
				t.Fatal(err)
			}
			put(replica.SnapshotKey(seq), encoded)
		}
	}
	return store
}

func entryKey(kind string, seq uint64) string {
	if kind == identity.MetalogBucket {
		return bucket.Key(seq)
	}
	return archive.Object{First: seq, Next: seq + 1}.Key()
}

func TestTheStateReachesAsFarAsTheChain(t *testing.T) {
	for _, kind := range []string{identity.MetalogJetStream, identity.MetalogBucket} {
		for _, row := range []struct {
			name          string
			damage        []string
			remove        []string
			seq, snapshot uint64
			unused        uint64
			named         string // what the damage names; empty for none
		}{
			{name: "whole", seq: 10, snapshot: 6},
			{name: "an entry behind the snapshot is damaged", damage: []string{entryKey(kind, 8)}, seq: 7, snapshot: 6, unused: 2, named: entryKey(kind, 8)},
			{name: "an entry behind the snapshot is missing", remove: []string{entryKey(kind, 8)}, seq: 7, snapshot: 6, unused: 2, named: "entries 8 to 8"},
			{name: "the last entry is damaged", damage: []string{entryKey(kind, 10)}, seq: 9, snapshot: 6, named: entryKey(kind, 10)},
			{name: "an entry the snapshot stands for is damaged", damage: []string{entryKey(kind, 2)}, seq: 10, snapshot: 6, named: entryKey(kind, 2)},
			{name: "the newest snapshot is damaged", damage: []string{replica.SnapshotKey(6)}, seq: 10, snapshot: 3, named: replica.SnapshotKey(6)},
			{name: "both snapshots are damaged", damage: []string{replica.SnapshotKey(3), replica.SnapshotKey(6)}, seq: 10, named: replica.SnapshotKey(3)},
			{name: "the first entries were cut", remove: []string{entryKey(kind, 1), entryKey(kind, 2), entryKey(kind, 3)}, seq: 10, snapshot: 6},
		} {
			t.Run(kind+": "+row.name, func(t *testing.T) {
				ctx, store := context.Background(), fixture(t, kind)
				for _, key := range row.damage {
					body, _, err := objstore.ReadAll(ctx, store, key, 1<<20)
					if err != nil {
						t.Fatal(err)
					}
					body[len(body)-3] ^= 4
					if _, err := store.Put(ctx, key, body); err != nil {
						t.Fatal(err)
					}
				}
				for _, key := range row.remove {
					if err := store.Delete(ctx, key); err != nil {
						t.Fatal(err)
					}
				}
				for _, id := range [][16]byte{logID, {}} { // known, and to be found out
					f, err := Read(ctx, Source{Store: store, LogID: id, Metalog: kind})
					if err != nil {
						t.Fatal(err)
					}
					if f.State == nil || f.State.Seq() != row.seq || f.Snapshot != row.snapshot || f.Unused != row.unused || f.LogID != logID {
						t.Errorf("%+v, state at %v", f, f.State.Seq())
					}
					said := fmt.Sprint(f.Damaged)
					if !strings.Contains(said, row.named) || row.named == "" && len(f.Damaged) > 0 {
						t.Errorf("damage %s, want %q", said, row.named)
					}
				}
			})
		}
	}
}

func TestAPartWithASpareIsNamedAndReadFromIt(t *testing.T) {
	ctx, store := context.Background(), fixture(t, identity.MetalogBucket)
	m, err := replica.ReadManifest(ctx, store, 6)
	if err != nil {
		t.Fatal(err)
	}
	m.Seq = 2 // another snapshot names the same parts; its core says that it is not of them, which is reported too
	manifest, err := meta.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, replica.SnapshotKey(2), manifest); err != nil {
		t.Fatal(err)
	}
	hash := [32]byte(m.Parts[0])
	part, _, err := objstore.ReadAll(ctx, store, replica.PartKey(hash), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		damaged, whole string
		spares         bool
		reports        int
	}{
		{replica.PartKey(hash), replica.SpareKey(hash), false, 1},
		{replica.SpareKey(hash), replica.PartKey(hash), false, 0},
		{replica.SpareKey(hash), replica.PartKey(hash), true, 1},
	} {
		_, err := store.Put(ctx, row.whole, part)
		if _, rot := store.Put(ctx, row.damaged, []byte("rot")); errors.Join(err, rot) != nil {
			t.Fatal(err, rot)
		}
		f, err := Read(ctx, Source{Store: store, LogID: logID, Metalog: identity.MetalogBucket, Spares: row.spares})
		if err != nil {
			t.Fatal(err)
		}
		f.Damaged = slices.DeleteFunc(f.Damaged, func(d Damage) bool { return d.Key == replica.SnapshotKey(2) })
		if f.Snapshot != 6 || len(f.Damaged) != row.reports || row.reports > 0 && f.Damaged[0].Key != row.damaged {
			t.Errorf("%s is damaged: restored from %d, reported %v", row.damaged, f.Snapshot, f.Damaged)
		}
	}
}

func TestNewerFormatsAreNamed(t *testing.T) {
	archiveVersion := func(b []byte) []byte { // and the checksum over everything else
		binary.BigEndian.PutUint16(b[8:], 9)
		castagnoli := crc32.MakeTable(crc32.Castagnoli)
		binary.BigEndian.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:]))
		return b
	}
	entryVersion := func(b []byte) []byte { // with a checksum that fits
		binary.BigEndian.PutUint16(b[8:], 9)
		castagnoli := crc32.MakeTable(crc32.Castagnoli)
		binary.BigEndian.PutUint32(b[12:], crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:]))
		return b
	}
	manifestVersion := func(b []byte) []byte { // header and body say it
		m, err := meta.DecodeManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		m.Format = 9
		if b, err = meta.EncodeManifest(m); err != nil {
			t.Fatal(err)
		}
		b[4] = 9
		return b
	}
	for _, row := range []struct {
		kind, key string
		version   func(b []byte) []byte
		want      error
	}{
		{identity.MetalogBucket, bucket.Key(9), entryVersion, metalog.ErrFormat},
		{identity.MetalogJetStream, entryKey(identity.MetalogJetStream, 9), archiveVersion, archive.ErrFormat},
		{identity.MetalogJetStream, replica.SnapshotKey(6), manifestVersion, meta.ErrFormat},
	} {
		ctx, store := context.Background(), fixture(t, row.kind)
		body, _, err := objstore.ReadAll(ctx, store, row.key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(ctx, row.key, row.version(body)); err != nil {
			t.Fatal(err)
		}
		f, err := Read(ctx, Source{Store: store, LogID: logID, Metalog: row.kind})
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Damaged) == 0 || f.Damaged[0].Key != row.key || !errors.Is(f.Damaged[0].Err, row.want) || !strings.Contains(f.Damaged[0].Err.Error(), "9") {
			t.Errorf("%s: %v", row.key, f.Damaged)
		}
	}
}
