package jetstream

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
)

// gapPatience is for how long a replicated stream must say that it ends too early before that is believed: a server that was cut off from the
// others, and does not know yet that it leads the stream no more, says so, too.
const gapPatience = 15 * time.Second

// gapMemory is after how long without one a gap is not the same any more: nobody was asked, or nobody answered.
const gapMemory = 3 * time.Second

// gaps remembers since when appends find that the stream ends before their predecessor.
type gaps struct {
	sync.Mutex
	since time.Time // zero where the last answer was another
	last  time.Time
}

func (g *gaps) forget() {
	g.Lock()
	defer g.Unlock()
	g.since = time.Time{}
}

// seen returns for how long the gap has been seen.
func (g *gaps) seen(now time.Time) time.Duration {
	g.Lock()
	defer g.Unlock()
	if g.since.IsZero() || now.Sub(g.last) > gapMemory {
		g.since = now
	}
	g.last = now
	return now.Sub(g.since)
}

// judge makes of a gap that may be a former leader's an answer that settles nothing.
func (l *Log) judge(seq uint64, err error) error {
	if !errors.Is(err, metalog.ErrGap) {
		l.gaps.forget()
		return err
	}
	if l.replicated && l.gaps.seen(time.Now()) < gapPatience {
		return fmt.Errorf("append at %d: the stream's leader has not come so far", seq)
	}
	return err
}
