package replica

import (
	"context"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/bus"
)

// countedLog counts how often it is asked for anything.
type countedLog struct {
	metalog.Log
	asked atomic.Int64
}

func (l *countedLog) Bounds(ctx context.Context) (first, next uint64, err error) {
	l.asked.Add(1)
	return l.Log.Bounds(ctx)
}

// forge is an entry that follows the one that is encoded in last.
func forge(t *testing.T, last []byte, epoch uint64, commands ...*metapb.Command) []byte {
	t.Helper()
	hash := sha256.Sum256(last)
	entry, err := meta.EncodeEntry(&metapb.Entry{LogId: logID[:], PreviousHash: hash[:], LeaderEpoch: epoch, TimeMillis: 9, Commands: commands})
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// publish appends an entry and hints at it.
func publish(w *writer, hint func([]byte), command *metapb.Command) (entry []byte) {
	entry = w.append(command)
	hint(busKey.AppendEntryHint(nil, w.seq, entry))
	return entry
}

func hasTopic(r *Replica, name string) (found bool) {
	r.View(func(s *meta.State) { found = s.TopicByName(name) != nil })
	return found
}

// Somebody who can publish, and reads along, has all that an entry needs but the secret.
func TestAStrangersHintIsNoReasonForAnything(t *testing.T) {
	backing := mem.New()
	w := newWriter(t, backing.Open())
	log := &countedLog{Log: backing.Open()}
	r := openReplica(t, Config{Log: log, PollInterval: time.Hour})
	b := newFakeBus()
	follow(t, r, b)
	hint := <-b.handle
	last := publish(w, hint, allocate())
	before := log.asked.Load()
	stranger := bus.NewKey([]byte("guess"), cluster)
	forged := forge(t, last, w.epoch, createTopic("forged"))
	for _, seq := range []uint64{w.seq + 1, w.seq + 1000, 1 << 60} {
		hint(stranger.AppendEntryHint(nil, seq, forged))
	}
	if r.Seq() != w.seq || hasTopic(r, "forged") {
		t.Errorf("a forged entry was applied: at %d", r.Seq())
	}
	if heard := r.heard.Load(); heard > w.seq {
		t.Errorf("the log is thought to have come to %d, it is at %d", heard, w.seq)
	}
	publish(w, hint, allocate())
	if r.Seq() != w.seq {
		t.Errorf("the entry that follows was not applied: at %d", r.Seq())
	}
	if asked := log.asked.Load() - before; asked != 0 {
		t.Errorf("the log was asked %d times for it", asked)
	}
}
