package lane

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/copies"
	"github.com/varvelog/varve/ingest/hotlog"
)

const (
	// copyGrace is how long a full segment stays open for copies whose chunks have no verdict. State refuses those that come later; the
	// source then begins a new epoch.
	copyGrace = 5 * time.Second
	// copyPoll is how often it is looked for their verdicts meanwhile.
	copyPoll = 50 * time.Millisecond
)

// segments are the hot segments that this epoch has written to and that state does not know to be sealed. Segments are sealed in order,
// each when all its chunks have their verdicts: nothing will ever refer to it that does not do so already.
type segments struct {
	session *session
	wake    chan struct{}

	mu struct {
		sync.Mutex
		list []*hotSegment // ascending; all but the last are full
	}
}

type hotSegment struct {
	id        uint64
	sizeBytes uint64
	since     time.Time
	isFull    bool
	unsettled int // chunks of the node's own without a verdict
	// copies are the last chunks of other nodes' lanes that have copies here.
	copies map[copySource]uint64
	copied time.Time // when the last came
}

type copySource struct {
	header copies.Header // without seq
}

func newSegments(s *session) *segments { return &segments{session: s, wake: make(chan struct{}, 1)} }

// appended counts a chunk. It is called in the order of the log.
func (s *segments) appended(place hotlog.Place, copyOf *copies.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *hotSegment
	if n := len(s.mu.list); n > 0 {
		last = s.mu.list[n-1]
	}
	if last == nil || last.id != place.Segment {
		if last != nil {
			last.isFull = true
		}
		last = &hotSegment{id: place.Segment, since: time.Now()}
		s.mu.list = append(s.mu.list, last)
		s.signal()
	}
	last.sizeBytes = uint64(place.Position) + uint64(place.Length)
	if copyOf == nil {
		last.unsettled++
		return
	}
	source := copySource{*copyOf}
	source.header.Seq = 0
	if last.copies == nil {
		last.copies = make(map[copySource]uint64)
	}
	last.copies[source] = max(last.copies[source], copyOf.Seq)
	last.copied = time.Now()
}

// settled counts the verdict on a chunk, or that it will have none.
func (s *segments) settled(segment uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.mu.list {
		if h.id == segment {
			if h.unsettled--; h.unsettled == 0 && h.isFull {
				s.signal()
			}
			return
		}
	}
}

func (s *segments) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run rolls the log when its active segment has become old, and seals what is done, until ctx or the epoch ends.
func (s *segments) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.rollOld()
		s.seal()
		timer.Reset(s.nextLook())
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.session.over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// nextLook is when time alone may bring something to do.
func (s *segments) nextLook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.mu.list)
	if n == 0 {
		return time.Hour
	}
	wait := time.Hour
	if first := s.mu.list[0]; first.isFull && first.unsettled == 0 {
		wait = copyPoll
	}
	if last := s.mu.list[n-1]; !last.isFull {
		wait = min(wait, max(0, time.Until(last.since.Add(s.session.set.sealAge()))))
	}
	return wait
}

// rollOld ends the active segment when it has reached its age. A chunk that is durable and not counted yet would be forgotten by the seal that
// may follow at once; so it is done between appends.
func (s *segments) rollOld() {
	if s.old() != nil {
		s.session.hot.between(s.roll)
	}
}

// old is the active segment if it has reached its age, or nil.
func (s *segments) old() *hotSegment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.mu.list); n > 0 && !s.mu.list[n-1].isFull && time.Since(s.mu.list[n-1].since) >= s.session.set.sealAge() {
		return s.mu.list[n-1]
	}
	return nil
}

// roll is called between appends.
func (s *segments) roll() {
	last := s.old()
	if last == nil {
		return // it was full meanwhile
	}
	err := s.session.set.log.Roll()
	if errors.Is(err, hotlog.ErrPoisoned) || errors.Is(err, hotlog.ErrClosed) {
		s.session.end(StorageFailed, err, true)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.session.set.observer.Trouble("roll hot log", err)
		last.since = time.Now() // try again after another age
		return
	}
	last.isFull = true
}

// seal lets state know of the segments that take no more chunks and have all their verdicts.
func (s *segments) seal() {
	for {
		s.mu.Lock()
		var first *hotSegment
		if len(s.mu.list) > 0 {
			first = s.mu.list[0]
		}
		ready := first != nil && first.isFull && first.unsettled == 0
		s.mu.Unlock()
		if !ready || !s.copiesSettled(first) {
			return
		}
		s.mu.Lock()
		s.mu.list = s.mu.list[1:]
		s.mu.Unlock()
		s.session.committer.add(Local, &step{state: stepReady, command: &metapb.Command{Kind: &metapb.Command_SealContainer{
			SealContainer: &metapb.SealContainer{
				NodeId: int32(s.session.registration.Node), NodeEpoch: s.session.registration.Epoch,
				Segment: first.id, SizeBytes: first.sizeBytes,
			},
		}}})
	}
}

// copiesSettled tells whether the chunks with copies in a full segment have their verdicts, or have had time enough.
func (s *segments) copiesSettled(h *hotSegment) bool {
	if time.Since(h.copied) > copyGrace {
		return true
	}
	for source, seq := range h.copies {
		header := source.header
		header.Seq = seq
		if !s.session.set.peers.Settled(header) {
			return false
		}
		delete(h.copies, source)
	}
	return true
}
