package meta

import (
	"github.com/varvelog/varve/coordinator/metapb"
)

// apply applies one command. first says that it is the first of its entry: the only place where a leader may start.
func (a *applier) apply(c *metapb.Command, first bool) {
	if c == nil {
		return
	}
	if c.PartCount > 0 {
		if whole := a.assemble(c); whole.GetRaiseFeatureLevel() != nil {
			a.verdict(whole.Id, refuse(Malformed, "a feature level is not raised in parts"))
		} else if whole != nil {
			a.apply(whole, false)
		}
		return
	}
	a.dropPending()
	if level := needs(c); level > a.usable() {
		a.verdict(c.Id, refuse(Malformed, "no such command at feature level %d", a.usable()))
		return
	}
	if chunk := c.GetCommitChunk(); chunk != nil {
		v := a.commitChunk(chunk)
		a.chunkVerdict(chunk, v)
		a.verdict(c.Id, Verdict{Code: v.Code, Expected: v.Expected})
		return
	}
	a.verdict(c.Id, a.decide(c, first))
}

// decide applies every kind of command but CommitChunk.
func (a *applier) decide(c *metapb.Command, first bool) Verdict {
	switch k := c.Kind.(type) {
	case *metapb.Command_LeaderStart:
		if !first {
			return refuse(Malformed, "a leader starts with the first command of an entry")
		}
		return a.leaderStart(k.LeaderStart)
	case *metapb.Command_RaiseFeatureLevel:
		a.leader.featureLevel = max(a.leader.featureLevel, k.RaiseFeatureLevel.GetLevel())
		a.dueBy(0) // what it changes may be due
		return Verdict{}
	case *metapb.Command_RegisterNode:
		return a.registerNode(k.RegisterNode)
	case *metapb.Command_SetNodeLive:
		return a.setNodeLive(k.SetNodeLive)
	case *metapb.Command_DrainNode:
		return a.drainNode(k.DrainNode)
	case *metapb.Command_ForgetNode:
		return a.forgetNode(k.ForgetNode)
	case *metapb.Command_SealContainer:
		return a.sealContainer(k.SealContainer)
	case *metapb.Command_LocalReleased:
		return a.localReleased(k.LocalReleased)
	case *metapb.Command_CreateTopic:
		return a.createTopic(k.CreateTopic)
	case *metapb.Command_DeleteTopic:
		return a.deleteTopic(k.DeleteTopic)
	case *metapb.Command_CreatePartitions:
		return a.createPartitions(k.CreatePartitions)
	case *metapb.Command_AdvanceLogStart:
		return a.advanceLogStart(k.AdvanceLogStart)
	case *metapb.Command_AlterConfig:
		return a.alterConfig(k.AlterConfig)
	case *metapb.Command_AllocateProducerId:
		a.nextProducerID++
		return Verdict{ProducerID: a.nextProducerID - 1}
	case *metapb.Command_InitTransactionalProducer:
		return a.initTransactionalProducer(k.InitTransactionalProducer)
	case *metapb.Command_AddToTransaction:
		return a.addToTransaction(k.AddToTransaction)
	case *metapb.Command_CommitTransactionOffsets:
		return a.commitTransactionOffsets(k.CommitTransactionOffsets)
	case *metapb.Command_EndTransaction:
		return a.endTransaction(k.EndTransaction)
	case *metapb.Command_StoreGroup:
		return a.storeGroup(k.StoreGroup)
	case *metapb.Command_StoreConsumerGroup:
		return a.storeConsumerGroup(k.StoreConsumerGroup)
	case *metapb.Command_StoreShareGroup:
		return a.storeShareGroup(k.StoreShareGroup)
	case *metapb.Command_StoreShareState:
		return a.storeShareState(k.StoreShareState)
	case *metapb.Command_ResetShareOffsets:
		return a.resetShareOffsets(k.ResetShareOffsets)
	case *metapb.Command_StoreStreamsGroup:
		return a.storeStreamsGroup(k.StoreStreamsGroup)
	case *metapb.Command_CommitOffsets:
		return a.commitOffsets(k.CommitOffsets)
	case *metapb.Command_DeleteOffsets:
		return a.deleteOffsets(k.DeleteOffsets)
	case *metapb.Command_DeleteGroups:
		return a.deleteGroups(k.DeleteGroups)
	case *metapb.Command_LeaseJob:
		return a.leaseJob(k.LeaseJob)
	case *metapb.Command_RenewJob:
		return a.renewJob(k.RenewJob)
	case *metapb.Command_FinishJob:
		return a.finishJob(k.FinishJob)
	case *metapb.Command_LeaseCompaction:
		return a.leaseCompaction(k.LeaseCompaction)
	case *metapb.Command_CompactRange:
		return a.compactRange(k.CompactRange)
	case *metapb.Command_ForgetGarbage:
		return a.forgetGarbage(k.ForgetGarbage.GetKeys())
	case *metapb.Command_Tick:
		return a.tick(k.Tick)
	case *metapb.Command_Noop:
		return Verdict{}
	}
	return refuse(Malformed, "no such command")
}

// leaderStart begins an epoch; State.current has judged it.
func (a *applier) leaderStart(c *metapb.LeaderStart) Verdict {
	level := a.leader.featureLevel
	if a.leader.epoch == 0 {
		level = max(level, c.FeatureLevel)
	}
	a.leader = leaderInfo{epoch: c.Epoch, address: c.InternalAddress, name: c.Name, featureLevel: level}
	a.changed(ChangedLeader)
	return Verdict{}
}
