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
	names := distinctNames(r.Groups) // a group that is named twice is told of once
	response.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(names))
	request := &metapb.GroupDeleteRequest{}
	var answers []*int16
	for i, name := range names {
		answer := &response.Groups[i]
		answer.Group = name
		if e := call.mayGroup(Delete, name); e != nil {
			answer.ErrorCode = e.Code
			continue
		}
		request.Groups, answers = append(request.Groups, name), append(answers, &answer.ErrorCode)
	}
	deleted, err := call.domain().Groups.Delete(ctx, request)
	for i, answer := range answers {
		*answer = groupCode(metapb.GroupCode_GROUP_UNAVAILABLE, err)
		if err == nil && i < len(deleted.Codes) {
			*answer = groupCode(deleted.Codes[i], nil)
		}
	}
	return response, nil
}

// distinctNames are names without repetitions, in their order.
func distinctNames(names []string) (out []string) {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}
