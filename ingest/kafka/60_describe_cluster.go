package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// DescribeCluster (key 60), versions 0 to 2.
//
//	v1  endpoint type (KIP-919); v2 fenced brokers (KIP-1073), which here are the nodes that are not live

const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

func handleDescribeCluster(_ context.Context, call *call, r *kmsg.DescribeClusterRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrDescribeClusterResponse()
	response.ControllerID = -1
	switch {
	case r.Version < 1 || r.EndpointType == brokerEndpoints:
	case r.EndpointType == controllerEndpoints:
		response.ErrorCode, response.ErrorMessage = refusal(kerr.MismatchedEndpointType, "The request was sent to an endpoint of a broker.")
		return response, nil
	default:
		response.ErrorCode, response.ErrorMessage = refusal(kerr.UnsupportedEndpointType, "Unsupported endpoint type.")
		return response, nil
	}
	response.EndpointType, response.ClusterID = brokerEndpoints, call.server().config.ClusterID
	if r.IncludeClusterAuthorizedOperations {
		response.ClusterAuthorizedOperations = clusterOperations
	}
	nodes, named := call.brokers()
	response.ControllerID = controllerOf(nodes)
	shown := map[int32]bool{}
	for _, n := range named {
		shown[n.id] = true
	}
	call.domain().Metadata.View(func(s *meta.State) {
		for _, n := range s.Nodes() {
			live := shown[int32(n.ID)]
			if live || r.IncludeFencedBrokers {
				response.Brokers = append(response.Brokers, kmsg.DescribeClusterResponseBroker{
					NodeID: int32(n.ID), Host: n.KafkaHost, Port: n.KafkaPort, Rack: nilIfEmpty(n.Zone), IsFenced: !live,
				})
			}
		}
	})
	return response, nil
}
