package recovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/faulty"
)

// keys are the keys of the objects with a prefix, in order.
func (w *world) keys(prefix string) (keys []string) {
	w.t.Helper()
	for info, err := range w.store.List(w.ctx, prefix, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func (w *world) body(key string) []byte {
	w.t.Helper()
	body, _, err := objstore.ReadAll(w.ctx, w.store, key, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	return bytes.Clone(body)
}

func (w *world) overwrite(key string, body []byte) {
	w.t.Helper()
	if _, err := w.store.Put(w.ctx, key, body); err != nil {
		w.t.Fatal(err)
	}
}

// ofNewerVersion makes of an object one that a newer program has written, checksums included.
func ofNewerVersion(t *testing.T, prefix string, object []byte) []byte {
	t.Helper()
	table := crc32.MakeTable(crc32.Castagnoli)
	object = bytes.Clone(object)
	switch prefix {
	case "segment/":
		object[4], object[len(object)-8] = 9, 9
		binary.LittleEndian.PutUint32(object[44:], crc32.Checksum(object[:44], table))
	case "chunk/":
		object[4] = 9
		end := 64 + binary.LittleEndian.Uint32(object[40:])
		binary.LittleEndian.PutUint32(object[60:], crc32.Update(crc32.Checksum(object[:60], table), table, object[64:end]))
	case "meta/archive/":
		object[9] = 9
		binary.BigEndian.PutUint32(object[12:], crc32.Update(crc32.Checksum(object[:12], table), table, object[16:]))
	case "meta/snapshot/0":
		m, err := meta.DecodeManifest(object)
		if err != nil {
			t.Fatal(err)
		}
		m.Format = 9
		if object, err = meta.EncodeManifest(m); err != nil {
			t.Fatal(err)
		}
		object[4] = 9
	}
	return object
}

// One flipped bit never stops a recovery: not even one that makes a version look newer.
func TestNoFlippedBitStopsARecovery(t *testing.T) {
	for _, prefix := range []string{"segment/", "chunk/", "meta/archive/", "meta/snapshot/0"} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 2, nil}, write{1, 1, nil})
		s.shipAll()
		s.send(true, write{0, 2, nil})
		s.snapshot()
		s.send(true, write{1, 2, nil})
		s.archive()
		if prefix == "segment/" || prefix == "chunk/" {
			loseMetadata(t, s.store)
		}
		keys := s.keys(prefix)
		if len(keys) == 0 {
			t.Fatalf("there is no object of %s", prefix)
		}
		key := keys[len(keys)-1]
		body := s.body(key)
		for at := range body {
			if at > 64 && at < len(body)-64 {
				continue // no header or trailer
			}
			for bit := range 8 {
				broken := bytes.Clone(body)
				broken[at] ^= 1 << bit
				s.overwrite(key, broken)
				plan, err := Prepare(t.Context(), Config{Store: s.store})
				if err != nil {
					t.Errorf("bit %d of byte %d of %s: %v", bit, at, key, err)
					continue
				}
				if err := plan.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// A chunk that is cut short, or empty, is damaged: everything else is recovered.
func TestAChunkThatIsCutIsDamaged(t *testing.T) {
	const whole = -1
	for _, left := range []int{0, 10, 63, 64, 100, whole} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 2, nil})
		s.send(true, write{1, 2, nil})
		loseMetadata(t, s.store)
		key := s.keys("chunk/")[0]
		body := s.body(key)
		if left == whole {
			left = len(body) - 1
		}
		s.overwrite(key, body[:left])
		report := mustRecover(t, s.store)
		_, state := reopen(t, s.store)
		if got := readBack(t, s.store, state); len(got) != 2 {
			t.Errorf("cut to %d bytes: %d records of the other chunk", left, len(got))
		}
		if len(report.Damaged) != 1 || report.Damaged[0].Where != key {
			t.Errorf("cut to %d bytes: damaged %+v", left, report.Damaged)
		}
	}
}

func isChunkKey(key string) bool { return strings.HasPrefix(key, "chunk/") }

// A connection that is cut says nothing about the object.
func TestAConnectionThatIsCutIsNoDamage(t *testing.T) {
	for _, reason := range []error{io.ErrUnexpectedEOF, io.EOF} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 2, nil})
		loseMetadata(t, s.store)
		store := faulty.New(s.store, faulty.Config{Rules: []faulty.Rule{{Ops: faulty.Get, Key: isChunkKey, Truncate: 80, Err: reason}}})
		if _, err := tryRecover(t, store); err == nil || errors.Is(err, ErrNothing) {
			t.Errorf("a connection that ends with %v: %v", reason, err)
		}
	}
}

// A chunk that the state knows was shipped and deleted in good order, behind the metadata's end.
func TestAChunkThatWasShippedAndDeletedIsNoDamage(t *testing.T) {
	s := newSmall(t, "varve.durability", "object")
	s.send(true, write{0, 1, nil})
	s.archive()
	s.shipAll()
	s.sweep()
	if _, report := s.recovered(); len(report.Damaged) > 0 || report.LostOffsets > 0 {
		t.Errorf("damaged %+v, lost %+v", report.Damaged, report.Lost)
	}
}

// Of a chunk that the state knows, and that is cut or gone, the runs that are whole stay.
func TestAKnownChunkThatIsCut(t *testing.T) {
	const (
		all = -1
		one = -2 // byte less
	)
	for _, row := range []struct {
		left int
		lost int64
	}{{all, 0}, {one, 2}, {20, 3}, {0, 3}} {
		s := newSmall(t, "varve.durability", "object")
		s.send(true, write{0, 1, nil}, write{1, 2, nil})
		s.archive()
		key := s.keys("chunk/")[0]
		body := s.body(key)
		switch row.left {
		case all:
			row.left = len(body)
		case one:
			row.left = len(body) - 1
		}
		s.overwrite(key, body[:row.left])
		report := mustRecover(t, s.store)
		_, state := reopen(t, s.store)
		if got := readBack(t, s.store, state); report.LostOffsets != row.lost || int64(len(got)) != 3-row.lost {
			t.Errorf("%d of %d bytes: %d records are there, lost %+v", row.left, len(body), len(got), report.Lost)
		}
		if damaged := len(report.Damaged) == 1 && report.Damaged[0].Where == key; damaged != (row.lost > 0) {
			t.Errorf("%d of %d bytes: damaged %+v", row.left, len(body), report.Damaged)
		}
	}
}
