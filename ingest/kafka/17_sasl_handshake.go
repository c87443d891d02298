package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// SaslHandshake (key 17), versions 0 to 1, and SaslAuthenticate (key 36), versions 0 to 2, as a PLAINTEXT listener answers them.

func handleSaslHandshake(context.Context, *call, *kmsg.SASLHandshakeRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrSASLHandshakeResponse()
	response.ErrorCode = kerr.IllegalSaslState.Code
	return response, nil
}

func handleSaslAuthenticate(context.Context, *call, *kmsg.SASLAuthenticateRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrSASLAuthenticateResponse()
	response.ErrorCode = kerr.IllegalSaslState.Code
	response.ErrorMessage = kmsg.StringPtr("SaslAuthenticate request received after successful authentication")
	return response, nil
}
