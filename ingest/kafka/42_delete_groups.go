package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/metapb"
)

// DeleteGroups (key 42), versions 0 to 2.
//
//	v1  same bytes; v2 flexible

const deleteGroupsTimeout = 30 * time.Second

func handleDeleteGroups(ctx context.Context, call *call, r *kmsg.DeleteGroupsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, deleteGroupsTimeout)
	defer cancel()
	response := kmsg.NewPtrDeleteGroupsResponse()
	deleted, err := call.domain().Groups.Delete(ctx, &metapb.GroupDeleteRequest{Groups: r.Groups})
	for i, name := range r.Groups {
		answer := kmsg.DeleteGroupsResponseGroup{Group: name, ErrorCode: groupCode(metapb.GroupCode_GROUP_UNAVAILABLE, err)}
		if err == nil && i < len(deleted.Codes) {
			answer.ErrorCode = groupCode(deleted.Codes[i], nil)
		}
		response.Groups = append(response.Groups, answer)
	}
	return response, nil
}
