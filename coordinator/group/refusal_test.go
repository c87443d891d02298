package group

import (
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Kafka answers every request for a group without a name with INVALID_GROUP_ID, whether or not its member is known.
func TestAGroupWithoutANameIsNone(t *testing.T) {
	ctx, c := t.Context(), &Coordinator{}
	sync, err := c.Sync(ctx, &metapb.GroupSyncRequest{MemberId: "m"})
	if err != nil || sync.Code != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("sync: %v, %v", sync.GetCode(), err)
	}
	beat, err := c.Heartbeat(ctx, &metapb.GroupHeartbeatRequest{MemberId: "m"})
	if err != nil || beat.Code != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("heartbeat: %v, %v", beat.GetCode(), err)
	}
	left, err := c.Leave(ctx, &metapb.GroupLeaveRequest{Members: []*metapb.GroupLeaver{{MemberId: "m"}}})
	if err != nil || left.Code != metapb.GroupCode_GROUP_INVALID_ID {
		t.Errorf("leave: %v, %v", left.GetCode(), err)
	}
}

// A member that is alone in its group may change its protocols, but not what the group is for.
func TestAMemberDoesNotChangeItsGroupsProtocolType(t *testing.T) {
	g := &Group{protocolType: "consumer", state: Stable, members: []*member{{id: "m"}}}
	if g.accepts(&metapb.GroupJoinRequest{MemberId: "m", ProtocolType: "connect", Protocols: []*metapb.GroupProtocol{{Name: "range"}}}) {
		t.Error("a consumer joined its group again as a connect worker")
	}
	if !g.accepts(&metapb.GroupJoinRequest{MemberId: "m", ProtocolType: "consumer", SessionTimeoutMillis: int32(time.Minute.Milliseconds()), Protocols: []*metapb.GroupProtocol{{Name: "sticky"}}}) {
		t.Error("a member that is alone could not change its protocol")
	}
}
