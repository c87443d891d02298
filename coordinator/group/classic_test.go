package group

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

func TestAFullGroupTurnsNewMembersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Limits{MaxMembers: 1}, newLog(t), slog.New(slog.DiscardHandler))
		defer c.Close()
		a := &consumer{t: t, c: c}
		joinAll(t, a)
		if code := (&consumer{t: t, c: c}).join(); code != metapb.GroupCode_GROUP_MAX_SIZE_REACHED {
			t.Errorf("join of a second member: %s", code)
		}
		if code := a.join(); code != metapb.GroupCode_GROUP_OK {
			t.Errorf("join of the first again: %s", code)
		}
	})
}

func TestAMemberWhoNeverSyncsIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		a, b := &consumer{t: t, c: c, rebalance: 5 * time.Second}, &consumer{t: t, c: c, rebalance: 5 * time.Second}
		var first, second *metapb.GroupJoinResponse
		joined := make(chan struct{})
		for _, m := range []struct {
			who    *consumer
			answer **metapb.GroupJoinResponse
		}{{a, &first}, {b, &second}} {
			go func() {
				r, _ := c.Join(context.Background(), m.who.joinRequest())
				m.who.id = r.MemberId
				*m.answer, _ = c.Join(context.Background(), m.who.joinRequest())
				joined <- struct{}{}
			}()
		}
		<-joined
		<-joined
		leader, other := a, b
		if first.Leader != a.id {
			leader, other = b, a
		}
		leader.generation, other.generation = first.Generation, second.Generation
		if r, err := c.Sync(context.Background(), &metapb.GroupSyncRequest{Group: "g", Generation: leader.generation, MemberId: leader.id}); err != nil || r.Code != metapb.GroupCode_GROUP_OK {
			t.Fatalf("sync of the leader: %v, %v", r, err)
		}
		for range 2 {
			time.Sleep(3 * time.Second)
			leader.heartbeat()
			other.heartbeat()
		}
		if code := other.heartbeat(); code != metapb.GroupCode_GROUP_UNKNOWN_MEMBER {
			t.Errorf("heartbeat of the one that never synced: %s", code)
		}
		if code := leader.heartbeat(); code != metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
			t.Errorf("heartbeat of the other: %s", code)
		}
	})
}

// A consumer's metadata names what it owns, so a restarted process never says what the old one said.
func TestAStaticMemberReturnsWithOtherMetadataWithoutARebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		name := "instance-1"
		a := &consumer{t: t, c: c, instance: &name}
		joinAll(t, a)
		r := a.joinRequest()
		r.MemberId, r.Protocols[0].Metadata, r.CanSkipAssignment = "", []byte("other"), true
		again, err := c.Join(context.Background(), r)
		if err != nil || again.Generation != a.generation || !again.SkipAssignment || again.Leader != again.MemberId {
			t.Errorf("joined %v, %v", again, err)
		}
		r.CanSkipAssignment = false
		if older, err := c.Join(context.Background(), r); err != nil || older.Leader != again.MemberId || len(older.Members) > 0 {
			t.Errorf("an older client joined %v, %v", older, err)
		}
	})
}

// embedded is a consumer's metadata.
func embedded(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, topics
	return m.AppendTo(nil)
}

func TestOffsetsInTopicsThatNobodyWantsCanBeDeletedAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t)
		log.apply(t, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{Name: "old", TopicId: []byte("old-------------"), Partitions: 1,
			Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}}}}})
		c := newCoordinator(log)
		defer c.Close()
		a := &consumer{t: t, c: c, metadata: embedded("orders")}
		joinAll(t, a)
		commit := func() {
			for _, topic := range []string{"orders----------", "old-------------"} {
				r, err := c.Commit(context.Background(), &metapb.GroupCommitRequest{Group: "g", Generation: a.generation, MemberId: a.id,
					Offsets: []*metapb.CommittedOffset{{TopicId: []byte(topic), Offset: 1, CommitMillis: time.Now().UnixMilli()}}})
				if err != nil || r.Codes[0] != metapb.GroupCode_GROUP_OK {
					t.Fatalf("commit: %v, %v", r, err)
				}
			}
		}
		left := func() (n int) {
			log.View(func(s *meta.State) { n = len(s.Group("g").Partitions()) })
			return n
		}
		commit()
		r, err := c.DeleteOffsets(context.Background(), &metapb.GroupDeleteOffsetsRequest{Group: "g", Offsets: []*metapb.CommittedOffset{
			{TopicId: orders}, {TopicId: []byte("old-------------")}}})
		if err != nil || r.Code != metapb.GroupCode_GROUP_OK || r.Codes[0] != metapb.GroupCode_GROUP_SUBSCRIBED_TO_TOPIC || r.Codes[1] != metapb.GroupCode_GROUP_OK || left() != 1 {
			t.Errorf("deleted %v, %v, %d left", r, err, left())
		}
		commit()
		for range 8 * 24 * 60 * 60 / 5 {
			time.Sleep(5 * time.Second)
			a.heartbeat()
		}
		log.apply(t, &metapb.Command{Kind: &metapb.Command_Tick{Tick: &metapb.Tick{}}})
		if left() != 1 {
			t.Errorf("%d offsets left after eight days", left())
		}
		if r, err := c.DeleteOffsets(context.Background(), &metapb.GroupDeleteOffsetsRequest{Group: "nobody"}); err != nil || r.Code != metapb.GroupCode_GROUP_NOT_FOUND {
			t.Errorf("deleted of no group %v, %v", r, err)
		}
	})
}

func TestAGroupThatNeverWasIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCoordinator(newLog(t))
		defer c.Close()
		r := (&consumer{t: t, c: c}).joinRequest()
		r.Protocols = nil
		if _, err := c.Join(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * sweepInterval)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.mu.groups) != 0 {
			t.Errorf("%d groups", len(c.mu.groups))
		}
	})
}
