package leader

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

func lease() *metapb.Command {
	return &metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{Worker: "w"}}}
}

// What workers want is written with what clients want. A client's command that came while a worker's was being appended waited for both.
func TestWhatNobodyWaitsForSharesAnEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const patience = 300 * time.Millisecond
		q := newQueue(100, 1<<20, patience)
		q.open()
		put := func(c *metapb.Command) {
			t.Helper()
			owner := &submission{done: make(chan struct{}, 1)}
			if err := q.add([]item{{command: c, bytes: 10, patient: isPatient(c), last: true, owner: owner}}); err != nil {
				t.Fatal(err)
			}
		}
		take := func(want int, wantLater time.Duration) {
			t.Helper()
			items, later := q.take(nil, meta.FrameBytes)
			if len(items) != want || later != wantLater {
				t.Fatalf("took %d, the next after %v; want %d and %v", len(items), later, want, wantLater)
			}
		}
		take(0, noHurry)
		put(lease())
		if q.waits() {
			t.Error("an entry is about to begin")
		}
		take(0, patience)
		<-time.After(patience / 3)
		put(lease())
		take(0, patience-patience/3)
		put(allocate())
		if !q.waits() {
			t.Error("no entry is about to begin")
		}
		take(3, 0)
		put(lease())
		take(0, patience)
		<-time.After(patience)
		take(1, 0)
		put(lease())
		q.close(nil)
		q.open()
		put(allocate())
		take(1, 0)
	})
}

func TestALeaderGivesWhatNobodyWaitsForItsTime(t *testing.T) {
	backing := mem.New()
	n := start(t, backing.Open(), nil, func(c *Config) { c.Patience = 200 * time.Millisecond })
	before := n.cfg.Replica.Seq()
	began := time.Now()
	if _, err := n.Submit(timeout(t), []*metapb.Command{lease()}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if got := n.cfg.Replica.Seq() - before; got != 1 {
		t.Errorf("%d entries", got)
	}
}

// What a caller has given up before it comes to its turn is not put in the log, and the caller knows.
func TestWhatWasGivenUpBeforeItWasSubmittedIsNotInTheLog(t *testing.T) {
	q := newQueue(100, 1<<20, 0)
	q.open()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.submit(ended, []*metapb.Command{allocate()}); !errors.Is(err, replica.ErrWithdrawn) || !errors.Is(err, context.Canceled) {
		t.Errorf("submit: %v", err)
	}
	if items, _ := q.take(nil, meta.FrameBytes); len(items) > 0 {
		t.Errorf("%d commands wait", len(items))
	}
}
