package kafka

import (
	"bytes"
	"cmp"
	"container/list"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// Incremental fetch sessions (KIP-227): the client names its partitions once, then only what changes, and is told only what changed.

// fetchPartition is one partition a client fetches.
type fetchPartition struct {
	topic       meta.TopicID // as asked for, from v13 on
	name        string       // as asked for, before
	partition   int32
	maxBytes    int32
	offset      int64
	leaderEpoch int32 // the client's, -1 unknown

	lastFetchedEpoch int32 // -1 unknown, as with all clients that are no followers

	// What the client was last told in this session.
	sent               bool
	sentHighWatermark  int64
	sentLogStartOffset int64

	sentLastStableOffset int64
}

func comparePartitions(a, b *fetchPartition) int {
	if c := cmp.Compare(a.name, b.name); c != 0 {
		return c
	}
	if c := bytes.Compare(a.topic[:], b.topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.partition, b.partition)
}

func sameTopic(a, b *fetchPartition) bool { return a.topic == b.topic && a.name == b.name }

// fetchSession is what a client fetches. Without an id it lasts for one request. It is used under its lock.
type fetchSession struct {
	sync.Mutex
	id         int32
	epoch      int32 // of the next request
	byID       bool  // partitions are named by topic id
	partitions []fetchPartition
	// rotation makes another partition the first to be read in each request, so that none is starved where an answer is too small for all.
	rotation uint32

	// Of the cache, under its lock.
	lastUsed time.Time
	byUse    *list.Element
	charged  int // partitions counted
}

// update takes in what a request says of its partitions.
func (s *fetchSession) update(r *kmsg.FetchRequest) {
	for i := range r.ForgottenTopics {
		s.forget(&r.ForgottenTopics[i])
	}
	known := len(s.partitions)
	for i := range r.Topics {
		topic := &r.Topics[i]
		for j := range topic.Partitions {
			s.put(known, fetchPartition{
				topic: topic.TopicID, name: topic.Topic, partition: topic.Partitions[j].Partition,
				maxBytes: topic.Partitions[j].PartitionMaxBytes, offset: topic.Partitions[j].FetchOffset,
				leaderEpoch: topic.Partitions[j].CurrentLeaderEpoch, lastFetchedEpoch: lastFetchedEpoch(r.Version, &topic.Partitions[j]),
			})
		}
	}
	if s.id == 0 {
		s.dropRepeated()
	} else if len(s.partitions) > known {
		slices.SortStableFunc(s.partitions, func(a, b fetchPartition) int { return comparePartitions(&a, &b) })
		// A partition named twice counts as it was named last.
		slices.Reverse(s.partitions)
		s.partitions = slices.CompactFunc(s.partitions, func(a, b fetchPartition) bool { return comparePartitions(&a, &b) == 0 })
		slices.Reverse(s.partitions)
	}
}

func lastFetchedEpoch(version int16, p *kmsg.FetchRequestTopicPartition) int32 {
	if version < 12 {
		return -1
	}
	return p.LastFetchedEpoch
}

// dropRepeated leaves of a partition that is named several times, outside any session, its first place with what was said last.
func (s *fetchSession) dropRepeated() {
	rising := true
	for i := 1; i < len(s.partitions) && rising; i++ {
		rising = comparePartitions(&s.partitions[i-1], &s.partitions[i]) < 0
	}
	if rising {
		return
	}
	type place struct {
		topic     meta.TopicID
		name      string
		partition int32
	}
	places, kept := make(map[place]int, len(s.partitions)), s.partitions[:0]
	for _, p := range s.partitions {
		at := place{p.topic, p.name, p.partition}
		if first, again := places[at]; again {
			kept[first] = p
			continue
		}
		places[at] = len(kept)
		kept = append(kept, p)
	}
	s.partitions = kept
}

// put replaces a partition among the first known ones, which are sorted, or appends it.
func (s *fetchSession) put(known int, p fetchPartition) {
	i, found := s.find(known, &p)
	if !found {
		s.partitions = append(s.partitions, p)
		return
	}
	old := &s.partitions[i]
	old.offset, old.maxBytes, old.leaderEpoch, old.lastFetchedEpoch = p.offset, p.maxBytes, p.leaderEpoch, p.lastFetchedEpoch
}

func (s *fetchSession) find(known int, p *fetchPartition) (int, bool) {
	return slices.BinarySearchFunc(s.partitions[:known], p, func(a fetchPartition, b *fetchPartition) int { return comparePartitions(&a, b) })
}

func (s *fetchSession) forget(topic *kmsg.FetchRequestForgottenTopic) {
	for _, partition := range topic.Partitions {
		p := fetchPartition{topic: topic.TopicID, name: topic.Topic, partition: partition}
		if i, found := s.find(len(s.partitions), &p); found {
			s.partitions = slices.Delete(s.partitions, i, i+1)
		}
	}
}

// Epochs of a request that are none of a running session.
const (
	initialFetchEpoch = 0
	finalFetchEpoch   = -1
)

// minSessionIdle is how long a session that a newer one may displace has been unused, as in Kafka.
const minSessionIdle = 2 * time.Minute

// sessionCache holds the running sessions, bounded in number and in partitions.
type sessionCache struct {
	maxSessions, maxPartitions int

	mu struct {
		sync.Mutex
		sessions   map[int32]*fetchSession
		byUse      list.List // of *fetchSession, the longest unused first
		partitions int
	}
}

func newSessionCache(maxSessions, maxPartitions int) *sessionCache {
	c := &sessionCache{maxSessions: maxSessions, maxPartitions: maxPartitions}
	c.mu.sessions = make(map[int32]*fetchSession)
	return c
}

// begin returns the session of a request, locked. incremental tells that the answer names only what changed. The error is for the
// answer as a whole.
func (c *sessionCache) begin(r *kmsg.FetchRequest, now time.Time) (s *fetchSession, incremental bool, refused *kerr.Error) {
	byID := r.Version >= 13
	switch r.SessionEpoch {
	case finalFetchEpoch, initialFetchEpoch:
		c.remove(r.SessionID)
		s = &fetchSession{byID: byID, epoch: 1}
		s.Lock()
		if r.SessionEpoch == initialFetchEpoch && r.Version >= 7 {
			c.add(s, countPartitions(r), now)
		}
		s.update(r)
		return s, false, nil
	}
	if s = c.get(r.SessionID, now); s == nil {
		return nil, false, kerr.FetchSessionIDNotFound
	}
	// A session in use has its request's epoch taken: this one's must be wrong.
	if !s.TryLock() {
		return nil, false, kerr.InvalidFetchSessionEpoch
	}
	switch {
	case s.epoch != r.SessionEpoch:
		refused = kerr.InvalidFetchSessionEpoch
	case s.byID != byID:
		refused = kerr.FetchSessionTopicIDError
	}
	if refused != nil {
		s.Unlock()
		return nil, false, refused
	}
	if s.epoch++; s.epoch <= 0 {
		s.epoch = 1
	}
	s.update(r)
	if !c.recount(s) {
		s.Unlock()
		c.remove(s.id)
		return nil, false, kerr.FetchSessionIDNotFound // the client begins a new one
	}
	return s, true, nil
}

func countPartitions(r *kmsg.FetchRequest) (n int) {
	for i := range r.Topics {
		n += len(r.Topics[i].Partitions)
	}
	return n
}

// add gives s an id where there is room, displacing at most one session that has not been used for long.
func (c *sessionCache) add(s *fetchSession, partitions int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if partitions > c.maxPartitions {
		return
	}
	if len(c.mu.sessions) >= c.maxSessions || c.mu.partitions+partitions > c.maxPartitions {
		front := c.mu.byUse.Front()
		if front == nil {
			return
		}
		oldest := front.Value.(*fetchSession) //nolint:forcetypeassert // nothing else is in the list
		if now.Sub(oldest.lastUsed) < minSessionIdle {
			return
		}
		c.drop(oldest)
		if c.mu.partitions+partitions > c.maxPartitions {
			return
		}
	}
	for s.id == 0 || c.mu.sessions[s.id] != nil {
		s.id = rand.Int32N(1<<31-1) + 1
	}
	s.lastUsed, s.charged = now, partitions
	c.mu.sessions[s.id], s.byUse = s, c.mu.byUse.PushBack(s)
	c.mu.partitions += partitions
}

func (c *sessionCache) get(id int32, now time.Time) *fetchSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.sessions[id]
	if s != nil {
		s.lastUsed = now
		c.mu.byUse.MoveToBack(s.byUse)
	}
	return s
}

// recount charges s for the partitions it has now; false means that there is no room for them.
func (c *sessionCache) recount(s *fetchSession) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.sessions[s.id] != s {
		return true // displaced meanwhile: this request is its last
	}
	c.mu.partitions += len(s.partitions) - s.charged
	s.charged = len(s.partitions)
	return c.mu.partitions <= c.maxPartitions
}

func (c *sessionCache) remove(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.mu.sessions[id]; s != nil {
		c.drop(s)
	}
}

// drop is called under the lock.
func (c *sessionCache) drop(s *fetchSession) {
	delete(c.mu.sessions, s.id)
	c.mu.byUse.Remove(s.byUse)
	c.mu.partitions -= s.charged
}
