package group

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// slowLog takes its time over everything that groups store, and over nothing else.
type slowLog struct{ *stateLog }

func (l slowLog) Propose(ctx context.Context, c *metapb.Command) (meta.Verdict, error) {
	if c.GetDeleteGroups() == nil {
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return meta.Verdict{}, ctx.Err()
		}
	}
	return l.stateLog.Propose(ctx, c)
}

func TestAGroupIsDeletedAtOnceAfterItsLastMemberHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slowLog{newLog(t)}
		c := New(Limits{}, log, slog.New(slog.DiscardHandler))
		defer c.Close()
		m := &consumer{t: t, c: c}
		if code := m.join(); code != metapb.GroupCode_GROUP_OK {
			t.Fatalf("join: %s", code)
		}
		left, err := c.Leave(t.Context(), &metapb.GroupLeaveRequest{Group: "g", Members: []*metapb.GroupLeaver{{MemberId: m.id}}})
		if err != nil || left.Members[0].Code != metapb.GroupCode_GROUP_OK {
			t.Fatalf("leave: %v %v", left, err)
		}
		deleted, err := c.Delete(t.Context(), &metapb.GroupDeleteRequest{Groups: []string{"g"}})
		if err != nil || deleted.Codes[0] != metapb.GroupCode_GROUP_OK {
			t.Errorf("delete: %v %v", deleted, err)
		}
		time.Sleep(time.Minute) // virtual: nothing comes late that makes it anew
		log.View(func(s *meta.State) {
			if s.Group("g") != nil {
				t.Error("the group is there again")
			}
		})
	})
}

// Two commands of a person are a while apart.
func TestAGroupWhoseLastOffsetWasDeletedCanBeDeletedForAMinute(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		m := &consumer{t: t, c: c}
		joinAll(t, m)
		if code := m.commit(7); code != metapb.GroupCode_GROUP_OK {
			t.Fatal(code)
		}
		if _, err := c.Leave(t.Context(), &metapb.GroupLeaveRequest{Group: "g", Members: []*metapb.GroupLeaver{{MemberId: m.id}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // that it is empty is stored
		deleted, err := c.DeleteOffsets(t.Context(), &metapb.GroupDeleteOffsetsRequest{Group: "g", Offsets: []*metapb.CommittedOffset{{TopicId: orders, Partition: 1}}})
		if _, known := log.offset("g", 1); err != nil || deleted.Code != metapb.GroupCode_GROUP_OK || known {
			t.Fatalf("delete offsets: %v, %v", deleted, err)
		}
		c.sweep()
		if r, err := c.Delete(t.Context(), &metapb.GroupDeleteRequest{Groups: []string{"g"}}); err != nil || r.Codes[0] != metapb.GroupCode_GROUP_OK {
			t.Errorf("delete the group: %v, %v", r, err)
		}
	})
}
