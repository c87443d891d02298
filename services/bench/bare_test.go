package bench

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/varvelog/varve/ingest/recordbatch"
)

func TestBareReceiveMovesWholeFrames(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc and fallocate")
	}
	dir := t.TempDir()
	f := produceFrame("t", partitionBatch{0, testBatch(t, recordbatch.Zstd, 16<<10)})
	want := int64(5 * len(f))

	m, cpu, err := bareReceive(context.Background(), dir, []frame{f}, want)

	if err != nil || m.requests != 5 || m.bytes != want || cpu <= 0 {
		t.Errorf("got %+v, cpu %v, %v", m, cpu, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPacedKeepsItsCount(t *testing.T) {
	calls := 0
	if err := paced(context.Background(), 10_000, 5_000_000, func(int) error { calls++; return nil }); err != nil || calls != 50 {
		t.Errorf("got %d calls, %v", calls, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	err := paced(ctx, 10_000, 5_000_000, func(i int) error { cancel(); return nil })
	if err == nil {
		t.Error("went on after the context's end")
	}
}

func TestBareEncodeStopsAtItsBytes(t *testing.T) {
	payloads := [][]byte{testBatch(t, recordbatch.None, 8<<10)}
	m, err := bareEncode(context.Background(), zstd.SpeedDefault, payloads, 2, 1<<20, nil)
	if err != nil || m.bytes < 1<<20 {
		t.Errorf("got %+v, %v", m, err)
	}
}
