package group

import (
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// mayCommit judges a commit of offsets, in a transaction or not. In a transaction, a producer that names no member is let through, and a
// member may commit while the group waits for its assignments: what it has consumed is bound to the transaction.
func (g *Group) mayCommit(now time.Time, r *metapb.GroupCommitRequest) metapb.GroupCode {
	if r.Transaction != nil && r.Generation < 0 && r.MemberId == "" && r.InstanceId == nil {
		return metapb.GroupCode_GROUP_OK
	}
	code := g.MayCommit(now, r)
	if r.Transaction != nil && code == metapb.GroupCode_GROUP_REBALANCE_IN_PROGRESS {
		return metapb.GroupCode_GROUP_OK
	}
	return code
}

// commitCommand is what puts the offsets in the log.
func commitCommand(r *metapb.GroupCommitRequest, offsets []*metapb.CommittedOffset) *metapb.Command {
	t := r.Transaction
	if t == nil {
		return &metapb.Command{Kind: &metapb.Command_CommitOffsets{CommitOffsets: &metapb.CommitOffsets{Group: r.Group, Offsets: offsets}}}
	}
	return &metapb.Command{Kind: &metapb.Command_CommitTransactionOffsets{CommitTransactionOffsets: &metapb.CommitTransactionOffsets{
		TransactionalId: t.TransactionalId, ProducerId: t.ProducerId, ProducerEpoch: t.ProducerEpoch, Joins: t.Joins, Group: r.Group, Offsets: offsets,
	}}}
}

// transactionCode is the code for a commit that its transaction does not take; false for any other.
func transactionCode(code meta.Code) (metapb.GroupCode, bool) {
	switch code {
	case meta.InvalidProducerIDMapping:
		return metapb.GroupCode_GROUP_INVALID_PRODUCER_ID_MAPPING, true
	case meta.InvalidProducerEpoch, meta.ProducerFenced:
		return metapb.GroupCode_GROUP_INVALID_PRODUCER_EPOCH, true
	case meta.InvalidTransactionState:
		return metapb.GroupCode_GROUP_INVALID_TXN_STATE, true
	}
	return 0, false
}

// mayCommit is the same for a group of the consumer protocol, whose words for a stale member producers do not know.
func (g *ConsumerGroup) mayCommit(r *metapb.GroupCommitRequest) metapb.GroupCode {
	if r.Transaction != nil && r.Generation < 0 && r.MemberId == "" && r.InstanceId == nil {
		return metapb.GroupCode_GROUP_OK
	}
	code := g.MayCommit(r)
	if r.Transaction != nil && code == metapb.GroupCode_GROUP_STALE_MEMBER_EPOCH {
		return metapb.GroupCode_GROUP_ILLEGAL_GENERATION
	}
	return code
}
