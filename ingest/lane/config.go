package lane

import (
	"fmt"
	"time"
)

// Config says how a Set works. The zero value is the default.
type Config struct {
	// BudgetBytes bounds the batches between Append and verdict. Default 128 MiB.
	BudgetBytes int64
	// ChunkBytes is where a chunk is full. Default 8 MiB.
	ChunkBytes int
	// UncommittedChunks bounds the local lane's chunks that are flushed and have no verdict. Default 64.
	UncommittedChunks int
	// SealAge is how long a hot segment that is not empty stays active. Default 10 s.
	SealAge time.Duration

	// Uploads bounds the object lane's chunks that are being stored. Default 8.
	Uploads int
	// PutsPerSecond is the rate of PUTs of chunks that are not full, the user's limit on cost; PutBurst how many may be saved
	// up while idle. Full chunks, repeats and hedges do not wait, and are charged. Defaults 10, and a second's worth but at least 4.
	PutsPerSecond float64
	PutBurst      int
	// HedgeShare is how many of its PUTs the object lane may begin a second time under another key where they are slow. Default 0.1; below
	// 0 for none. HedgeMin is the shortest time after which a PUT is slow. Default 20 ms.
	HedgeShare float64
	HedgeMin   time.Duration
	// UploadTimeout is how long one chunk's PUT may take, with its retries, before it has failed for good. Default 30 s.
	UploadTimeout time.Duration

	// CopyTimeout is how long a chunk of the replicated lane may be without a copy on another node before its batches fail with
	// NotEnoughReplicas. Default 5 s.
	CopyTimeout time.Duration

	// SubmitTimeout bounds one submission before it is repeated. Default 5 s.
	SubmitTimeout time.Duration
	// VerdictTimeout is how long after a submission that succeeded the verdicts may stay away before the commands are
	// submitted again. Default 10 s.
	VerdictTimeout time.Duration
	// DrainTimeout bounds how long the chunks before a failed one may take to be committed before the epoch ends.
	// Default 5 s.
	DrainTimeout time.Duration
	// RetryMin and RetryMax bound the jittered delay before anything is tried again. Defaults 20 ms and 2 s.
	RetryMin, RetryMax time.Duration
}

const (
	defaultBudgetBytes       = 128 << 20
	defaultChunkBytes        = 8 << 20
	defaultUncommittedChunks = 64
	defaultSealAge           = 10 * time.Second
	defaultUploads           = 8
	defaultPutsPerSecond     = 10
	defaultHedgeShare        = 0.1
	defaultHedgeMin          = 20 * time.Millisecond
	defaultUploadTimeout     = 30 * time.Second
	defaultCopyTimeout       = 5 * time.Second
	defaultSubmitTimeout     = 5 * time.Second
	defaultVerdictTimeout    = 10 * time.Second
	defaultDrainTimeout      = 5 * time.Second
	defaultRetryMin          = 20 * time.Millisecond
	defaultRetryMax          = 2 * time.Second

	// maxChunkBytes keeps positions within a chunk far from the 32 bits they have.
	maxChunkBytes = 256 << 20
)

// Validate checks the fields that are set.
func (c Config) Validate() error {
	switch {
	case c.BudgetBytes < 0:
		return fmt.Errorf("BudgetBytes: %d is negative", c.BudgetBytes)
	case c.ChunkBytes < 0 || c.ChunkBytes > maxChunkBytes:
		return fmt.Errorf("ChunkBytes: %d is not between 0 and %d", c.ChunkBytes, maxChunkBytes)
	case c.UncommittedChunks < 0:
		return fmt.Errorf("UncommittedChunks: %d is negative", c.UncommittedChunks)
	case c.Uploads < 0:
		return fmt.Errorf("Uploads: %d is negative", c.Uploads)
	case c.PutsPerSecond < 0:
		return fmt.Errorf("PutsPerSecond: %g is negative", c.PutsPerSecond)
	case c.PutBurst < 0:
		return fmt.Errorf("PutBurst: %d is negative", c.PutBurst)
	case c.HedgeShare > 1:
		return fmt.Errorf("HedgeShare: %g is above 1", c.HedgeShare)
	case c.RetryMin < 0 || c.RetryMax < 0 || (c.RetryMax > 0 && c.RetryMin > c.RetryMax):
		return fmt.Errorf("RetryMin: %v is not between 0 and RetryMax %v", c.RetryMin, c.RetryMax)
	}
	for _, field := range []struct {
		name  string
		value time.Duration
	}{
		{"SealAge", c.SealAge}, {"HedgeMin", c.HedgeMin}, {"UploadTimeout", c.UploadTimeout}, {"CopyTimeout", c.CopyTimeout}, {"SubmitTimeout", c.SubmitTimeout},
		{"VerdictTimeout", c.VerdictTimeout}, {"DrainTimeout", c.DrainTimeout},
	} {
		if field.value < 0 {
			return fmt.Errorf("%s: %v is negative", field.name, field.value)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	orDefault(&c.BudgetBytes, defaultBudgetBytes)
	orDefault(&c.ChunkBytes, defaultChunkBytes)
	orDefault(&c.UncommittedChunks, defaultUncommittedChunks)
	orDefault(&c.SealAge, defaultSealAge)
	orDefault(&c.Uploads, defaultUploads)
	orDefault(&c.PutsPerSecond, defaultPutsPerSecond)
	orDefault(&c.HedgeShare, defaultHedgeShare)
	orDefault(&c.HedgeMin, defaultHedgeMin)
	orDefault(&c.UploadTimeout, defaultUploadTimeout)
	orDefault(&c.CopyTimeout, defaultCopyTimeout)
	orDefault(&c.SubmitTimeout, defaultSubmitTimeout)
	orDefault(&c.VerdictTimeout, defaultVerdictTimeout)
	orDefault(&c.DrainTimeout, defaultDrainTimeout)
	orDefault(&c.RetryMin, defaultRetryMin)
	orDefault(&c.RetryMax, max(defaultRetryMax, c.RetryMin))
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
