package kafka

import (
	"context"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (key 18), versions 0 to 4.
//
//	v3  flexible body, the client's software name and version (KIP-511); the answer's header stays version 0
//	v4  supported features may have a minimum of 0; same bytes
//
// A version above 4 is answered in version 0 with UNSUPPORTED_VERSION and the range of ApiVersions itself, so that the client can ask again.

var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

func handleApiVersions(_ context.Context, call *call, r *kmsg.ApiVersionsRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrApiVersionsResponse()
	if r.Version >= 3 && (!softwareName.MatchString(r.ClientSoftwareName) || !softwareName.MatchString(r.ClientSoftwareVersion)) {
		response.ErrorCode = kerr.InvalidRequest.Code
		return response, nil
	}
	if r.Version >= 3 {
		call.conn.softwareName, call.conn.softwareVersion = r.ClientSoftwareName, r.ClientSoftwareVersion
	}
	for _, a := range call.server().apis.list {
		key := kmsg.ApiVersionsResponseApiKey{ApiKey: a.key, MinVersion: a.min, MaxVersion: a.max}
		if a.key == keyProduce {
			key.MinVersion = produceAdvertisedMin
		}
		response.ApiKeys = append(response.ApiKeys, key)
	}
	if r.Version >= 3 {
		describeFeatures(response, call.server().apis, r.Version)
	}
	return response, nil
}

func unsupportedApiVersions(a *api) *kmsg.ApiVersionsResponse {
	response := kmsg.NewPtrApiVersionsResponse()
	response.Version = 0
	response.ErrorCode = kerr.UnsupportedVersion.Code
	response.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: a.key, MinVersion: a.min, MaxVersion: a.max}}
	return response
}
