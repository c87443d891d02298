package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// ErrConditionsIgnored: the store takes conditional writes and ignores the condition. Nothing that fences may use it.
var ErrConditionsIgnored = errors.New("store ignores the conditions of conditional writes")

// ProbePrefix holds the objects of Probe, each of which lives for as long as one call, unless the process dies in it or may not delete.
const ProbePrefix = "probe/"

var probeKey = regexp.MustCompile("^" + ProbePrefix + "[A-Z2-7]{26,}$")

// IsProbe says whether Probe would have given an object this key. Nothing ever refers to one.
func IsProbe(key string) bool { return probeKey.MatchString(key) }

// probeCleanupTimeout bounds the deletion of the probe's object, which is tried also when ctx has ended.
const probeCleanupTimeout = 5 * time.Second

// Probe finds out, with a fresh object of its own, whether store honours the conditions of PutIfAbsent and PutIfMatch. It
// returns an error that matches ErrConditionsIgnored where it does not, and any other error where it could not tell.
func Probe(ctx context.Context, store Store) (err error) {
	key := ProbePrefix + rand.Text()
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanupTimeout)
		defer cancel()
		if deleteErr := store.Delete(cleanup, key); deleteErr != nil {
			err = errors.Join(err, fmt.Errorf("probe %s: delete probe object: %w", store, deleteErr))
		}
	}()

	first, err := store.PutIfAbsent(ctx, key, []byte("first"))
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("probe %s: write probe object: %w", store, err)
	}
	if errors.Is(err, ErrExists) {
		// The key is random: it is our own write, retried below us after its answer was lost.
		info, headErr := store.Head(ctx, key)
		if headErr != nil {
			return fmt.Errorf("probe %s: head probe object: %w", store, headErr)
		}
		first = info.Version
	}
	if _, err := store.PutIfAbsent(ctx, key, []byte("second")); !errors.Is(err, ErrExists) {
		return refused(store, "PutIfAbsent of a taken key", err)
	}
	if _, err := store.PutIfMatch(ctx, key, []byte("third"), first); err != nil && !errors.Is(err, ErrConditionFailed) {
		return fmt.Errorf("probe %s: replace probe object: %w", store, err)
	}
	info, err := store.Head(ctx, key)
	if err != nil {
		return fmt.Errorf("probe %s: head probe object: %w", store, err)
	}
	if info.Version == first {
		return fmt.Errorf("probe %s: PutIfMatch of the present version was refused", store)
	}
	if _, err := store.PutIfMatch(ctx, key, []byte("fourth"), first); !errors.Is(err, ErrConditionFailed) {
		return refused(store, "PutIfMatch of a stale version", err)
	}
	return nil
}

// refused explains a conditional write that should have failed its condition, and returned err instead.
func refused(store Store, what string, err error) error {
	if err == nil {
		return fmt.Errorf("probe %s: %s succeeded: %w", store, what, ErrConditionsIgnored)
	}
	return fmt.Errorf("probe %s: %s: %w", store, what, err)
}
