package blockcache

import (
	"errors"
	"fmt"
	"time"
)

// The defaults of Config.
const (
	DefaultCapacityBytes   = 64 << 20
	DefaultBlockBytes      = 256 << 10
	DefaultReadAheadBlocks = 16
	DefaultMaxGets         = 16
	DefaultMaxAttempts     = 6
	DefaultFetchTimeout    = 60 * time.Second
	DefaultStallTimeout    = 10 * time.Second
	DefaultRetryWaitMin    = 50 * time.Millisecond
	DefaultRetryWaitMax    = 2 * time.Second
)

// minCapacityBlocks leaves room for one fetch of some length beside what is cached.
const minCapacityBlocks = 8

// Config of a Cache. The zero value of each field means its default.
type Config struct {
	// CapacityBytes bounds cached and incoming blocks together.
	CapacityBytes int64
	BlockBytes    int
	// ReadAheadBlocks is how far a long sequential read is read ahead, and the longest fetch. Negative turns read-ahead off.
	ReadAheadBlocks int
	// MaxGets bounds the GETs in progress.
	MaxGets int
	// MaxAttempts bounds the GETs for one fetch, the first included. An attempt that brings bytes starts the count anew.
	MaxAttempts int
	// FetchTimeout bounds a fetch with its retries, from when its turn among MaxGets has come.
	FetchTimeout time.Duration
	// StallTimeout ends an attempt that brings no block for so long.
	StallTimeout time.Duration
	// RetryWaitMin and RetryWaitMax bound the wait between attempts, which doubles and is jittered.
	RetryWaitMin time.Duration
	RetryWaitMax time.Duration
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	setDefault(&c.CapacityBytes, DefaultCapacityBytes)
	setDefault(&c.BlockBytes, DefaultBlockBytes)
	setDefault(&c.ReadAheadBlocks, DefaultReadAheadBlocks)
	setDefault(&c.MaxGets, DefaultMaxGets)
	setDefault(&c.MaxAttempts, DefaultMaxAttempts)
	setDefault(&c.FetchTimeout, DefaultFetchTimeout)
	setDefault(&c.StallTimeout, DefaultStallTimeout)
	setDefault(&c.RetryWaitMin, DefaultRetryWaitMin)
	setDefault(&c.RetryWaitMax, max(DefaultRetryWaitMax, c.RetryWaitMin))
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate names the field that is wrong.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.BlockBytes < 512:
		return fmt.Errorf("BlockBytes: %d, at least 512", c.BlockBytes)
	case c.CapacityBytes < int64(c.BlockBytes)*minCapacityBlocks:
		return fmt.Errorf("CapacityBytes: %d, at least %d blocks of %d bytes", c.CapacityBytes, minCapacityBlocks, c.BlockBytes)
	case c.MaxGets < 0:
		return errors.New("MaxGets: negative")
	case c.MaxAttempts < 0:
		return errors.New("MaxAttempts: negative")
	case c.FetchTimeout < 0:
		return errors.New("FetchTimeout: negative")
	case c.StallTimeout < 0:
		return errors.New("StallTimeout: negative")
	case c.RetryWaitMin < 0:
		return errors.New("RetryWaitMin: negative")
	case c.RetryWaitMax < c.RetryWaitMin:
		return errors.New("RetryWaitMax: below RetryWaitMin")
	}
	return nil
}
