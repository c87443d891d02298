package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeUserScramCredentials (key 50, version 0) and AlterUserScramCredentials (key 51, version 0).
//
// There is no listener that could ask a client for them, so there are none, and none are stored to be ignored.

func handleDescribeUserSCRAMCredentials(_ context.Context, call *call, r *kmsg.DescribeUserSCRAMCredentialsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeUserSCRAMCredentialsResponse()
	if e := call.mayCluster(Describe); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		return response, nil
	}
	response.ErrorMessage = kmsg.StringPtr("")
	named := make(map[string]int)
	for _, user := range r.Users {
		named[user.Name]++
	}
	for _, user := range r.Users {
		times, first := named[user.Name]
		if !first {
			continue
		}
		delete(named, user.Name)
		result := kmsg.DescribeUserSCRAMCredentialsResponseResult{User: user.Name}
		if times > 1 {
			result.ErrorCode, result.ErrorMessage = refusal(kerr.DuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: "+user.Name)
		} else {
			result.ErrorCode, result.ErrorMessage = refusal(kerr.ResourceNotFound, "Attempt to describe a user credential that does not exist: "+user.Name)
		}
		response.Results = append(response.Results, result)
	}
	return response, nil
}

func handleAlterUserSCRAMCredentials(_ context.Context, call *call, r *kmsg.AlterUserSCRAMCredentialsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrAlterUserSCRAMCredentialsResponse()
	e, message := kerr.SecurityDisabled, "No listener of the cluster authenticates clients by SCRAM."
	if denied := call.mayCluster(Alter); denied != nil {
		e, message = denied, ""
	}
	seen := make(map[string]bool)
	refuse := func(user string) {
		if seen[user] {
			return
		}
		seen[user] = true
		result := kmsg.AlterUserSCRAMCredentialsResponseResult{User: user}
		result.ErrorCode, result.ErrorMessage = refusal(e, message)
		response.Results = append(response.Results, result)
	}
	for _, d := range r.Deletions {
		refuse(d.Name)
	}
	for _, u := range r.Upsertions {
		refuse(u.Name)
	}
	return response, nil
}
