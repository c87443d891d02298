package kafka

import (
	"context"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FindCoordinator (key 10), versions 0 to 6.
//
//	v1  coordinator type; before, it is a group's
//	v3  flexible
//	v4  several keys in one request (KIP-699)
//	v5  transactions without AddPartitionsToTxn (KIP-890); v6 share groups (KIP-932); same bytes
//
// Any node serves any group and any transactional id. The answer names one of the client's zone by rendezvous hashing, so that a group's members meet on
// few nodes, which gather their heartbeats.

const (
	groupCoordinator       = 0
	transactionCoordinator = 1
	shareCoordinator       = 2 // of the state of a share partition, group:topic id:partition; brokers ask for it
)

func handleFindCoordinator(ctx context.Context, call *call, r *kmsg.FindCoordinatorRequest) (kmsg.Response, error) {
	keys := r.CoordinatorKeys
	if r.Version < 4 {
		keys = []string{r.CoordinatorKey}
	}
	if r.Version < 1 {
		r.CoordinatorType = groupCoordinator
	}
	call.server().config.CheckNodes(ctx)
	nodes := candidates(call.nodes(), call.zone())
	response := kmsg.NewPtrFindCoordinatorResponse()
	for _, key := range keys {
		c := findCoordinator(nodes, r.CoordinatorType, key)
		if r.CoordinatorType == shareCoordinator && (r.Version < 6 || call.mayCluster(ClusterAction) != nil || !isSharePartitionKey(key)) {
			c = refuseCoordinator(key, kerr.InvalidRequest)
		}
		if e := call.mayGroup(Describe, key); e != nil && r.CoordinatorType == groupCoordinator {
			c = kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1, ErrorCode: e.Code}
		}
		if e := call.mayTransactionalID(Describe, key); e != nil && r.CoordinatorType == transactionCoordinator {
			c = kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1, ErrorCode: e.Code}
		}
		response.Coordinators = append(response.Coordinators, c)
	}
	if r.Version < 4 {
		c := &response.Coordinators[0]
		response.ErrorCode, response.ErrorMessage = c.ErrorCode, c.ErrorMessage
		response.NodeID, response.Host, response.Port = c.NodeID, c.Host, c.Port
		response.Coordinators = nil
	}
	return response, nil
}

func findCoordinator(nodes []node, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	if kind < groupCoordinator || kind > shareCoordinator {
		return refuseCoordinator(key, kerr.InvalidRequest)
	}
	c := kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1, ErrorMessage: kmsg.StringPtr("NONE")} // which is how Kafka calls it
	id := coordinatorOf(nodes, key)
	for _, n := range nodes {
		if n.id == id {
			c.NodeID, c.Host, c.Port = n.id, n.host, n.port
			return c
		}
	}
	return refuseCoordinator(key, kerr.CoordinatorNotAvailable)
}

func refuseCoordinator(key string, e *kerr.Error) kmsg.FindCoordinatorResponseCoordinator {
	return kmsg.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1, ErrorCode: e.Code, ErrorMessage: kmsg.StringPtr(e.Description)}
}

// isSharePartitionKey says whether a key names a share partition: group:topic id:partition.
func isSharePartitionKey(key string) bool {
	parts := strings.Split(strings.TrimRight(key, ":"), ":")
	if len(parts) != 3 || strings.TrimSpace(parts[0]) == "" || !isMemberID(parts[1]) {
		return false
	}
	_, err := strconv.ParseInt(parts[2], 10, 32)
	return err == nil
}
