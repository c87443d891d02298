package delivery

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// storeTimeout bounds how long an acknowledgement waits to be in the log.
const storeTimeout = 10 * time.Second

// startStoring makes sure that the group's goroutine runs; the group's lock is held.
func (c *Coordinator) startStoring(g *shares) {
	if g.isStoring || g.dead {
		return
	}
	g.isStoring = true
	c.tasks.Go(func() { c.storeAll(g) })
}

// storeAll puts what has changed into the log, one command after the other, until nothing has.
func (c *Coordinator) storeAll(g *shares) {
	for {
		g.mu.Lock()
		command, flying := g.take()
		waiters := g.waiting
		g.waiting = nil
		if len(flying) == 0 {
			for _, w := range waiters { // what they wait for has been stored, or is gone
				w.done <- w.failed
			}
			g.isStoring = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()

		ctx, cancel := context.WithTimeout(c.closing, storeTimeout)
		verdict, err := c.log.Propose(ctx, &metapb.Command{Kind: &metapb.Command_StoreShareState{StoreShareState: command}})
		cancel()
		if (err != nil || verdict.Code != meta.OK) && c.closing.Err() == nil {
			c.logger.Warn("store share state failed", "group", g.name, "error", err, "verdict", verdict.Code.String(), "message", verdict.Message)
		}
		g.mu.Lock()
		failed := g.stored(flying, verdict, err)
		for _, w := range waiters {
			for tp, code := range failed {
				w.fail(tp, code)
			}
			w.done <- w.failed
		}
		if len(failed) > 0 {
			g.wakeAll()
		}
		g.mu.Unlock()
	}
}

// take makes a command of what has changed, and tells of which partitions.
func (g *shares) take() (*metapb.StoreShareState, []meta.TopicPartition) {
	command := &metapb.StoreShareState{Group: g.name}
	var flying []meta.TopicPartition
	for _, tp := range slices.SortedFunc(maps.Keys(g.partitions), comparePartition) {
		h := g.partitions[tp]
		if !h.IsDirty() {
			continue
		}
		start, changes := h.Take()
		change := &metapb.SharePartitionChange{
			TopicId: tp.Topic[:], Partition: tp.Partition, ExpectedIncarnation: h.incarnation, ExpectedVersion: h.version, StartOffset: start,
		}
		for _, b := range changes {
			change.Batches = append(change.Batches, &metapb.ShareStateBatch{
				BaseOffset: b.Base, NextOffset: b.Next, State: uint32(b.State), DeliveryCount: b.DeliveryCount,
			})
		}
		h.version++
		h.isFlying = true
		command.Partitions, flying = append(command.Partitions, change), append(flying, tp)
	}
	return command, flying
}

// stored notes what became of a command. A partition of which it did not come to pass, as far as is known here, is dropped: it is read
// anew from the state when it is asked for.
func (g *shares) stored(flying []meta.TopicPartition, verdict meta.Verdict, err error) (failed failures) {
	failed = failures{}
	for i, tp := range flying {
		code := verdict.Code
		if err == nil && code == meta.OK && i < len(verdict.Codes) {
			code = verdict.Codes[i]
		}
		switch {
		case err == nil && code == meta.OK:
			if h := g.partitions[tp]; h != nil {
				h.isFlying, h.begins = false, false
			}
			continue
		case err == nil && (code == meta.UnknownTopic || code == meta.UnknownGroup):
			failed[tp] = metapb.DeliveryCode_DELIVERY_UNKNOWN_TOPIC
		default:
			failed[tp] = metapb.DeliveryCode_DELIVERY_UNAVAILABLE
		}
		g.drop(tp, failed[tp])
	}
	return failed
}

func comparePartition(x, y meta.TopicPartition) int {
	if c := slices.Compare(x.Topic[:], y.Topic[:]); c != 0 {
		return c
	}
	return int(x.Partition) - int(y.Partition)
}
