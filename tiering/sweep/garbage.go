package sweep

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Garbage deletes what the state says is garbage and has been for the delay. So much is looked at in one round, oldest first; what could not be deleted of
// it (a retention lock, a prefix for which the permission is missing) is passed over then, lest nothing behind it ever be.
func (s *Sweeper) Garbage(ctx context.Context) error {
	keys, err := s.garbage(ctx, s.passed)
	if err != nil {
		return err
	}
	now := time.Now()
	waiting := make(map[string]time.Time, len(keys))
	var due []string
	for _, key := range keys {
		since, known := s.seen[key]
		if !known {
			since = now
		}
		if now.Sub(since) >= s.config.DeleteDelay {
			due = append(due, key)
		}
		waiting[key] = since
	}
	s.seen = waiting
	deleted, failed, err := s.deleteGarbage(ctx, due)
	// Where there was room for more, none is behind it, and it is tried again in the next round.
	if stuck := len(due) - deleted; err == nil && stuck > 0 && len(keys) == garbageKeys {
		s.passed += stuck // what is due stands before what waits
		for _, key := range due {
			s.old[hashOf(key)] = true // what was deleted of it is not listed again
		}
		s.log.Warn("garbage that cannot be deleted is passed over for a while", "objects", s.passed, "again_after", s.config.OrphanInterval)
	}
	return errors.Join(failed, err)
}

// RetryPassed tries again what Garbage has passed over, whose delay is over: of each stretch one page, and all of it where something of that page could be
// deleted.
func (s *Sweeper) RetryPassed(ctx context.Context) error {
	var failures error
	for at := 0; at < s.passed; {
		keys, err := s.garbage(ctx, at)
		if err != nil {
			return errors.Join(failures, err)
		}
		keys = keys[:min(len(keys), s.passed-at)]
		listed := len(keys)
		keys = slices.DeleteFunc(keys, func(key string) bool { return !s.old[hashOf(key)] })
		if len(keys) < listed {
			s.passed = at + len(keys) // others have deleted the rest: what stands in its place is young
		}
		if len(keys) == 0 {
			break
		}
		first := min(len(keys), pageKeys)
		deleted, failed, err := s.deleteGarbage(ctx, keys[:first])
		if err == nil && deleted > 0 {
			var more int
			var alsoFailed error
			more, alsoFailed, err = s.deleteGarbage(ctx, keys[first:])
			deleted, failed = deleted+more, errors.Join(failed, alsoFailed)
		}
		s.passed -= deleted
		if failures = errors.Join(failures, failed); err != nil {
			return errors.Join(failures, err)
		}
		at += len(keys) - deleted
	}
	if s.passed == 0 {
		clear(s.old)
	}
	return failures
}

func hashOf(key string) uint64 { return maphash.String(seed, key) }

var seed = maphash.MakeSeed()

// garbage asks the leader for the oldest garbage but for the first so many.
func (s *Sweeper) garbage(ctx context.Context, skip int) ([]string, error) {
	answer, err := ask(ctx, s.leader.Garbage, &metapb.GarbageRequest{Max: garbageKeys, Skip: uint32(skip)})
	if err != nil {
		return nil, fmt.Errorf("ask for garbage: %w", err)
	}
	return answer.Keys, nil
}

// deleteGarbage deletes what is garbage and tells the leader, page by page. failed is what became of those that are not deleted; err ends it.
func (s *Sweeper) deleteGarbage(ctx context.Context, keys []string) (deleted int, failed, err error) {
	for page := range slices.Chunk(keys, pageKeys) {
		if err := s.guard(ctx, page); err != nil {
			return deleted, failed, err
		}
		// What cannot be deleted keeps none of what is behind it.
		gone, err := s.deleteAll(ctx, page)
		failed = errors.Join(failed, err)
		if len(gone) == 0 {
			continue
		}
		if _, err := ask(ctx, s.leader.ForgetGarbage, &metapb.GarbageForgetRequest{Keys: gone}); err != nil {
			return deleted, failed, fmt.Errorf("forget %d deleted objects: %w", len(gone), err)
		}
		deleted += len(gone)
		s.observe.Deleted(len(gone), 0)
		s.log.Debug("deleted garbage", "objects", len(gone))
	}
	return deleted, failed, nil
}
