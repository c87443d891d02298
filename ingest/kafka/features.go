package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// feature is a feature that clients look for: the range that is supported, and the level in effect.
type feature struct {
	name             string
	minimum, maximum int16
	level            int16
}

// features of Kafka that change what clients do.
var features = []feature{
	{name: "transaction.version", minimum: 0, maximum: 2, level: 2}, // 2: KIP-890
}

// tellFeatures puts the features into an answer to ApiVersions. Before version 4 a client takes a minimum of 0 for an error.
func tellFeatures(response *kmsg.ApiVersionsResponse, version int16) {
	for _, f := range features {
		if f.minimum > 0 || version >= 4 {
			response.SupportedFeatures = append(response.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{
				Name: f.name, MinVersion: f.minimum, MaxVersion: f.maximum,
			})
		}
		response.FinalizedFeatures = append(response.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: f.name, MaxVersionLevel: f.level, MinVersionLevel: f.level,
		})
	}
	response.FinalizedFeaturesEpoch = 0
}
