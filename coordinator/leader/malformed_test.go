package leader

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// storeGroup is a command whose strings a client has chosen.
func storeGroup(clientID string, assignmentBytes int) *metapb.Command {
	member := &metapb.GroupMember{MemberId: "m", ClientId: clientID, Assignment: make([]byte, assignmentBytes)}
	return &metapb.Command{Kind: &metapb.Command_StoreGroup{StoreGroup: &metapb.StoreGroup{Group: "g", Members: []*metapb.GroupMember{member}}}}
}

// proposers are a leader's own process and one that reaches it over the internal listener.
func proposers(t *testing.T) map[string]*replica.Replica {
	backing := mem.New()
	leads := coordinator(t, backing.Open(), nil)
	remote, _ := follower(t, backing.Open(), nil)
	return map[string]*replica.Replica{"own process": leads.replica, "another process": remote}
}

func TestCommandThatIsNotUTF8IsRefusedAlone(t *testing.T) {
	for name, r := range proposers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := timeout(t)
			var all sync.WaitGroup
			defer all.Wait()
			for range 20 {
				all.Go(func() {
					if v, err := r.Propose(ctx, storeGroup("\xff\xfe", 0)); err != nil || v.Code != meta.Malformed {
						t.Errorf("propose what is not UTF-8: %+v, %v; want Malformed", v, err)
					}
				})
				all.Go(func() {
					if v, err := r.Propose(ctx, storeGroup("värve", 0)); err != nil || v.Code != meta.OK {
						t.Errorf("propose beside it: %+v, %v", v, err)
					}
				})
			}
		})
	}
}

func TestSubmissionIsRefusedWholeForOneMalformedCommand(t *testing.T) {
	n := start(t, mem.New().Open(), nil)
	before := n.replica.Seq()
	_, err := n.Submit(timeout(t), []*metapb.Command{allocate(), storeGroup("\xff", 0), allocate()})
	if !errors.Is(err, replica.ErrMalformed) || n.replica.Seq() != before {
		t.Fatalf("submit: %v, and %d entries; want ErrMalformed and none", err, n.replica.Seq()-before)
	}
	if _, err := n.Submit(timeout(t), []*metapb.Command{allocate()}); err != nil {
		t.Fatalf("submit after it: %v", err)
	}
}

func TestOversizedCommandIsRefusedAlone(t *testing.T) {
	for name, r := range proposers(t) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(timeout(t))
			defer cancel()
			if _, err := r.Propose(ctx, storeGroup("c", meta.MaxCommandBytes+1)); !errors.Is(err, replica.ErrTooLarge) {
				t.Errorf("propose %d bytes: %v, want ErrTooLarge", meta.MaxCommandBytes+1, err)
			}
			if v, err := r.Propose(ctx, allocate()); err != nil || v.Code != meta.OK {
				t.Errorf("propose after it: %+v, %v", v, err)
			}
		})
	}
}
