package blockcache

import "container/list"

// rereadsToProtect is how often a block must be read again before it counts as hot. Once is not enough: a sequential
// reader that takes whole batches re-reads the end of what it asked for before.
const rereadsToProtect = 2

// blockID names a block: bytes [index*BlockBytes, (index+1)*BlockBytes) of the object.
type blockID struct {
	key   string
	index int64
}

// block is on its way until done is closed; then either err is set or data is, and neither changes again. The other
// fields are guarded by the cache's mutex.
type block struct {
	id   blockID
	done chan struct{}
	data []byte
	err  error
	// objectBytes is the whole object's size.
	objectBytes int64

	// readEnd is how far into the block readers have come.
	readEnd int64
	// run is how many blocks in a row, this one included, were read sequentially. Zero until it is read.
	run int
	// rereads counts reads that brought nothing new.
	rereads int
	// place is the block's element of queue or protected, nil while on its way and once evicted.
	place     *list.Element
	protected bool
	// stored tells that the block came from the object's writer, and not by a GET.
	stored bool
	// spared tells that the block has had its second round unread.
	spared bool
}

// touch notes a read of [from, to) of the block and tells whether the block has become hot.
func (b *block) touch(from, to int64, run int) (hot bool) {
	if b.run == 0 || b.readEnd < to {
		b.readEnd = max(b.readEnd, to)
		b.run = max(b.run, run)
		return false
	}
	b.rereads++
	return b.rereads >= rereadsToProtect
}

// shelf holds the cached blocks in the order of eviction. It does no locking.
type shelf struct {
	capacityBytes int64
	blocks        map[blockID]*block

	queue          *list.List
	queueBytes     int64
	protected      *list.List
	protectedBytes int64
	// pendingBytes are reserved for blocks on their way.
	pendingBytes int64

	evicted       uint64
	evictedUnread uint64
}

func newShelf(capacityBytes int64) shelf {
	return shelf{capacityBytes: capacityBytes, blocks: make(map[blockID]*block), queue: list.New(), protected: list.New()}
}

// reserve makes room for a block that will be fetched.
func (s *shelf) reserve(b *block, sizeBytes int64) {
	s.blocks[b.id] = b
	s.pendingBytes += sizeBytes
	s.shrink()
}

// settle turns the reservation of a block on its way into the block, or into nothing where it failed.
func (s *shelf) settle(b *block, reservedBytes int64) {
	s.pendingBytes -= reservedBytes
	if s.blocks[b.id] != b {
		return // Forgotten meanwhile.
	}
	if b.err != nil {
		delete(s.blocks, b.id)
		return
	}
	b.place = s.queue.PushFront(b)
	s.queueBytes += int64(len(b.data))
	s.shrink()
}

// keep puts a block there that its writer has at hand.
func (s *shelf) keep(b *block) {
	if _, known := s.blocks[b.id]; known {
		return
	}
	s.blocks[b.id] = b
	b.place = s.queue.PushFront(b)
	s.queueBytes += int64(len(b.data))
	s.shrink()
}

// read notes that a cached block was found.
func (s *shelf) read(b *block, from, to int64, run int) {
	hot := b.touch(from, to, run)
	switch {
	case b.place == nil:
	case b.protected:
		s.protected.MoveToFront(b.place)
	case hot:
		s.protect(b)
	}
}

func (s *shelf) protect(b *block) {
	s.queue.Remove(b.place)
	s.queueBytes -= int64(len(b.data))
	b.place, b.protected = s.protected.PushFront(b), true
	s.protectedBytes += int64(len(b.data))
	for s.protectedBytes > s.capacityBytes/2 {
		s.demote()
	}
}

// demote moves the least recently used protected block to the queue, to prove itself again.
func (s *shelf) demote() {
	b := s.protected.Remove(s.protected.Back()).(*block)
	s.protectedBytes -= int64(len(b.data))
	b.place, b.protected, b.rereads = s.queue.PushFront(b), false, 0
	s.queueBytes += int64(len(b.data))
}

// shrink evicts until everything fits.
func (s *shelf) shrink() {
	for s.queueBytes+s.protectedBytes+s.pendingBytes > s.capacityBytes {
		switch {
		case s.queue.Len() > 0:
			s.evictFromQueue()
		case s.protected.Len() > 0:
			s.remove(s.protected.Back().Value.(*block))
			s.evicted++
		default:
			return // All of it is on its way, which the cache bounds.
		}
	}
}

func (s *shelf) evictFromQueue() {
	b := s.queue.Back().Value.(*block)
	if b.run == 0 && !b.spared && !b.stored && s.protected.Len() > 0 {
		b.spared = true
		s.queue.MoveToFront(b.place)
		b = s.protected.Back().Value.(*block)
	}
	if b.run == 0 && !b.stored {
		s.evictedUnread++
	}
	s.evicted++
	s.remove(b)
}

// remove takes a block, cached or on its way, out of sight of new readers.
func (s *shelf) remove(b *block) {
	delete(s.blocks, b.id)
	if b.place == nil {
		return
	}
	if b.protected {
		s.protected.Remove(b.place)
		s.protectedBytes -= int64(len(b.data))
	} else {
		s.queue.Remove(b.place)
		s.queueBytes -= int64(len(b.data))
	}
	b.place = nil
}
