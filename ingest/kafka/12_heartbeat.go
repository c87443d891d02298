package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Heartbeat (key 12), versions 0 to 4.
//
//	v1  throttle time; v3 group instance id (KIP-345); v4 flexible

func beginHeartbeat(call *call, r *kmsg.HeartbeatRequest, answer func(kmsg.Response)) {
	response := kmsg.NewPtrHeartbeatResponse()
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		answer(response)
		return
	}
	call.domain().Groups.BeginHeartbeat(&metapb.GroupHeartbeatRequest{
		Group: r.Group, Generation: r.Generation, MemberId: r.MemberID, InstanceId: r.InstanceID,
	}, func(beat *metapb.GroupHeartbeatResponse, err error) {
		response.ErrorCode = groupCode(beat.GetCode(), err)
		answer(response)
	})
}
