package hotlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/infra/vfs"
)

func TestAppendAllocatesNothing(t *testing.T) {
	l, _, err := Open(vfs.OS{}, t.TempDir(), Config{NoSpare: true})
	if err != nil {
		t.Fatal(err)
	}
	chunk := NewChunk(make([]byte, 100), make([]byte, 3000))
	group := []Chunk{chunk, chunk, chunk}
	places := make([]Place, 0, len(group))
	allocs := testing.AllocsPerRun(100, func() {
		if places, err = l.Append(places[:0], group...); err != nil {
			t.Fatal(err)
		}
		if err := l.ReadAt(places[0].Segment, places[0].Position, chunk.Buffers[0]); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations an append and read", allocs)
	}
	mustClose(t, l)
}

// BenchmarkAppend measures a group of one chunk against the bare loop that writes and syncs as many bytes, turn by turn in
// the same run: log/bare-p50 and -p99 are the ratios of their times at these percentiles.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		benchmarkAppend(b, fmt.Sprintf("%dKiB", size>>10), Config{}, size)
		benchmarkAppend(b, fmt.Sprintf("%dKiB/zeros", size>>10), Config{Preallocate: PreallocateZeros}, size)
	}
}

func benchmarkAppend(b *testing.B, name string, cfg Config, size int) {
	b.Run(name, func(b *testing.B) {
		dir := b.TempDir()
		l, _, err := Open(vfs.OS{}, filepath.Join(dir, "log"), cfg)
		if err != nil {
			b.Fatal(err)
		}
		file, err := vfs.OS{}.Create(filepath.Join(dir, "bare"))
		if err != nil {
			b.Fatal(err)
		}
		whole := make([]byte, size)
		chunk := NewChunk(whole[:size/2], whole[size/2:])
		position := int64(0)
		var places [1]Place
		var logTimes, bareTimes []time.Duration
		b.SetBytes(int64(size))
		for b.Loop() {
			began := time.Now()
			appended, err := l.Append(places[:0], chunk)
			if err != nil {
				b.Fatal(err)
			}
			logTimes = append(logTimes, time.Since(began))
			b.StopTimer()
			trim(b, l, appended[0].Segment)
			began = time.Now()
			_, err = file.WriteAt(whole, position)
			if err := errors.Join(err, file.SyncData()); err != nil {
				b.Fatal(err)
			}
			bareTimes = append(bareTimes, time.Since(began))
			if position += int64(size); position == defaultSegmentBytes { // a fresh file, as the log has
				position = 0
				if err := errors.Join(file.Truncate(0), file.Sync()); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
		}
		for _, percent := range []int{50, 99} {
			logTime, bareTime := quantile(logTimes, percent), quantile(bareTimes, percent)
			b.ReportMetric(float64(logTime.Microseconds()), fmt.Sprintf("log-p%d-us", percent))
			b.ReportMetric(float64(logTime)/float64(bareTime), fmt.Sprintf("log/bare-p%d", percent))
		}
		if err := errors.Join(l.Close(), file.Close()); err != nil {
			b.Fatal(err)
		}
	})
}

// trim keeps at most four segments.
func trim(b *testing.B, l *Log, active uint64) {
	b.Helper()
	if active <= 4 {
		return
	}
	if err := l.Remove(active - 4); err != nil && !errors.Is(err, ErrSegmentGone) {
		b.Fatal(err)
	}
}

func quantile(times []time.Duration, percent int) time.Duration {
	slices.Sort(times)
	return times[len(times)*percent/100]
}

// BenchmarkRecovery opens 1 GiB: in segments of 64 MiB of which the last was not sealed, the same with every byte checked, and as a single
// unsealed segment, which is the longest that Open can have to scan.
func BenchmarkRecovery(b *testing.B) {
	const logBytes = 1 << 30
	for name, cfg := range map[string]Config{
		"footers":  {SegmentBytes: defaultSegmentBytes},
		"deep":     {SegmentBytes: defaultSegmentBytes, VerifySealed: true},
		"unsealed": {SegmentBytes: logBytes + 1<<20},
	} {
		b.Run(name, func(b *testing.B) {
			cfg.NoSpare = true
			dir := b.TempDir()
			for b.Loop() {
				b.StopTimer()
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				fillAndAbandon(b, dir, cfg, logBytes)
				b.StartTimer()
				l, recovery, err := Open(vfs.OS{}, dir, cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if n := len(recovery.Segments); n == 0 {
					b.Fatal("nothing recovered")
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.SetBytes(logBytes)
		})
	}
}

// fillAndAbandon leaves a log as a killed process does: it lets go of the files without sealing.
func fillAndAbandon(b *testing.B, dir string, cfg Config, logBytes int64) {
	b.Helper()
	l, _, err := Open(vfs.OS{}, dir, cfg)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * 7)
	}
	chunk := NewChunk(body)
	for l.SizeBytes() < logBytes-2<<20 {
		if _, err := l.Append(nil, chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(l.dropSpare(), l.releaseSegments(), l.lock.Close()); err != nil {
		b.Fatal(err)
	}
}
