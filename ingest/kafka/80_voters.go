package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UnregisterBroker (key 64), AddRaftVoter (key 80) and RemoveRaftVoter (key 81), version 0.
//
// The metadata log has no voters to add: Kafka answers the same where its quorum is fixed. A node is known by its disk, and given up by itself when
// nothing is left there; one whose records are still needed cannot be unregistered.

func handleUnregisterBroker(_ context.Context, call *call, r *kmsg.UnregisterBrokerRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrUnregisterBrokerResponse()
	e, message := kerr.BrokerIDNotRegistered, fmt.Sprintf("Broker ID %d is not currently registered", r.BrokerID)
	if denied := call.mayCluster(Alter); denied != nil {
		e, message = denied, ""
	} else if call.isNode(fmt.Sprint(r.BrokerID)) {
		e, message = kerr.InvalidRequest, fmt.Sprintf("Node %d serves clients. It is given up by itself when it is gone and nothing is left on its disk.", r.BrokerID)
	}
	response.ErrorCode, response.ErrorMessage = refusal(e, message)
	return response, nil
}

func handleAddRaftVoter(_ context.Context, call *call, r *kmsg.AddRaftVoterRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrAddRaftVoterResponse()
	response.ErrorCode, response.ErrorMessage = refusal(call.changeVoters(r.ClusterID, r.VoterID, r.VoterDirectoryID, "adding"))
	return response, nil
}

func handleRemoveRaftVoter(_ context.Context, call *call, r *kmsg.RemoveRaftVoterRequest) (kmsg.Response, error) {
	response := kmsg.NewPtrRemoveRaftVoterResponse()
	response.ErrorCode, response.ErrorMessage = refusal(call.changeVoters(r.ClusterID, r.VoterID, r.VoterDirectoryID, "removing"))
	return response, nil
}

// changeVoters says why voters are not changed.
func (c *call) changeVoters(cluster *string, voter int32, directory [16]byte, what string) (*kerr.Error, string) {
	if e := c.mayCluster(Alter); e != nil {
		return e, ""
	}
	if cluster != nil && *cluster != c.server().config.ClusterID {
		return kerr.InconsistentClusterID, ""
	}
	if voter < 0 || directory == [16]byte{} {
		return kerr.InvalidRequest, "The request didn't include a valid voter"
	}
	return kerr.UnsupportedVersion, fmt.Sprintf("Cluster doesn't support %s voter because the kraft.version feature is 0", what)
}
