package recordbatch

import (
	"bytes"
	"testing"
)

func TestControlBatch(t *testing.T) {
	for _, commit := range []bool{false, true} {
		m := Marker{ProducerID: 7, ProducerEpoch: 3, CoordinatorEpoch: 5, Commit: commit, TimestampMillis: 1_700_000_000_000}
		b := ControlBatch(m, 42, 9)
		if len(b) != ControlBatchBytes {
			t.Fatalf("%d bytes, want %d", len(b), ControlBatchBytes)
		}
		if err := CheckCRC(b); err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(b)
		if err != nil || !h.IsControl() || !h.IsTransactional() || h.BaseOffset != 42 || h.NextOffset() != 43 || h.ProducerID != 7 || h.LeaderEpoch != 9 {
			t.Fatalf("%+v, %v", h, err)
		}
		key := []byte{0, 0, 0, 0}
		if commit {
			key[3] = 1
		}
		records := 0
		for r, err := range Records(b, &Scratch{}) {
			if err != nil {
				t.Fatal(err)
			}
			records++
			if !bytes.Equal(r.Key, key) || !bytes.Equal(r.Value, []byte{0, 0, 0, 0, 0, 5}) || r.Timestamp != m.TimestampMillis || r.Offset != 42 {
				t.Errorf("%+v", r)
			}
		}
		if records != 1 {
			t.Errorf("%d records", records)
		}
	}
}
