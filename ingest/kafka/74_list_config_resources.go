package kafka

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// ListConfigResources (key 74), versions 0 to 1.
//
//	v0  was ListClientMetricsResources: lists those alone
//	v1  resource types; none means all (KIP-1142)

var listedResources = []kmsg.ConfigResourceType{
	kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig,
}

func handleListConfigResources(_ context.Context, call *call, r *kmsg.ListConfigResourcesRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrListConfigResourcesResponse()
	if e := call.mayCluster(DescribeConfigs); e != nil {
		response.ErrorCode = e.Code
		return response, nil
	}
	asked := listedResources
	switch {
	case r.Version == 0:
		asked = []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeClientMetrics}
	case len(r.ResourceTypes) > 0:
		asked = nil
		for _, kind := range r.ResourceTypes {
			if !slices.Contains(listedResources, kmsg.ConfigResourceType(kind)) {
				response.ErrorCode = kerr.UnsupportedVersion.Code
				return response, nil
			}
			if !slices.Contains(asked, kmsg.ConfigResourceType(kind)) {
				asked = append(asked, kmsg.ConfigResourceType(kind))
			}
		}
	}
	for _, kind := range asked {
		for _, name := range call.configResources(kind) {
			response.ConfigResources = append(response.ConfigResources, kmsg.ListConfigResourcesResponseConfigResource{Name: name, Type: int8(kind)})
		}
	}
	return response, nil
}

// configResources names the resources of a type that can be described.
func (c *call) configResources(kind kmsg.ConfigResourceType) (names []string) {
	if kind == kmsg.ConfigResourceTypeBroker || kind == kmsg.ConfigResourceTypeBrokerLogger {
		_, named := c.brokers()
		for _, n := range named {
			names = append(names, strconv.Itoa(int(n.id)))
		}
		return names
	}
	c.domain().Metadata.View(func(s *meta.State) {
		switch kind {
		case kmsg.ConfigResourceTypeTopic:
			for _, t := range s.Topics() {
				if c.mayTopic(DescribeConfigs, t.Name) == nil {
					names = append(names, t.Name)
				}
			}
		case kmsg.ConfigResourceTypeClientMetrics:
			names = s.ConfiguredNames(meta.ScopeClientMetrics)
		case kmsg.ConfigResourceTypeGroupConfig:
			names = s.ConfiguredNames(meta.ScopeGroup)
		}
	})
	return names
}
