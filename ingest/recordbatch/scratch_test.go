package recordbatch

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// inflating returns a batch of one record that inflates to somewhat more than size bytes.
func inflating(t *testing.T, size int) []byte {
	t.Helper()
	return build(t, BuilderOptions{Codec: Zstd}, 0, plain{Value: make([]byte, size)})
}

func TestBatchesThatInflateFarTakeTurns(t *testing.T) {
	b := inflating(t, maxSmallBytes)
	holder := GetScratch(0)
	if _, records, err := holder.open(b); err != nil || len(records) <= maxSmallBytes {
		t.Fatalf("%d bytes, %v", len(records), err)
	}
	if !holder.hasLarge {
		t.Fatal("the large memory is not taken")
	}
	var gone atomic.Bool
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			if _, err := Validate(b, Limits{Deep: true}); err != nil {
				t.Errorf("validate: %v", err)
			}
			if !gone.Load() {
				t.Error("has inflated beside another")
			}
		})
	}
	if _, err := Validate(inflating(t, maxSmallBytes/2), Limits{Deep: true}); err != nil { // waits for nobody
		t.Errorf("validate a small one: %v", err)
	}
	gone.Store(true)
	holder.Put()
	others.Wait()
}

func TestBatchesThatInflateFarShareMemory(t *testing.T) {
	const count = 16
	b := inflating(t, 16<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range count {
		if _, err := Validate(b, Limits{Deep: true}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; !raceEnabled && made > 2*DefaultMaxInflatedBytes {
		t.Errorf("made %d MiB for %d batches of 16 MiB", made>>20, count)
	}
}
