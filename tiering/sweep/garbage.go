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
	left, failed, err := s.deleteGarbage(ctx, due)
	// Where there was room for more, none is behind it, and it is tried again in the next round.
	if err == nil && len(left) > 0 && len(keys) == garbageKeys {
		s.passed += len(left) // what is due stands before what waits
		for _, key := range left {
			s.old[hashOf(key)] = true
		}
		s.log.Warn("garbage that cannot be deleted is passed over for a while", "objects", s.passed, "again_after", s.config.OrphanInterval)
	}
	return errors.Join(failed, err)
}

// RetryPassed tries again what Garbage has passed over, whose delay is over: of each stretch one page, and all of it where something of that page could be
// deleted.
func (s *Sweeper) RetryPassed(ctx context.Context) error {
	var failures error
	old := map[uint64]bool{} // what is left: others may have deleted what stays in s.old
	for at := 0; at < s.passed; {
		keys, err := s.garbage(ctx, at)
		if err != nil {
			return errors.Join(failures, err)
		}
		keys = keys[:min(len(keys), s.passed-at)]
		listed := len(keys)
		keys = slices.DeleteFunc(keys, func(key string) bool { return !s.old[hashOf(key)] })
		if len(keys) < listed || listed == 0 {
			s.passed = at + len(keys) // others have deleted the rest: what stands in its place is young
		}
		if len(keys) == 0 {
			break
		}
		first := min(len(keys), pageKeys)
		left, failed, err := s.deleteGarbage(ctx, keys[:first])
		rest := keys[first:]
		if err == nil && len(left) < first {
			var alsoFailed error
			rest, alsoFailed, err = s.deleteGarbage(ctx, rest)
			failed = errors.Join(failed, alsoFailed)
		}
		left = append(left, rest...)
		s.passed -= len(keys) - len(left)
		if failures = errors.Join(failures, failed); err != nil {
			return errors.Join(failures, err)
		}
		for _, key := range left {
			old[hashOf(key)] = true
		}
		at += len(left)
	}
	s.old = old
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

// deleteGarbage deletes what is garbage and tells the leader, page by page. It returns what is left: failed is what became of it; err ends it.
func (s *Sweeper) deleteGarbage(ctx context.Context, keys []string) (left []string, failed, err error) {
	for start := 0; start < len(keys); start += pageKeys {
		page := keys[start:min(start+pageKeys, len(keys))]
		if err := s.guard(ctx, page); err != nil {
			return append(left, keys[start:]...), failed, err
		}
		// What cannot be deleted keeps none of what is behind it.
		gone, stuck, err := s.deleteAll(ctx, page)
		failed = errors.Join(failed, err)
		if len(gone) == 0 {
			left = append(left, stuck...)
			continue
		}
		if _, err := ask(ctx, s.leader.ForgetGarbage, &metapb.GarbageForgetRequest{Keys: gone}); err != nil {
			return append(left, keys[start:]...), failed, fmt.Errorf("forget %d deleted objects: %w", len(gone), err)
		}
		left = append(left, stuck...)
		s.observe.Deleted(len(gone), 0)
		s.log.Debug("deleted garbage", "objects", len(gone))
	}
	return left, failed, nil
}
