package fetch

import (
	"fmt"
	"time"
)

// Config says how a Reader works. The zero value is the default.
type Config struct {
	// BudgetBytes bounds the memory of all responses that are not released. One takes a quarter of what is left at most, or 1 MiB. Default 256 MiB.
	BudgetBytes int64
	// RemoteReads bounds the concurrent reads from the bucket, and those from each other node. Default 64.
	RemoteReads int
	// RemoteGrace is how long hot data waits for remote data that may be in the cache. Default 3 ms. For what another node has of the partition whose turn it is, it waits for RemoteWait.
	RemoteGrace time.Duration
	// RemoteWait is how long a request waits for remote data at least when it has nothing else, however short its own
	// wait: else a client that does not wait would never see cold data. Default 100 ms.
	RemoteWait time.Duration
	// RetryDelay is the pause before missing bytes are looked for again. Default 20 ms.
	RetryDelay time.Duration
}

const (
	defaultBudgetBytes = 256 << 20
	defaultRemoteReads = 64
	defaultRemoteGrace = 3 * time.Millisecond
	defaultRemoteWait  = 100 * time.Millisecond
	defaultRetryDelay  = 20 * time.Millisecond
)

// Validate checks the fields that are set.
func (c Config) Validate() error {
	switch {
	case c.BudgetBytes < 0:
		return fmt.Errorf("BudgetBytes: %d is negative", c.BudgetBytes)
	case c.RemoteReads < 0:
		return fmt.Errorf("RemoteReads: %d is negative", c.RemoteReads)
	case c.RemoteGrace < 0:
		return fmt.Errorf("RemoteGrace: %v is negative", c.RemoteGrace)
	case c.RemoteWait < 0:
		return fmt.Errorf("RemoteWait: %v is negative", c.RemoteWait)
	case c.RetryDelay < 0:
		return fmt.Errorf("RetryDelay: %v is negative", c.RetryDelay)
	}
	return nil
}

func (c Config) withDefaults() Config {
	orDefault(&c.BudgetBytes, defaultBudgetBytes)
	orDefault(&c.RemoteReads, defaultRemoteReads)
	orDefault(&c.RemoteGrace, defaultRemoteGrace)
	orDefault(&c.RemoteWait, defaultRemoteWait)
	orDefault(&c.RetryDelay, defaultRetryDelay)
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
