package kafka

import (
	"context"
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/fetch"
	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// The one place where the domain's outcomes become Kafka's error codes.

// codeError maps an outcome of the state machine.
func codeError(code meta.Code) *kerr.Error {
	switch code {
	case meta.OK, meta.AlreadyCommitted:
		return nil
	case meta.UnknownTopic:
		return kerr.UnknownTopicOrPartition
	case meta.TopicExists:
		return kerr.TopicAlreadyExists
	case meta.InvalidTopicName:
		return kerr.InvalidTopicException
	case meta.InvalidPartitions:
		return kerr.InvalidPartitions
	case meta.PolicyViolation:
		return kerr.PolicyViolation
	case meta.InvalidConfig:
		return kerr.InvalidConfig
	case meta.WrongDurability:
		// The topic's class has risen since the batch was taken; the next attempt goes to the right lane.
		return kerr.NotLeaderForPartition
	case meta.OutOfOrderSequence:
		return kerr.OutOfOrderSequenceNumber
	case meta.InvalidProducerEpoch:
		return kerr.InvalidProducerEpoch
	case meta.TransactionUnsupported:
		return kerr.InvalidRecord
	case meta.InvalidTransactionState, meta.InvalidProducerIDMapping, meta.ProducerFenced, meta.InvalidTransactionTimeout:
		return transactionError(code, math.MaxInt16, 0)
	case meta.UnknownGroup:
		return kerr.GroupIDNotFound
	case meta.GroupNotEmpty:
		return kerr.NonEmptyGroup
	case meta.OffsetOutOfRange:
		return kerr.OffsetOutOfRange
	case meta.Fenced, meta.WrongSeq, meta.SegmentSealed, meta.StaleLeader, meta.Incomplete:
		return kerr.NotLeaderForPartition
	default:
		return kerr.UnknownServerError
	}
}

// produceError maps what became of one batch; 0 is success.
func produceError(r *lane.Result, version int16) (code int16, message string) {
	switch r.Failure {
	case lane.NoFailure:
		if r.Code == meta.OK || r.Code == meta.DuplicateSequence {
			return 0, ""
		}
		e := abortable(codeError(r.Code), version, 11)
		if r.Code == meta.InvalidTransactionState {
			return e.Code, e.Description // the one that Kafka has a text for
		}
		return e.Code, ""
	case lane.TimedOut:
		return kerr.RequestTimedOut.Code, ""
	case lane.NotEnoughReplicas:
		return kerr.NotEnoughReplicas.Code, ""
	case lane.UnknownPartition:
		return kerr.UnknownTopicOrPartition.Code, ""
	case lane.TooLarge:
		return kerr.MessageTooLarge.Code, "" // at which producers send what they have in smaller batches
	case lane.Fenced, lane.Closed:
		return kerr.NotLeaderForPartition.Code, ""
	default:
		return kerr.KafkaStorageError.Code, ""
	}
}

// batchError maps why a batch was refused before it came near a lane.
func batchError(err error) *kerr.Error {
	var refused *recordbatch.RecordsError
	switch {
	case errors.Is(err, recordbatch.ErrTooLarge):
		return kerr.MessageTooLarge
	case errors.Is(err, recordbatch.ErrUndecodable): // as in Kafka, which fails within
		return kerr.UnknownServerError
	case errors.Is(err, recordbatch.ErrEpoch):
		return kerr.InvalidProducerEpoch
	case errors.As(err, &refused) && refused.Timestamps:
		return kerr.InvalidTimestamp
	case errors.Is(err, recordbatch.ErrInvalidRecord), errors.Is(err, recordbatch.ErrMagic), errors.Is(err, recordbatch.ErrTruncated):
		return kerr.InvalidRecord // which clients do not send again
	default:
		return kerr.CorruptMessage
	}
}

// proposalError maps why a command has no verdict. Whether it will come to pass is unknown, and unless it is too large to be put in the log at
// all the code says "try again": to administrators NOT_CONTROLLER, which every client retries, to others retry.
func proposalError(err error, retry *kerr.Error) *kerr.Error {
	switch {
	case errors.Is(err, replica.ErrTooLarge):
		return kerr.InvalidRequest
	case errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut
	default:
		return retry
	}
}

// readError maps what became of a partition's read.
func readError(code fetch.Code, byID bool) int16 {
	switch code {
	case fetch.OK:
		return 0
	case fetch.UnknownTopic:
		if byID {
			return kerr.UnknownTopicID.Code
		}
		return kerr.UnknownTopicOrPartition.Code
	case fetch.OffsetOutOfRange:
		return kerr.OffsetOutOfRange.Code
	case fetch.FencedLeaderEpoch:
		return kerr.FencedLeaderEpoch.Code
	case fetch.UnknownLeaderEpoch:
		return kerr.UnknownLeaderEpoch.Code
	case fetch.OffsetNotAvailable:
		return kerr.OffsetNotAvailable.Code
	default:
		return kerr.KafkaStorageError.Code
	}
}

// behindEveryEpoch is no epoch at all.
const behindEveryEpoch = math.MinInt32

// epochError compares the leader epoch a client believes in with the partition's (KIP-320).
func epochError(client, current int32) int16 {
	switch {
	case client == behindEveryEpoch:
		return kerr.FencedLeaderEpoch.Code
	case client < 0 || client == current:
		return 0
	case client < current:
		return kerr.FencedLeaderEpoch.Code
	default:
		return kerr.UnknownLeaderEpoch.Code
	}
}

// groupError maps an outcome of the group coordinator.
func groupError(code metapb.GroupCode) *kerr.Error {
	switch code {
	case metapb.GroupCode_GROUP_OK:
		return nil
	case metapb.GroupCode_GROUP_INVALID_ID:
		return kerr.InvalidGroupID
	case metapb.GroupCode_GROUP_INVALID_SESSION_TIMEOUT:
		return kerr.InvalidSessionTimeout
	case metapb.GroupCode_GROUP_MEMBER_ID_REQUIRED:
		return kerr.MemberIDRequired
	case metapb.GroupCode_GROUP_UNKNOWN_MEMBER:
		return kerr.UnknownMemberID
	case metapb.GroupCode_GROUP_ILLEGAL_GENERATION:
		return kerr.IllegalGeneration
	case metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS:
		return kerr.RebalanceInProgress
	case metapb.GroupCode_GROUP_INCONSISTENT_PROTOCOL:
		return kerr.InconsistentGroupProtocol
	case metapb.GroupCode_GROUP_FENCED_INSTANCE:
		return kerr.FencedInstanceID
	case metapb.GroupCode_GROUP_MAX_SIZE_REACHED:
		return kerr.GroupMaxSizeReached
	case metapb.GroupCode_GROUP_NOT_EMPTY:
		return kerr.NonEmptyGroup
	case metapb.GroupCode_GROUP_NOT_FOUND:
		return kerr.GroupIDNotFound
	case metapb.GroupCode_GROUP_UNKNOWN_TOPIC:
		return kerr.UnknownTopicOrPartition
	case metapb.GroupCode_GROUP_METADATA_TOO_LARGE:
		return kerr.OffsetMetadataTooLarge
	case metapb.GroupCode_GROUP_INVALID_PRODUCER_ID_MAPPING:
		return kerr.InvalidProducerIDMapping
	case metapb.GroupCode_GROUP_INVALID_PRODUCER_EPOCH:
		return kerr.InvalidProducerEpoch
	case metapb.GroupCode_GROUP_INVALID_TXN_STATE:
		return kerr.InvalidTxnState
	case metapb.GroupCode_GROUP_FENCED_MEMBER_EPOCH:
		return kerr.FencedMemberEpoch
	case metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH:
		return kerr.StaleMemberEpoch
	case metapb.GroupCode_GROUP_UNRELEASED_INSTANCE:
		return kerr.UnreleasedInstanceID
	case metapb.GroupCode_GROUP_UNSUPPORTED_ASSIGNOR:
		return kerr.UnsupportedAssignor
	case metapb.GroupCode_GROUP_INVALID_REGEX:
		return kerr.InvalidRegularExpression
	case metapb.GroupCode_GROUP_INVALID_REQUEST:
		return kerr.InvalidRequest
	case metapb.GroupCode_GROUP_SUBSCRIBED_TO_TOPIC:
		return kerr.GroupSubscribedToTopic
	case metapb.GroupCode_GROUP_UNSUPPORTED_VERSION:
		return kerr.UnsupportedVersion
	case metapb.GroupCode_GROUP_STREAMS_INVALID_TOPOLOGY:
		return kerr.StreamsInvalidTopology
	default:
		return kerr.CoordinatorNotAvailable
	}
}
