package copies

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// write sends chunks as they come until the connection fails or stopped is closed.
func (s *Sender) write(conn net.Conn, stopped <-chan struct{}) error {
	var head [chunkFrameBytes]byte
	for {
		p := s.nextUnsent()
		if p == nil {
			select {
			case <-s.ready:
				continue
			case <-stopped:
				return nil
			}
		}
		frame := chunkFrame{Header: p.Header, id: p.id, length: uint32(len(p.Body)), bodyCRC: p.CRC}
		frame.encode(&head)
		buffers := net.Buffers{head[:], p.Body}
		if _, err := buffers.WriteTo(conn); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// nextUnsent marks the first chunk that this connection has not seen as on its way.
func (s *Sender) nextUnsent() *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mu.pending {
		if !p.sent {
			p.sent, p.writing = true, time.Now()
			return p
		}
	}
	return nil
}

// read takes answers until the connection fails or the peer refuses a chunk.
func (s *Sender) read(conn net.Conn, peer Peer) error {
	var b [answerFrameBytes]byte
	for {
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return fmt.Errorf("await answers: %w", err)
		}
		var answer answerFrame
		if err := answer.decode(&b); err != nil {
			return err
		}
		if answer.copy == nil {
			return errRefuse
		}
		p := s.answered(answer.id)
		if p == nil {
			return fmt.Errorf("%w: an answer to chunk %d, which was not sent", ErrFrame, answer.id)
		}
		s.health.answered(peer, time.Since(p.writing))
		p.Done(answer.copy, nil)
	}
}

// answered takes a chunk out.
func (s *Sender) answered(id uint64) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.mu.pending, func(p *pending) bool { return p.id == id })
	if i < 0 || !s.mu.pending[i].sent {
		return nil
	}
	p := s.mu.pending[i]
	s.mu.pending = slices.Delete(s.mu.pending, i, i+1)
	return p
}

// health remembers how the peers have been.
type health struct {
	sync.Mutex
	peers map[meta.NodeID]*peerHealth
}

type peerHealth struct {
	epoch   uint64
	usual   time.Duration // what an answer takes, smoothed; 0: not known
	until   time.Time     // not to be tried before, where there is another
	tried   time.Time     // when it was given up last
	penalty time.Duration // the last one
	told    time.Time     // when a failure was told of last
}

const (
	minPenalty     = 50 * time.Millisecond
	minSlowPenalty = time.Second
	maxPenalty     = 10 * time.Second
	tellInterval   = 10 * time.Second
)

// of is a copy of what is known of a peer. A new epoch is a new beginning.
func (h *health) of(peer Peer) peerHealth {
	h.Lock()
	defer h.Unlock()
	return *h.entry(peer)
}

func (h *health) entry(peer Peer) *peerHealth {
	p := h.peers[peer.Node]
	if p == nil || p.epoch != peer.Epoch {
		p = &peerHealth{epoch: peer.Epoch}
		h.peers[peer.Node] = p
	}
	return p
}

// penalize keeps a peer from being tried again at once, longer with every time that it fails without having answered anything.
// tell says that the failure is worth telling: repeated ones are so once in a while.
func (h *health) penalize(peer Peer, slow bool) (tell bool) {
	h.Lock()
	defer h.Unlock()
	p := h.entry(peer)
	least := minPenalty
	if slow {
		least = minSlowPenalty
	}
	p.penalty = min(max(least, 2*p.penalty), maxPenalty)
	p.tried = time.Now()
	p.until = p.tried.Add(p.penalty)
	if tell = p.tried.Sub(p.told) > tellInterval; tell {
		p.told = p.tried
	}
	return tell
}

func (h *health) answered(peer Peer, took time.Duration) {
	h.Lock()
	defer h.Unlock()
	p := h.entry(peer)
	p.penalty = 0
	if p.usual == 0 {
		p.usual = took
	}
	p.usual += (took - p.usual) / 16
}

// bound is how long an answer of the peer may take.
func (h *health) bound(peer Peer, config Config) time.Duration {
	usual := h.of(peer).usual
	return max(config.SlowMin, time.Duration(config.SlowFactor*float64(usual)))
}
