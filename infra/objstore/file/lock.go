package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lockName is the file in the reserved folder whose flock admits one replacement at a time.
const lockName = "lock"

// Between two tries for a lock that another process holds. It holds it for a stat and a rename.
const (
	lockWaitMin = 200 * time.Microsecond
	lockWaitMax = 10 * time.Millisecond
)

// replace runs change while no other replacement or deletion runs, in this process or another.
func (s *Store) replace(ctx context.Context, change func() error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.replacing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.replacing }()

	lock, err := os.OpenFile(filepath.Join(s.tempDir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("open lock: %w", denied(err))
	}
	// Closing gives the lock back.
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := acquire(ctx, lock); err != nil {
		return err
	}
	return change()
}

// acquire polls, since a blocking flock could not be interrupted when ctx ends.
func acquire(ctx context.Context, lock *os.File) error {
	for wait := lockWaitMin; ; wait = min(2*wait, lockWaitMax) {
		if locked, err := tryLock(lock); locked || err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("lock: %w", ctx.Err())
		}
	}
}
