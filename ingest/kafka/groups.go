package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Groups is the group coordinator (coordinator/group): itself where it runs in this process, else the way to it. Any node serves any group,
// so what cannot be answered now is retried here or there. Join and Sync wait as long as the protocol waits.
type Groups interface {
	Join(context.Context, *metapb.GroupJoinRequest) (*metapb.GroupJoinResponse, error)
	Sync(context.Context, *metapb.GroupSyncRequest) (*metapb.GroupSyncResponse, error)
	Leave(context.Context, *metapb.GroupLeaveRequest) (*metapb.GroupLeaveResponse, error)
	Commit(context.Context, *metapb.GroupCommitRequest) (*metapb.GroupCommitResponse, error)
	Describe(context.Context, *metapb.GroupDescribeRequest) (*metapb.GroupDescribeResponse, error)
	List(context.Context, *metapb.GroupListRequest) (*metapb.GroupListResponse, error)
	Delete(context.Context, *metapb.GroupDeleteRequest) (*metapb.GroupDeleteResponse, error)
	DeleteOffsets(context.Context, *metapb.GroupDeleteOffsetsRequest) (*metapb.GroupDeleteOffsetsResponse, error)
	ConsumerDescribe(context.Context, *metapb.ConsumerDescribeRequest) (*metapb.ConsumerDescribeResponse, error)
	ShareDescribe(context.Context, *metapb.ShareDescribeRequest) (*metapb.ShareDescribeResponse, error)
	StreamsHeartbeat(context.Context, *metapb.StreamsHeartbeatRequest) (*metapb.StreamsHeartbeatResponse, error)
	StreamsDescribe(context.Context, *metapb.StreamsDescribeRequest) (*metapb.StreamsDescribeResponse, error)

	// Heartbeats are answered by a call, at once or when what the answer says is durable, from any goroutine, which is not to be kept.
	BeginHeartbeat(*metapb.GroupHeartbeatRequest, func(*metapb.GroupHeartbeatResponse, error))
	BeginConsumerHeartbeat(*metapb.ConsumerHeartbeatRequest, func(*metapb.ConsumerHeartbeatResponse, error))
	BeginShareHeartbeat(*metapb.ShareHeartbeatRequest, func(*metapb.ShareHeartbeatResponse, error))
}

// groupCode is the code of a group request that was answered, or was not.
func groupCode(code metapb.GroupCode, err error) int16 {
	if err != nil {
		return kerr.CoordinatorNotAvailable.Code
	}
	if e := groupError(code); e != nil {
		return e.Code
	}
	return 0
}

// nilIfEmpty is for fields that are null where there is nothing.
func nilIfEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
