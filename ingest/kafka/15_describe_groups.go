package kafka

import (
	"context"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// DescribeGroups (key 15), versions 0 to 6.
//
//	v1  throttle time; v3 authorized operations (KIP-430); v4 group instance ids; v5 flexible
//	v6  GROUP_ID_NOT_FOUND for groups that are not there, with a message (KIP-1043); before, such a group is described as dead

const describeGroupsTimeout = 30 * time.Second

func handleDescribeGroups(ctx context.Context, call *call, r *kmsg.DescribeGroupsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, describeGroupsTimeout)
	defer cancel()
	response := kmsg.NewPtrDescribeGroupsResponse()
	described, err := call.domain().Groups.Describe(ctx, &metapb.GroupDescribeRequest{Groups: r.Groups})
	for i, name := range r.Groups {
		answer := kmsg.NewDescribeGroupsResponseGroup()
		answer.Group = name
		if r.IncludeAuthorizedOperations {
			answer.AuthorizedOperations = groupOperations
		}
		if e := call.mayGroup(Describe, name); e != nil {
			answer.ErrorCode = e.Code
		} else if err != nil || i >= len(described.Groups) {
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
		} else {
			describeGroup(r.Version, described.Groups[i], &answer)
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}

func describeGroup(version int16, g *metapb.GroupDescribed, answer *kmsg.DescribeGroupsResponseGroup) {
	answer.ErrorCode = groupCode(g.Code, nil)
	answer.State, answer.ProtocolType, answer.Protocol = g.State, g.ProtocolType, g.Protocol
	if g.Code == metapb.GroupCode_GROUP_NOT_FOUND {
		answer.State = "Dead"
		if version < 6 {
			answer.ErrorCode = 0
		} else {
			answer.AuthorizedOperations = math.MinInt32 // nobody may do anything to what is not there
			answer.ErrorMessage = nilIfEmpty(g.Message)
		}
	}
	for _, m := range g.Members {
		member := kmsg.DescribeGroupsResponseGroupMember{
			MemberID: m.MemberId, InstanceID: nilIfEmpty(m.InstanceId), ClientID: m.ClientId, ClientHost: m.ClientHost, MemberAssignment: m.Assignment,
		}
		if len(m.Protocols) > 0 {
			member.ProtocolMetadata = m.Protocols[0].Metadata
		}
		answer.Members = append(answer.Members, member)
	}
}
