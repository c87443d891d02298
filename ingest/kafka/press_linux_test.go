package kafka

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// threadsStandingBack counts the process's threads of low priority.
func threadsStandingBack(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, entry := range entries {
		tid, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		// The system call, unlike the library's function, returns 20 - nice. A thread may have ended meanwhile.
		if priority, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err == nil && 20-priority == pressNice {
			count++
		}
	}
	return count
}

func TestCompressionStandsBackOnProcessorsOfItsOwn(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	if processors < runtime.NumCPU() {
		t.Skip("the process is held to fewer cores than there are")
	}
	p := newPressPool(1)
	if got := runtime.GOMAXPROCS(0); got != processors+1 {
		t.Errorf("GOMAXPROCS is %d with a worker, %d without", got, processors)
	}
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{})
	if err := builder.Append(0, 0, nil, make([]byte, 4<<10), nil); err != nil {
		t.Fatal(err)
	}
	data, header, err := builder.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	batch, press := lane.Batch{Data: data, Header: header}, press{codec: recordbatch.Zstd, limit: len(data)}
	var done sync.WaitGroup
	done.Add(1)
	p.jobs <- pressJob{batch: &batch, press: &press, done: &done}
	done.Wait()
	if press.err != nil || batch.Header.Codec() != recordbatch.Zstd {
		t.Errorf("compressed to %v, %v", batch.Header.Codec(), press.err)
	}
	if threadsStandingBack(t) == 0 {
		t.Error("no thread stands back")
	}
	p.close()
	if got := runtime.GOMAXPROCS(0); got != processors {
		t.Errorf("GOMAXPROCS is %d after the pool, %d before it", got, processors)
	}
}
