package jetstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
)

// A server that was cut off and does not know yet that it leads the stream no more says that the stream ends too early. Two such answers that were
// minutes apart, with none or with another coordinator's reign between them, were taken for a log that has lost its tail.
func TestAGapCountsWhileItIsSeenAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Log{replicated: true}
		gap := func() bool { return errors.Is(l.judge(7, metalog.ErrGap), metalog.ErrGap) }
		if gap() {
			t.Fatal("believed at once")
		}
		time.Sleep(time.Minute)
		if gap() {
			t.Error("believed, although nobody was asked for a minute")
		}
		for began := time.Now(); !gap(); time.Sleep(time.Second) {
			if time.Since(began) > 2*gapPatience {
				t.Fatal("not believed, however often it is said")
			}
		}
	})
}
