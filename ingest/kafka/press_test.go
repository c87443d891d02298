package kafka

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// wentOn tells whether done's job has been told of.
func wentOn(done *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() {
		done.Wait()
		close(ended)
	}()
	synctest.Wait()
	select {
	case <-ended:
		return true
	default:
		done.Done() // ends the goroutine
		synctest.Wait()
		return false
	}
}

// finishedJob is a job that the only worker has just done, with waiting others behind it.
func finishedJob(p *pressPool, waiting int) *sync.WaitGroup {
	for len(p.jobs) > waiting {
		<-p.jobs
	}
	for len(p.jobs) < waiting {
		p.jobs <- pressJob{}
	}
	done := new(sync.WaitGroup)
	done.Add(1)
	p.finished(pressJob{done: done})
	return done
}

func TestWhatIsCompressedGoesOnAtOnceUnlessMoreWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pressPool{jobs: make(chan pressJob, 8), workers: 2}
		if !wentOn(finishedJob(p, 0)) || !wentOn(finishedJob(p, 2)) {
			t.Error("a job is held though no more waits than the workers are about to take")
		}
	})
}

func TestWhatIsCompressedGoesOnTogetherWhileMoreWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pressPool{jobs: make(chan pressJob, 8), workers: 2}
		first, second := finishedJob(p, 3), finishedJob(p, 3)
		last := finishedJob(p, 2)
		if !wentOn(first) || !wentOn(second) || !wentOn(last) {
			t.Error("held jobs have not gone on with the last")
		}
	})
}

func TestWhatIsCompressedIsNotHeldForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pressPool{jobs: make(chan pressJob, 8), workers: 2}
		first := finishedJob(p, 5)
		time.Sleep(holdFor - 1)
		second := finishedJob(p, 5)
		if len(p.held.done) != 2 {
			t.Fatalf("%d jobs are held, want 2", len(p.held.done))
		}
		time.Sleep(time.Nanosecond)
		third := finishedJob(p, 5)
		if !wentOn(first) || !wentOn(second) || !wentOn(third) {
			t.Error("jobs are held for longer than the bound")
		}
	})
}

func TestThePoolHurriesOnlyWhereItMayAndMustTo(t *testing.T) {
	p := &pressPool{jobs: make(chan pressJob, 8), workers: 2}
	for _, c := range []struct {
		waiting int
		press   press
		level   int
	}{
		{2, press{codec: recordbatch.Zstd, level: 3, eager: true}, 3},
		{3, press{codec: recordbatch.Zstd, level: 3, eager: true}, fastestZstd},
		{3, press{codec: recordbatch.Zstd, level: 3}, 3},
	} {
		for len(p.jobs) < c.waiting {
			p.jobs <- pressJob{}
		}
		p.hurry(&c.press)
		if c.press.level != c.level {
			t.Errorf("with %d waiting, eager %v: level %d, want %d", c.waiting, c.press.eager, c.press.level, c.level)
		}
	}
}
