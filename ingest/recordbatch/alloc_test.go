package recordbatch

import (
	"errors"
	"testing"
)

// The hot paths allocate nothing per record or batch.
func TestHotPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("pools keep nothing under the race detector")
	}
	uncompressed := build(t, BuilderOptions{}, 0, sample(0, 500, 200)...)
	compressed := build(t, BuilderOptions{Codec: Zstd}, 0, sample(0, 500, 200)...)
	var range20 []byte
	for range 20 {
		range20 = append(range20, compressed...)
	}
	scratch := new(Scratch)
	out := make([]byte, 0, 2*len(uncompressed))
	var reader Reader
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	iterate := func(b []byte) func() { return func() { must(countValues(b, scratch)) } }
	for name, hot := range map[string]func(){
		"Validate uncompressed": func() { _, err := Validate(uncompressed, Limits{}); must(err) },
		"Validate zstd":         func() { _, err := Validate(compressed, Limits{}); must(err) },
		"AssignOffsets":         func() { _, err := AssignOffsets(range20, 1000, 1); must(err) },
		"Batches": func() {
			for _, err := range Batches(range20) {
				must(err)
			}
		},
		"Records uncompressed": iterate(uncompressed),
		"Records zstd":         iterate(compressed),
		"Reader and RecordHeaders": func() {
			n := 0
			must(reader.Reset(compressed, scratch))
			for reader.Next() {
				for h := range RecordHeaders(reader.Record().Headers) {
					n += len(h.Key)
				}
			}
			must(reader.Err())
			if n == 0 {
				t.Fatal("no headers")
			}
		},
		"FirstAtOrAfter":   func() { _, _, err := FirstAtOrAfter(compressed, 1_700_000_000_700, scratch); must(err) },
		"SetLogAppendTime": func() { SetLogAppendTime(range20[:len(compressed)], 5) },
		"Compress zstd":    func() { _, err := Compress(out, uncompressed, Zstd, 0); must(err) },
	} {
		// A pool may be emptied by the collector during the run; that is not per call.
		if allocs := testing.AllocsPerRun(50, hot); allocs >= 1 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func countValues(b []byte, scratch *Scratch) error {
	n := 0
	for rec, err := range Records(b, scratch) {
		if err != nil {
			return err
		}
		n += len(rec.Value)
	}
	if n == 0 {
		return errors.New("no values")
	}
	return nil
}
