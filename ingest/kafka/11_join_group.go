package kafka

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// JoinGroup (key 11), versions 0 to 9.
//
//	v0  the session timeout is the rebalance timeout
//	v1  rebalance timeout; v2 throttle time
//	v4  a new member is told its id first and joins again with it (KIP-394)
//	v5  group instance id (KIP-345)
//	v6  flexible
//	v7  protocol type in the answer (KIP-559)
//	v8  reason (KIP-800)
//	v9  the leader may be told to skip the assignment (KIP-814)

func handleJoinGroup(_ context.Context, call *call, r *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	request := &metapb.GroupJoinRequest{
		Group: r.Group, MemberId: r.MemberID, InstanceId: r.InstanceID, ClientId: call.clientID(), ClientHost: "/" + call.conn.host,
		SessionTimeoutMillis: r.SessionTimeoutMillis, RebalanceTimeoutMillis: r.RebalanceTimeoutMillis, ProtocolType: r.ProtocolType,
		RequiresKnownMember: r.Version >= 4 && r.InstanceID == nil, CanSkipAssignment: r.Version >= 9, Reason: orEmpty(r.Reason),
	}
	for i := range r.Protocols {
		// Copied: the group keeps it, and the request's bytes are slices of the frame.
		p := &metapb.GroupProtocol{Name: r.Protocols[i].Name, Metadata: bytes.Clone(r.Protocols[i].Metadata)}
		request.Protocols = append(request.Protocols, p)
	}
	response := kmsg.NewPtrJoinGroupResponse()
	response.Generation, response.MemberID = -1, r.MemberID
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		fillNullJoin(r.Version, response)
		return response, nil
	}
	// The poll's context ends when the server drains, too: the member looks for another node, which goes on with the group.
	joined, err := call.domain().Groups.Join(call.conn.poll, request)
	if err != nil {
		response.ErrorCode = kerr.NotCoordinator.Code
		fillNullJoin(r.Version, response)
		return response, nil
	}
	response.ErrorCode, response.Generation, response.MemberID = groupCode(joined.Code, nil), joined.Generation, joined.MemberId
	response.ProtocolType, response.Protocol = nilIfEmpty(joined.ProtocolType), nilIfEmpty(joined.Protocol)
	response.LeaderID, response.SkipAssignment = joined.Leader, joined.SkipAssignment
	for _, m := range joined.Members {
		response.Members = append(response.Members, kmsg.JoinGroupResponseMember{MemberID: m.MemberId, InstanceID: m.InstanceId, ProtocolMetadata: m.Metadata})
	}
	fillNullJoin(r.Version, response)
	return response, nil
}

// fillNullJoin: before v7 the protocol is not nullable.
func fillNullJoin(version int16, response *kmsg.JoinGroupResponse) {
	if version < 7 && response.Protocol == nil {
		response.Protocol = kmsg.StringPtr("")
	}
}
