package ingestd

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
)

// lostLeader takes every command and dies before any of them is in the log.
type lostLeader struct{ replica.Submitter }

func (lostLeader) Submit(context.Context, []*metapb.Command) (uint64, error) {
	return 0, errors.New("connection reset by peer")
}

// newLostNode returns a node whose leader never answers anything.
func newLostNode(t *testing.T) *Node {
	t.Helper()
	log, _, err := hotlog.Open(vfs.NewMem(), "/hotlog", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := replica.Open(t.Context(), replica.Config{LogID: [16]byte{1}, Log: mem.New().Open()})
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
	return &Node{log: slog.New(slog.DiscardHandler), replica: r, hotLog: log}
}

// A leader that dies with a registration in its queue leaves it without a verdict for ever. The lanes renew with the context of the
// whole process, so only a bound here lets them ask the next leader.
func TestARegistrationWithoutVerdictIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newLostNode(t)
		r := &registrar{node: n, template: &metapb.RegisterNode{DiskId: diskID(n.hotLog)}}
		if _, err := r.Renew(t.Context()); !errors.Is(err, replica.ErrAmbiguous) {
			t.Errorf("renew: %v, want %v", err, replica.ErrAmbiguous)
		}
	})
}

// The same for the janitor: while it waits, nothing is removed from the disk.
func TestForgettingReleasedSegmentsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := newLostNode(t).forget(t.Context(), 1, []uint64{7}); !errors.Is(err, replica.ErrAmbiguous) {
			t.Errorf("forget: %v, want %v", err, replica.ErrAmbiguous)
		}
	})
}
