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

func (l *stateLog) offset(group string, partition int32) (offset meta.CommittedOffset, known bool) {
	l.View(func(s *meta.State) {
		if g := s.Group(group); g != nil {
			offset, known = g.Offset(meta.TopicPartition{Topic: meta.TopicID(orders), Partition: partition})
		}
	})
	return offset, known
}

// Offsets expire by the log's time, and not by the clock of the node that they were committed through.
func TestTheClockOfANodeDoesNotMoveWhenAnOffsetExpires(t *testing.T) {
	consumerGroup(t, func(t *testing.T, log *stateLog, c *Coordinator) {
		there := time.Now().Add(-8 * 24 * time.Hour).UnixMilli()
		offsets := []*metapb.CommittedOffset{
			{TopicId: orders, Partition: 0, Offset: 7, CommitMillis: there},
			{TopicId: orders, Partition: 1, Offset: 7, CommitMillis: there, ExpireMillis: there + 5000},
		}
		r, err := c.Commit(t.Context(), &metapb.GroupCommitRequest{Group: "g", Generation: -1, Offsets: offsets})
		if err != nil || r.Codes[0] != metapb.GroupCode_GROUP_OK || r.Codes[1] != metapb.GroupCode_GROUP_OK {
			t.Fatalf("commit: %v, %v", r, err)
		}
		log.apply(t, &metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
		now := time.Now().UnixMilli()
		for partition, expires := range []int64{0, now + 5000} {
			o, known := log.offset("g", int32(partition))
			if !known || o.CommitMillis != now || o.ExpireMillis != expires {
				t.Errorf("partition %d, committed at %d: %v, %+v, want it to expire at %d", partition, now, known, o, expires)
			}
		}
	})
}

// busyLog takes no commit of offsets until free is closed.
type busyLog struct {
	*stateLog
	free chan struct{}
}

func (l busyLog) ProposeWhile(ctx context.Context, c *metapb.Command, valid func() bool) (meta.Verdict, error) {
	if valid() {
		<-l.free
	}
	return l.stateLog.ProposeWhile(ctx, c, valid)
}

// What a member was let to commit is refused where the log is busy for so long that another has its partitions when it takes it.
func TestACommitOfAGenerationThatHasEndedMeanwhileIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := busyLog{newLog(t), make(chan struct{})}
		c := New(Limits{}, log, slog.New(slog.DiscardHandler))
		defer c.Close()
		a, b := &consumer{t: t, c: c}, &consumer{t: t, c: c}
		joinAll(t, a)
		late := make(chan metapb.GroupCode, 1)
		go func() { late <- a.commit(100) }()
		synctest.Wait()
		if _, err := c.Leave(t.Context(), &metapb.GroupLeaveRequest{Group: "g", Members: []*metapb.GroupLeaver{{MemberId: a.id}}}); err != nil {
			t.Fatal(err)
		}
		joinAll(t, b)
		close(log.free)
		if code := b.commit(150); code != metapb.GroupCode_GROUP_OK {
			t.Fatal(code)
		}
		if code := <-late; code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("the commit of one that has left: %s", code)
		}
		if o, _ := log.offset("g", 1); o.Offset != 150 {
			t.Errorf("the group is at %d", o.Offset)
		}
	})
}
