package ingestd

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
)

var logID = [16]byte{1}

// lostLeader takes every command and dies before any of them is in the log.
type lostLeader struct{ replica.Submitter }

func (lostLeader) Submit(context.Context, []*metapb.Command) (uint64, error) {
	return 0, errors.New("connection reset by peer")
}

// newRegistrar returns a registrar whose leader never answers anything.
func newRegistrar(t *testing.T) *Registrar {
	t.Helper()
	log, _, err := hotlog.Open(vfs.NewMem(), "/hotlog", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := replica.Open(t.Context(), replica.Config{LogID: logID, Log: mem.New().Open()})
	if err != nil {
		t.Fatal(err)
	}
	r.SetSubmitter(lostLeader{})
	t.Cleanup(func() {
		r.Close()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Registrar{Log: slog.New(slog.DiscardHandler), Replica: r, HotLog: log, Template: &metapb.RegisterNode{DiskId: diskID(log)}}
}

// A leader that dies with a registration in its queue leaves it without a verdict for ever. The lanes renew with the context of the
// whole process, so only a bound here lets them ask the next leader.
func TestARegistrationWithoutVerdictIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := newRegistrar(t).Renew(t.Context()); !errors.Is(err, replica.ErrAmbiguous) {
			t.Errorf("renew: %v, want %v", err, replica.ErrAmbiguous)
		}
	})
}

// The same for the janitor: while it waits, nothing is removed from the disk.
func TestForgettingReleasedSegmentsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := newRegistrar(t).Forget(t.Context(), []uint64{7}); !errors.Is(err, replica.ErrAmbiguous) {
			t.Errorf("forget: %v, want %v", err, replica.ErrAmbiguous)
		}
	})
}

// loyalLeader applies every command at once.
type loyalLeader struct {
	replica.Submitter
	replica *replica.Replica
	hash    [32]byte
	now     int64 // state time, in milliseconds
}

func (l *loyalLeader) Submit(_ context.Context, commands []*metapb.Command) (uint64, error) {
	seq := l.replica.Seq() + 1
	entry := &metapb.Entry{Format: meta.EntryFormat, LogId: logID[:], TimeMillis: l.now, Commands: commands}
	if seq > 1 {
		entry.PreviousHash = slices.Clone(l.hash[:])
	}
	encoded, err := meta.EncodeEntry(entry)
	if err != nil {
		return 0, err
	}
	l.hash = [32]byte(meta.HashEntry(encoded))
	return seq, l.replica.ApplyLocal(seq, entry, l.hash)
}

// A node whose epoch ended, and which writes nothing locally in the next one, kept the segment that had been active, with nothing
// in it that anything refers to.
func TestARegistrationLeavesNoSegmentBehind(t *testing.T) {
	r := newRegistrar(t)
	r.Replica.SetSubmitter(&loyalLeader{replica: r.Replica})
	if _, err := r.HotLog.Append(nil, hotlog.NewChunk([]byte("a chunk that is never committed"))); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.HotLog.Segments() {
		if s.Frames > 0 {
			t.Errorf("segment %+v is still there", s)
		}
	}
	if left := r.Released(); len(left) > 0 {
		t.Errorf("left to remove: %v", left)
	}
}

// A process that was cut off for so long that the state has dropped its node gets another number, and has told everybody the old one.
func TestANodeThatWasDroppedEnds(t *testing.T) {
	r := newRegistrar(t)
	leader := &loyalLeader{replica: r.Replica}
	r.Replica.SetSubmitter(leader)
	var told []error
	r.Dropped = func(err error) { told = append(told, err) }
	if _, err := r.HotLog.Append(nil, hotlog.NewChunk([]byte("a chunk that is never committed"))); err != nil {
		t.Fatal(err)
	}
	first, err := r.Renew(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*metapb.Command{
		{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: []byte("the second disk."), Incarnation: []byte{1}}}},
		{Kind: &metapb.Command_SetNodeLive{SetNodeLive: &metapb.SetNodeLive{NodeId: int32(first.Node), NodeEpoch: first.Epoch}}},
		{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}},
	} {
		if c.GetTick() != nil {
			leader.now += (90 * 24 * time.Hour).Milliseconds()
		}
		if v, err := r.Replica.Propose(t.Context(), c); err != nil || v.Code != meta.OK {
			t.Fatal(v.Code, err)
		}
	}
	for range 2 {
		if registration, err := r.Renew(t.Context()); !errors.Is(err, ErrDropped) {
			t.Errorf("registered as %+v: %v", registration, err)
		}
	}
	if len(told) != 1 || !errors.Is(told[0], ErrDropped) {
		t.Errorf("told %v", told)
	}
	again := &Registrar{Log: r.Log, Replica: r.Replica, HotLog: r.HotLog, Template: r.Template}
	if registration, err := again.Renew(t.Context()); err != nil || registration.Node == first.Node {
		t.Errorf("the next process is registered as %+v: %v", registration, err)
	}
}

// A hot log that has been closed lists no segments: a node whose end came in the middle of its drain said that its disk was empty.
func TestNothingIsSaidOfALogThatIsClosed(t *testing.T) {
	log, _, err := hotlog.Open(vfs.NewMem(), "/hotlog", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(nil, hotlog.NewChunk([]byte("a chunk"))); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRegistrar(t)
	r.HotLog = log
	if err := r.Seal(t.Context()); !errors.Is(err, hotlog.ErrClosed) {
		t.Errorf("sealed: %v", err)
	}
}
