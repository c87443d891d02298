package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UpdateFeatures (key 57), versions 0 to 2.
//
//	v1  upgrade type and validate only; v2 no results for each feature
//
// Levels are fixed (features.go): an update to the level in force is nothing to do, any other is refused.

func handleUpdateFeatures(_ context.Context, call *call, r *kmsg.UpdateFeaturesRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrUpdateFeaturesResponse()
	if e := call.mayCluster(Alter); e != nil {
		response.ErrorCode, response.ErrorMessage = refusal(e, "")
		return response, nil
	}
	for i := range r.FeatureUpdates {
		result := kmsg.UpdateFeaturesResponseResult{Feature: r.FeatureUpdates[i].Feature}
		result.ErrorCode, result.ErrorMessage = judgeFeature(call.server().apis, &r.FeatureUpdates[i], r.Version)
		if result.ErrorCode != 0 {
			// One that fails fails the request.
			message := fmt.Sprintf("The update failed for all features since the following feature had an error: %s", *result.ErrorMessage)
			response.ErrorCode, response.ErrorMessage, response.Results = result.ErrorCode, &message, nil
			return response, nil
		}
		response.Results = append(response.Results, result)
	}
	if r.Version >= 2 {
		response.Results = nil
	}
	return response, nil
}

const (
	upgradeFeature          = 1
	unsafeDowngradeFeature  = 3
	levelOfDisabledFeatures = 0
)

func judgeFeature(apis *apiTable, update *kmsg.UpdateFeaturesRequestFeatureUpdate, version int16) (int16, *string) {
	invalid := func(format string, args ...any) (int16, *string) {
		return refusal(kerr.InvalidUpdateVersion, fmt.Sprintf("Invalid update version %d for feature %s. ", update.MaxVersionLevel, update.Feature)+fmt.Sprintf(format, args...))
	}
	f := lookupFeature(update.Feature)
	switch {
	case f == nil:
		return invalid("The node does not support this feature.")
	case version >= 1 && (update.UpgradeType < upgradeFeature || update.UpgradeType > unsafeDowngradeFeature):
		return invalid("The upgrade type %d is not known.", update.UpgradeType)
	case update.MaxVersionLevel < levelOfDisabledFeatures:
		return invalid("A feature version cannot be less than 0.")
	case update.MaxVersionLevel < f.min || update.MaxVersionLevel > f.max:
		return invalid("Supported are versions %d to %d.", f.min, f.max)
	case update.MaxVersionLevel != f.levelIn(apis):
		return invalid("It is fixed at %d by this version of Varve.", f.levelIn(apis))
	}
	return 0, nil
}
