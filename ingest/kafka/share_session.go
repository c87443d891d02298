package kafka

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// Share sessions (KIP-932): a member of a share group names its partitions once, then only what changes. A session belongs to the connection
// that opened it; when it ends, what the member has of its partitions goes back.

// Epochs of a request that are none of a running session.
const (
	initialShareEpoch = 0
	finalShareEpoch   = -1
)

func nextShareEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

type shareSessionKey struct{ group, member string }

type shareSession struct {
	conn       *conn
	epoch      int32 // of the next request
	partitions []meta.TopicPartition
}

// shareSessions holds the running sessions, bounded in number by group.share.max.share.sessions and in partitions by maxSharePartitions.
type shareSessions struct {
	mu struct {
		sync.Mutex
		sessions   map[shareSessionKey]*shareSession
		partitions int
	}
}

// maxSharePartitions bounds the partitions in all share sessions of a node together.
const maxSharePartitions = 1_000_000

func newShareSessions() *shareSessions {
	s := &shareSessions{}
	s.mu.sessions = map[shareSessionKey]*shareSession{}
	return s
}

// open begins a session, in the place of one that there may be.
func (s *shareSessions) open(c *conn, key shareSessionKey, partitions []meta.TopicPartition, bound int) *kerr.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
	partitions = distinct(partitions)
	if len(s.mu.sessions) >= bound || s.mu.partitions+len(partitions) > maxSharePartitions {
		return kerr.ShareSessionLimitReached
	}
	s.mu.sessions[key] = &shareSession{conn: c, epoch: nextShareEpoch(initialShareEpoch), partitions: partitions}
	s.mu.partitions += len(partitions)
	return nil
}

func distinct(partitions []meta.TopicPartition) []meta.TopicPartition {
	seen := make(map[meta.TopicPartition]struct{}, len(partitions))
	return slices.DeleteFunc(slices.Clone(partitions), func(tp meta.TopicPartition) bool {
		_, repeated := seen[tp]
		seen[tp] = struct{}{}
		return repeated
	})
}

// next takes a request of a running session, and returns its partitions. The slice is the caller's.
func (s *shareSessions) next(key shareSessionKey, epoch int32, added, forgotten []meta.TopicPartition) ([]meta.TopicPartition, *kerr.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session := s.mu.sessions[key]
	switch {
	case session == nil:
		return nil, kerr.ShareSessionNotFound
	case session.epoch != epoch:
		return nil, kerr.InvalidShareSessionEpoch
	}
	before := len(session.partitions)
	if len(added)+len(forgotten) > 0 {
		partitions := distinct(append(session.partitions, added...))
		gone := make(map[meta.TopicPartition]struct{}, len(forgotten))
		for _, tp := range forgotten {
			gone[tp] = struct{}{}
		}
		session.partitions = slices.DeleteFunc(partitions, func(tp meta.TopicPartition) bool { _, is := gone[tp]; return is })
	}
	if s.mu.partitions += len(session.partitions) - before; s.mu.partitions > maxSharePartitions {
		s.remove(key)
		return nil, kerr.ShareSessionNotFound // the client begins a new one
	}
	session.epoch = nextShareEpoch(session.epoch)
	return slices.Clone(session.partitions), nil
}

// has says whether there is such a session.
func (s *shareSessions) has(key shareSessionKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.sessions[key] != nil
}

// close ends a session and returns its partitions.
func (s *shareSessions) close(key shareSessionKey) []meta.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(key)
}

// remove is called under the lock.
func (s *shareSessions) remove(key shareSessionKey) []meta.TopicPartition {
	session := s.mu.sessions[key]
	if session == nil {
		return nil
	}
	delete(s.mu.sessions, key)
	s.mu.partitions -= len(session.partitions)
	return session.partitions
}

// closeAll ends the sessions of a connection, and returns their partitions. A member that has come back on another has another session.
func (s *shareSessions) closeAll(c *conn) map[shareSessionKey][]meta.TopicPartition {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := map[shareSessionKey][]meta.TopicPartition{}
	for key, session := range s.mu.sessions {
		if session.conn == c {
			closed[key] = s.remove(key)
		}
	}
	return closed
}

// releaseTimeout bounds giving back what a member has. Where it fails the locks run out.
const releaseTimeout = 5 * time.Second

// endShareSessions ends the sessions of a connection that is closed.
func (c *conn) endShareSessions() {
	if !c.opensShares {
		return
	}
	for key, partitions := range c.server.shareSessions.closeAll(c) {
		c.releaseShares(context.Background(), key, partitions)
	}
}

// closeShareSession ends a session, and gives back what its member has.
func (c *conn) closeShareSession(ctx context.Context, key shareSessionKey) {
	c.releaseShares(ctx, key, c.server.shareSessions.close(key))
}

// releaseShares gives back what a member has of partitions.
func (c *conn) releaseShares(ctx context.Context, key shareSessionKey, partitions []meta.TopicPartition) {
	if len(partitions) == 0 {
		return
	}
	byTopic := map[meta.TopicID]*metapb.AssignedTopic{}
	request := &metapb.DeliveryReleaseRequest{Group: key.group, MemberId: key.member}
	for _, tp := range partitions {
		t := byTopic[tp.Topic]
		if t == nil {
			t = &metapb.AssignedTopic{TopicId: tp.Topic[:]}
			byTopic[tp.Topic] = t
			request.Topics = append(request.Topics, t)
		}
		t.Partitions = append(t.Partitions, tp.Partition)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if _, err := c.server.domain.Shares.Release(ctx, request); err != nil {
		c.server.warn("release records of a share session", "group", key.group, "member", key.member, "err", err)
	}
}
