package main

import (
	"context"
	"fmt"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/services/simulate/world"
)

// shipPatience is longer than the state makes a container wait that could not be shipped time and again.
const shipPatience = 15 * time.Minute

// quiesce waits until the healed cluster is whole again and has shipped and deleted what it should.
func (c *cluster) quiesce() {
	if !c.await(time.Minute, "a leader and all nodes", c.up) {
		return
	}
	var wrong string
	settled := func() bool { wrong = c.leftovers(); return wrong == "" }
	for deadline := time.Now().Add(shipPatience); !settled(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			c.w.Fail(world.Progress, "%v after faults are over: %s", shipPatience, wrong)
			return
		}
	}
}

// leftovers says what is not as it should be in the end: something referred to that is missing, or garbage that stays.
func (c *cluster) leftovers() (wrong string) {
	keys := map[string]bool{}
	c.durable(func(s *meta.State) {
		if n := len(s.Garbage()); n > 0 {
			wrong = fmt.Sprintf("%d objects of garbage", n)
		}
		for container := range s.Containers {
			if container.Sealed && container.LiveRuns > 0 {
				wrong = fmt.Sprintf("container %+v is not shipped", container)
			}
			if container.IsChunk() {
				keys[container.Chunk.Key()] = true
			}
		}
		for _, t := range s.Topics() {
			for i := range int32(t.Partitions()) {
				tp, p := meta.TopicPartition{Topic: t.ID, Partition: i}, t.Partition(i)
				for offset := p.LogStartOffset(); offset < p.NextOffset(); {
					l, ok := s.LocateStored(tp, offset)
					if !ok {
						break
					}
					keys[l.Key()] = true
					offset = l.NextOffset
				}
			}
		}
	})
	for key := range keys {
		if key == "" {
			continue
		}
		if _, err := c.bucket.Inner.Head(context.Background(), key); err != nil {
			c.w.Fail("2 bytes before metadata", "%s is referred to: %v", key, err)
		}
	}
	return wrong
}
