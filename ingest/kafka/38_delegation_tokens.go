package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateDelegationToken (key 38, versions 1 to 3), RenewDelegationToken (39, 1 to 2), ExpireDelegationToken (40, 1 to 2) and
// DescribeDelegationToken (41, 1 to 3). A connection that has not authenticated may ask for none of them.

const noTimestamp = -1

func handleCreateDelegationToken(_ context.Context, _ *call, r *kmsg.CreateDelegationTokenRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrCreateDelegationTokenResponse()
	response.ErrorCode = kerr.DelegationTokenRequestNotAllowed.Code
	response.PrincipalType, response.PrincipalName = "User", anonymousName
	response.TokenRequesterPrincipalType, response.TokenRequesterPrincipalName = "User", anonymousName
	if r.Version >= 3 && orEmpty(r.OwnerPrincipalName) != "" {
		response.PrincipalType, response.PrincipalName = orEmpty(r.OwnerPrincipalType), orEmpty(r.OwnerPrincipalName)
	}
	response.IssueTimestamp, response.ExpiryTimestamp, response.MaxTimestamp = noTimestamp, noTimestamp, noTimestamp
	response.HMAC = []byte{}
	return response, nil
}

func handleRenewDelegationToken(context.Context, *call, *kmsg.RenewDelegationTokenRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrRenewDelegationTokenResponse()
	response.ErrorCode, response.ExpiryTimestamp = kerr.DelegationTokenRequestNotAllowed.Code, noTimestamp
	return response, nil
}

func handleExpireDelegationToken(context.Context, *call, *kmsg.ExpireDelegationTokenRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrExpireDelegationTokenResponse()
	response.ErrorCode, response.ExpiryTimestamp = kerr.DelegationTokenRequestNotAllowed.Code, noTimestamp
	return response, nil
}

func handleDescribeDelegationToken(context.Context, *call, *kmsg.DescribeDelegationTokenRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeDelegationTokenResponse()
	response.ErrorCode = kerr.DelegationTokenRequestNotAllowed.Code
	return response, nil
}
