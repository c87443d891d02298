package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// feature is a level of behaviour that clients and tools ask for (KIP-584).
type feature struct {
	name     string
	min, max int16 // levels that Apache Kafka 4.1 supports
	level    int16 // in force, once key is served
	key      int16 // of the API that it lets clients use, 0 for none
}

// features are those of Apache Kafka 4.1. What they switch in Kafka comes with Varve's version and cannot be switched alone, so their levels are
// fixed: the level says what clients may use.
var features = []feature{
	{"eligible.leader.replicas.version", 0, 1, 1, 0}, // there are none: no replica sets
	{"group.version", 0, 1, 1, 68},                   // the consumer protocol (KIP-848)
	{"kraft.version", 0, 1, 1, 0},
	{"metadata.version", 7, 27, 27, 0}, // 4.1-IV1
	{"share.version", 0, 1, 1, 76},     // share groups (KIP-932)
	{"streams.version", 0, 1, 1, 88},   // streams groups (KIP-1071)
	{"transaction.version", 0, 2, 2, 24},
}

func lookupFeature(name string) *feature {
	for i := range features {
		if features[i].name == name {
			return &features[i]
		}
	}
	return nil
}

// levelIn is the level in force with a table of APIs.
func (f *feature) levelIn(apis *apiTable) int16 {
	if f.key != 0 && apis.lookup(f.key) == nil {
		return 0
	}
	return f.level
}

// describeFeatures fills in what ApiVersions v3 and above tells of features. A level of 0 is not told: it is the same as none. Before v4 a
// range that begins at 0 makes clients fail, so that it is told from 1 (KAFKA-17011).
func describeFeatures(response *kmsg.ApiVersionsResponse, apis *apiTable, version int16) {
	response.FinalizedFeaturesEpoch = 0
	for _, f := range features {
		if f.min == 0 && version < 4 {
			f.min = 1
		}
		response.SupportedFeatures = append(response.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: f.name, MinVersion: f.min, MaxVersion: f.max})
		if level := f.levelIn(apis); level > 0 {
			response.FinalizedFeatures = append(response.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: f.name, MinVersionLevel: level, MaxVersionLevel: level})
		}
	}
}
