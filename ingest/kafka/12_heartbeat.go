package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Heartbeat (key 12), versions 0 to 4.
//
//	v1  throttle time; v3 group instance id (KIP-345); v4 flexible

func handleHeartbeat(ctx context.Context, call *call, r *kmsg.HeartbeatRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrHeartbeatResponse()
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	beat, err := call.domain().Groups.Heartbeat(ctx, &metapb.GroupHeartbeatRequest{
		Group: r.Group, Generation: r.Generation, MemberId: r.MemberID, InstanceId: r.InstanceID,
	})
	response.ErrorCode = groupCode(beat.GetCode(), err)
	return response, nil
}
