package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// LeaveGroup (key 13), versions 0 to 5.
//
//	v1  throttle time; v3 several members at once (KIP-345); v4 flexible; v5 reason (KIP-800)

const leaveGroupTimeout = 10 * time.Second

func handleLeaveGroup(ctx context.Context, call *call, r *kmsg.LeaveGroupRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrLeaveGroupResponse()
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaveGroupTimeout)
	defer cancel()
	request := &metapb.GroupLeaveRequest{Group: r.Group}
	if r.Version < 3 {
		request.Members = []*metapb.GroupLeaver{{MemberId: r.MemberID}}
	}
	for i := range r.Members {
		m := &r.Members[i]
		request.Members = append(request.Members, &metapb.GroupLeaver{MemberId: m.MemberID, InstanceId: m.InstanceID, Reason: orEmpty(m.Reason)})
	}
	left, err := call.domain().Groups.Leave(ctx, request)
	response.ErrorCode = groupCode(left.GetCode(), err)
	if response.ErrorCode != 0 {
		return response, nil
	}
	if r.Version < 3 && len(left.Members) == 1 {
		response.ErrorCode = groupCode(left.Members[0].Code, nil)
		return response, nil
	}
	for _, m := range left.Members {
		response.Members = append(response.Members, kmsg.LeaveGroupResponseMember{
			MemberID: m.MemberId, InstanceID: m.InstanceId, ErrorCode: groupCode(m.Code, nil),
		})
	}
	return response, nil
}
