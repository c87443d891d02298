package kafka

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// SyncGroup (key 14), versions 0 to 5.
//
//	v1  throttle time; v3 group instance id (KIP-345); v4 flexible
//	v5  protocol type and name, which must be the group's (KIP-559)

func handleSyncGroup(_ context.Context, call *call, r *kmsg.SyncGroupRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrSyncGroupResponse()
	if e := call.mayGroup(Read, r.Group); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	if r.Version >= 5 && (r.ProtocolType == nil || r.Protocol == nil) {
		response.ErrorCode = kerr.InconsistentGroupProtocol.Code
		return response, nil
	}
	request := &metapb.GroupSyncRequest{
		Group: r.Group, Generation: r.Generation, MemberId: r.MemberID, InstanceId: r.InstanceID, ProtocolType: r.ProtocolType, Protocol: r.Protocol,
	}
	for i := range r.GroupAssignment {
		// Copied: the group keeps it, and the request's bytes are slices of the frame.
		a := &metapb.GroupAssignment{MemberId: r.GroupAssignment[i].MemberID, Assignment: bytes.Clone(r.GroupAssignment[i].MemberAssignment)}
		request.Assignments = append(request.Assignments, a)
	}
	synced, err := call.domain().Groups.Sync(call.conn.poll, request)
	if err != nil {
		response.ErrorCode = kerr.NotCoordinator.Code
		return response, nil
	}
	response.ErrorCode, response.MemberAssignment = groupCode(synced.Code, nil), synced.Assignment
	response.ProtocolType, response.Protocol = nilIfEmpty(synced.ProtocolType), nilIfEmpty(synced.Protocol)
	return response, nil
}
