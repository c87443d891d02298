package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// ListGroups (key 16), versions 0 to 5.
//
//	v1  throttle time; v3 flexible; v4 states, and a filter of them (KIP-518); v5 types, and a filter of them (KIP-848)

const listGroupsTimeout = 30 * time.Second

func handleListGroups(ctx context.Context, call *call, r *kmsg.ListGroupsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, listGroupsTimeout)
	defer cancel()
	response := kmsg.NewPtrListGroupsResponse()
	listed, err := call.domain().Groups.List(ctx, &metapb.GroupListRequest{States: r.StatesFilter, Types: r.TypesFilter})
	if err != nil {
		response.ErrorCode = groupCode(0, err)
		return response, nil
	}
	for _, g := range listed.Groups {
		if call.mayGroup(Describe, g.Group) != nil {
			continue
		}
		response.Groups = append(response.Groups, kmsg.ListGroupsResponseGroup{Group: g.Group, ProtocolType: g.ProtocolType, GroupState: g.State, GroupType: g.Type})
	}
	return response, nil
}
