package replica

import (
	"slices"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
)

const watchShards = 64

// Watch sends to ch, without ever blocking, whenever a high watermark of one of parts has moved or topics have changed; ch
// therefore needs room for one. What moved can be read when the signal comes. After cancel returns nothing is sent.
func (r *Replica) Watch(parts []meta.TopicPartition, ch chan<- struct{}) (cancel func()) {
	for _, p := range parts {
		r.watchers.shard(p).add(p, ch)
	}
	return func() {
		for _, p := range parts {
			r.watchers.shard(p).remove(p, ch)
		}
	}
}

// watchers are sharded, so that thousands of long polls come and go without meeting.
type watchers struct {
	shards [watchShards]watchShard
}

type watchShard struct {
	sync.Mutex
	byPartition map[meta.TopicPartition][]chan<- struct{}
	_           [40]byte // shards on cache lines of their own
}

func (w *watchers) init() {
	for i := range w.shards {
		w.shards[i].byPartition = map[meta.TopicPartition][]chan<- struct{}{}
	}
}

func (w *watchers) shard(p meta.TopicPartition) *watchShard {
	// Topic ids are random, partitions count up.
	return &w.shards[(uint32(p.Topic[0])+uint32(p.Partition))%watchShards]
}

func (s *watchShard) add(p meta.TopicPartition, ch chan<- struct{}) {
	s.Lock()
	defer s.Unlock()
	s.byPartition[p] = append(s.byPartition[p], ch)
}

func (s *watchShard) remove(p meta.TopicPartition, ch chan<- struct{}) {
	s.Lock()
	defer s.Unlock()
	list := s.byPartition[p]
	i := slices.Index(list, ch)
	if i < 0 {
		return
	}
	list[i] = list[len(list)-1]
	list[len(list)-1] = nil
	// An empty list stays for the next long poll, until topics change.
	s.byPartition[p] = list[:len(list)-1]
}

func (w *watchers) wake(parts []meta.TopicPartition) {
	for _, p := range parts {
		s := w.shard(p)
		s.Lock()
		for _, ch := range s.byPartition[p] {
			signal(ch)
		}
		s.Unlock()
	}
}

func (w *watchers) wakeAll() {
	for i := range w.shards {
		s := &w.shards[i]
		s.Lock()
		for p, list := range s.byPartition {
			for _, ch := range list {
				signal(ch)
			}
			if len(list) == 0 {
				delete(s.byPartition, p)
			}
		}
		s.Unlock()
	}
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
