package hotlog

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"
)

const (
	defaultSegmentBytes = 64 << 20
	minSegmentBytes     = 4 << 10
	// maxSegmentBytes keeps every position in 32 bits.
	maxSegmentBytes = 4<<30 - 4<<10
	scanWorkers     = 2
)

// Preallocation says how a segment's space is obtained before it is used.
type Preallocation uint8

const (
	// PreallocateExtents reserves the blocks (fallocate) and is the default: a full disk is met when a segment is prepared,
	// hardly ever by a write, and an fdatasync need not record a new size.
	PreallocateExtents Preallocation = iota
	// PreallocateNone lets segments grow as they are written.
	PreallocateNone
	// PreallocateZeros reserves the blocks and also writes the spare segment full of zeros in the background. File systems
	// record in their journal when a reserved block is first written, which makes that fdatasync dearer; with blocks that
	// have been written before, small groups take about half the time (ext4), for twice the bytes written to the disk. Segments
	// created at the moment of need, the first among them, are only reserved.
	PreallocateZeros
)

// zeroPieceBytes is written and synced at a time, so that appends do not queue behind a whole segment.
const zeroPieceBytes = 1 << 20

// Config configures a Log. The zero value is the default.
type Config struct {
	// SegmentBytes is the size of a segment file, header and footer included; 0 means 64 MiB. At least 4 KiB, less than 4 GiB. A chunk
	// must fit into one segment.
	SegmentBytes int64
	// Preallocate says how a segment's space is obtained.
	Preallocate Preallocation
	// NoSpare creates each segment when it is needed. Otherwise the next one is prepared in the background once the active one
	// is half full, so that an append which rolls does not wait for it; that takes one more SegmentBytes of disk.
	NoSpare bool
	// VerifySealed makes Open read and check sealed segments byte by byte, rather than trust their footers.
	VerifySealed bool
	// Observer hears of every group; nil means nobody does.
	Observer Observer
	// Random is the source of the disk's UUID and of salts; nil means crypto/rand.
	Random io.Reader
}

// Observer hears what appending costs. It is called by the appending goroutine and must be quick.
type Observer interface {
	// GroupAppended: one write and one fdatasync, with their durations, made chunks with payloadBytes in total durable.
	GroupAppended(chunks int, payloadBytes int64, write, sync time.Duration)
}

// Validate checks the configuration; errors name the field.
func (c Config) Validate() error {
	if c.SegmentBytes != 0 && (c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes) {
		return fmt.Errorf("SegmentBytes is %d, must be between %d and %d", c.SegmentBytes, minSegmentBytes, int64(maxSegmentBytes))
	}
	if c.Preallocate > PreallocateZeros {
		return fmt.Errorf("Preallocate is %d, which is no known mode", c.Preallocate)
	}
	return nil
}

// withDefaults returns the configuration with zero values replaced.
func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c
}
