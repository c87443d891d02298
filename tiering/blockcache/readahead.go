package blockcache

// take appends the blocks of the range to blocks, and starts the fetches. Room for the missing ones is reserved and the
// mutex is held.
func (c *Cache) take(key string, sizeHint, off, length int64, blocks []*block) []*block {
	blockBytes := int64(c.config.BlockBytes)
	first, end := off/blockBytes, (off+length-1)/blockBytes+1
	run := c.runBefore(key, off)
	aheadEnd := end
	if run > 0 {
		aheadEnd = c.aheadEnd(key, sizeHint, end, run+int(end-first))
	}
	// Those that are there are taken hold of before any fetch starts, since making room may evict them.
	for index := first; index < end; index++ {
		b := c.mu.shelf.blocks[blockID{key, index}]
		switch {
		case b == nil:
			c.mu.stats.Misses++
		case b.place == nil:
			c.mu.stats.Joins++
		default:
			c.mu.stats.Hits++
		}
		blocks = append(blocks, b)
	}
	extended := c.startMissing(key, first, aheadEnd, blocks)
	for i, b := range blocks {
		start := b.id.index * blockBytes
		nextRun := 1
		if run > 0 {
			nextRun = run + i + 1
		}
		c.mu.shelf.read(b, max(off-start, 0), min(off+length-start, blockBytes), nextRun)
	}
	if !extended {
		c.fetchAhead(key, end, aheadEnd)
	}
	return blocks
}

// startMissing starts fetches for the nil ones of blocks, which begin at first, and fills them in. Adjacent ones come in
// one GET; where they reach the end, what is to be read ahead after them comes with them, and extended is true.
func (c *Cache) startMissing(key string, first, aheadEnd int64, blocks []*block) (extended bool) {
	for i := 0; i < len(blocks); {
		if blocks[i] != nil {
			i++
			continue
		}
		missing := 1
		for i+missing < len(blocks) && blocks[i+missing] == nil {
			missing++
		}
		index := first + int64(i)
		fetchEnd := index + int64(missing)
		if i+missing == len(blocks) {
			fetchEnd += c.reserveAhead(key, fetchEnd, min(aheadEnd, index+c.maxFetchBlocks()))
			extended = true
		}
		copy(blocks[i:i+missing], c.start(key, index, fetchEnd))
		i += missing
	}
	return extended
}

// runBefore returns how many blocks in a row were read sequentially up to off, 0 where the read is not sequential.
func (c *Cache) runBefore(key string, off int64) int {
	blockBytes := int64(c.config.BlockBytes)
	index, within := off/blockBytes, off%blockBytes
	if within > 0 {
		b, found := c.mu.shelf.blocks[blockID{key, index}]
		// A reader that takes whole batches steps back behind what it has read, but not far; one that steps back far is
		// reading again.
		if !found || b.run == 0 || b.readEnd < within || b.readEnd-within > blockBytes/2 {
			return 0
		}
		// The block itself is part of the run, and will be counted again.
		return max(b.run-1, 1)
	}
	before, found := c.mu.shelf.blocks[blockID{key, index - 1}]
	if !found || before.readEnd < blockBytes {
		return 0
	}
	return before.run
}

// aheadEnd returns up to which block a sequential read should be read ahead that has come to end after run blocks. It is
// end where enough is there or on its way already.
func (c *Cache) aheadEnd(key string, sizeHint, end int64, run int) int64 {
	if c.config.ReadAheadBlocks < 0 {
		return end
	}
	depth := min(int64(2*run), int64(c.config.ReadAheadBlocks), c.maxFetchBlocks())
	there := int64(0)
	for there < depth {
		b, found := c.mu.shelf.blocks[blockID{key, end + there}]
		if !found {
			break
		}
		if b.objectBytes > 0 {
			sizeHint = b.objectBytes
		}
		there++
	}
	// Half of it is still unused: later, in one larger GET.
	if there > depth/2 {
		return end
	}
	last := end + depth
	if before, found := c.mu.shelf.blocks[blockID{key, end - 1}]; found && before.objectBytes > 0 {
		sizeHint = before.objectBytes
	}
	if sizeHint > 0 {
		blockBytes := int64(c.config.BlockBytes)
		last = min(last, (sizeHint+blockBytes-1)/blockBytes)
	}
	return max(last, end)
}

// gap returns how many blocks from index on are missing, looking no further than end.
func (c *Cache) gap(key string, index, end int64) (blocks int64) {
	for index+blocks < end {
		if _, found := c.mu.shelf.blocks[blockID{key, index + blocks}]; found {
			break
		}
		blocks++
	}
	return blocks
}

// reserveAhead returns how many missing blocks from index on may be fetched ahead: as many as there is room for now.
func (c *Cache) reserveAhead(key string, index, end int64) int64 {
	blocks := c.gap(key, index, end)
	for blocks > 0 && !c.pending.TryAcquire(blocks*int64(c.config.BlockBytes)) {
		blocks /= 2
	}
	c.mu.stats.ReadAheads += uint64(blocks)
	return blocks
}

// fetchAhead starts fetches for the missing blocks of [first, end) as far as there is room. The mutex is held.
func (c *Cache) fetchAhead(key string, first, end int64) {
	for index := first; index < end; index++ {
		if _, found := c.mu.shelf.blocks[blockID{key, index}]; found {
			continue
		}
		blocks := c.reserveAhead(key, index, end)
		if blocks == 0 {
			return
		}
		c.start(key, index, index+blocks)
		index += blocks
	}
}
