package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeAcls (key 29), CreateAcls (key 30) and DeleteAcls (key 31), versions 1 to 3, as a broker without an authorizer answers them.

const noAuthorizer = "No Authorizer is configured."

func handleDescribeACLs(context.Context, *call, *kmsg.DescribeACLsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeACLsResponse()
	response.ErrorCode, response.ErrorMessage = refusal(kerr.SecurityDisabled, "No Authorizer is configured on the broker")
	return response, nil
}

func handleCreateACLs(_ context.Context, _ *call, r *kmsg.CreateACLsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrCreateACLsResponse()
	for range r.Creations {
		result := kmsg.NewCreateACLsResponseResult()
		result.ErrorCode, result.ErrorMessage = refusal(kerr.SecurityDisabled, noAuthorizer)
		response.Results = append(response.Results, result)
	}
	return response, nil
}

func handleDeleteACLs(_ context.Context, _ *call, r *kmsg.DeleteACLsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDeleteACLsResponse()
	for range r.Filters {
		result := kmsg.NewDeleteACLsResponseResult()
		result.ErrorCode, result.ErrorMessage = refusal(kerr.SecurityDisabled, noAuthorizer)
		response.Results = append(response.Results, result)
	}
	return response, nil
}
