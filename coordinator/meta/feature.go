package meta

import (
	"fmt"
	"math"

	"github.com/varvelog/varve/coordinator/metapb"
)

// FeatureLevel is the highest level that this build knows. A change of what the state machine makes of a log takes a new level: a new kind of
// command (needs), or other behaviour, which asks State.FeatureLevel. Whoever makes such a change raises this number with it, in the same
// release as others or not, and no two builds that know a level may differ in what it means.
//
// The level is the log's, not a build's: it begins at what the first leader knows, and is raised by a command when everybody who follows the
// log knows more (leader.Config.PeersSupport, State.NodesSupport). So builds of two releases agree on every entry, and a build that is
// too old refuses the log, by name, from the entry on that raised it.
const FeatureLevel = pendingLevel

const (
	// baseLevel is what every build knows, whatever level a log names.
	baseLevel = 1
	// mergingLevel is the level from which on LeaseCompaction also leases rounds that merge. A build that does not know it finds
	// that nothing waits.
	mergingLevel = 2
	// retentionLevel is the level from which on retention passes over what has no records, and compaction makes nothing younger.
	retentionLevel = 3
	// pendingLevel is the level from which on what a group commits outlasts the offsets that transactions have taken before, and a partition that has to forget producers forgets
	// those in a transaction last.
	pendingLevel = 4
)

// needs returns the level at which a command exists: above every level where this build does not know it.
func needs(c *metapb.Command) uint32 {
	switch c.Kind.(type) {
	case *metapb.Command_LeaderStart, *metapb.Command_RaiseFeatureLevel, *metapb.Command_Recovered, *metapb.Command_Noop, *metapb.Command_Tick,
		*metapb.Command_RegisterNode, *metapb.Command_SetNodeLive, *metapb.Command_DrainNode, *metapb.Command_ForgetNode,
		*metapb.Command_CommitChunk, *metapb.Command_SealContainer, *metapb.Command_LocalReleased, *metapb.Command_AdvanceLogStart,
		*metapb.Command_CreateTopic, *metapb.Command_DeleteTopic, *metapb.Command_CreatePartitions, *metapb.Command_AlterConfig,
		*metapb.Command_AllocateProducerId, *metapb.Command_InitTransactionalProducer, *metapb.Command_AddToTransaction,
		*metapb.Command_CommitTransactionOffsets, *metapb.Command_EndTransaction,
		*metapb.Command_StoreGroup, *metapb.Command_StoreConsumerGroup, *metapb.Command_StoreStreamsGroup, *metapb.Command_StoreShareGroup,
		*metapb.Command_StoreShareState, *metapb.Command_ResetShareOffsets, *metapb.Command_CommitOffsets, *metapb.Command_DeleteOffsets,
		*metapb.Command_DeleteGroups,
		*metapb.Command_LeaseJob, *metapb.Command_RenewJob, *metapb.Command_FinishJob, *metapb.Command_LeaseCompaction, *metapb.Command_CompactRange, *metapb.Command_ForgetGarbage:
		return 1
	}
	return math.MaxUint32
}

// FeatureLevel is the level of the log so far, 0 where none was named.
func (s *State) FeatureLevel() uint32 { return s.leader.featureLevel }

// usable is the highest level of which commands may be.
func (s *State) usable() uint32 { return max(s.leader.featureLevel, baseLevel) }

// NodesSupport is the highest level that all live nodes have said they know; above every level where none is live.
func (s *State) NodesSupport() uint32 {
	level := uint32(math.MaxUint32)
	for _, n := range s.nodes {
		if n.Live {
			level = min(level, n.FeatureLevel)
		}
	}
	return level
}

// admitLevel refuses an entry that takes the log to a level that this build does not know.
func (s *State) admitLevel(e *metapb.Entry) error {
	if !s.current(e) {
		return nil
	}
	for _, c := range e.Commands {
		level := c.GetRaiseFeatureLevel().GetLevel()
		if start := c.GetLeaderStart(); start != nil && s.leader.epoch == 0 {
			level = start.FeatureLevel
		}
		if level > FeatureLevel {
			return fmt.Errorf("%w: the log is at %d from entry %d on, this build knows %d: a later release of varve is needed", ErrFeatureLevel, level, s.seq+1, FeatureLevel)
		}
	}
	return nil
}
