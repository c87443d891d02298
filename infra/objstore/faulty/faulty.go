// Package faulty wraps an object store with faults for tests: errors before and after the deed, throttling, latencies,
// bodies that break off, answers that come late or never, and writes that take effect after their caller has given up.
//
// Faults are Rules over operations and keys. What is random about them comes from one seeded source, so a test whose calls
// come in a fixed order sees the same faults again. Time passes through Config.Sleep; its default uses the time package,
// which testing/synctest makes virtual.
package faulty

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/varvelog/varve/infra/objstore"
)

var _ objstore.Store = (*Store)(nil)

// Config of a Store. The zero value injects nothing.
type Config struct {
	Seed  uint64
	Rules []Rule
	// Sleep waits for d or until ctx ends, whose error it then returns. Nil means by the time package.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Store injects faults into another store. Close waits for detached operations.
type Store struct {
	inner    objstore.Store
	sleep    func(ctx context.Context, d time.Duration) error
	detached sync.WaitGroup

	mu struct {
		sync.Mutex
		random *rand.Rand
		rules  []*activeRule
		calls  map[Op]int
		faults int
	}
}

// New wraps inner, which Close closes.
func New(inner objstore.Store, config Config) *Store {
	s := &Store{inner: inner, sleep: config.Sleep}
	if s.sleep == nil {
		s.sleep = sleep
	}
	s.mu.random = rand.New(rand.NewPCG(config.Seed, 0))
	s.mu.calls = make(map[Op]int)
	s.SetRules(config.Rules...)
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetRules replaces all rules. Calls in progress keep theirs.
func (s *Store) SetRules(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.rules = nil
	for _, rule := range rules {
		s.mu.rules = append(s.mu.rules, newActiveRule(rule))
	}
}

// AddRule adds a rule after those there are.
func (s *Store) AddRule(rule Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.rules = append(s.mu.rules, newActiveRule(rule))
}

// Calls returns how many calls of the operations began, those that were made to fail included.
func (s *Store) Calls(ops Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for op, calls := range s.mu.calls {
		if op&ops != 0 {
			n += calls
		}
	}
	return n
}

// Faults returns how often a rule has applied to a call.
func (s *Store) Faults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.faults
}

func (s *Store) decide(op Op, key string) plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.calls[op]++
	var p plan
	for _, rule := range s.mu.rules {
		if !rule.matches(op, key, s.mu.random) {
			continue
		}
		s.mu.faults++
		p.add(rule.Rule, s.mu.random)
	}
	return p
}

// do runs one operation as its plan says.
func do[T any](ctx context.Context, s *Store, op Op, key string, p plan, operation func(ctx context.Context) (T, error)) (T, error) {
	perform := func(ctx context.Context) (T, error) {
		var none T
		if err := s.wait(ctx, p); err != nil {
			return none, fmt.Errorf("%s %q: %w", opNames[op], key, err)
		}
		if p.failBefore != nil {
			return none, fmt.Errorf("%s %q: %w", opNames[op], key, p.failBefore)
		}
		result, err := operation(ctx)
		if err == nil && p.failAfter != nil {
			discard(result)
			return none, fmt.Errorf("%s %q: %w", opNames[op], key, p.failAfter)
		}
		return result, err
	}
	switch {
	case p.ignoreContext:
		return perform(context.WithoutCancel(ctx))
	case p.detach:
		return detached(ctx, s, op, key, perform)
	}
	return perform(ctx)
}

func (s *Store) wait(ctx context.Context, p plan) error {
	if p.delay > 0 {
		if err := s.sleep(ctx, p.delay); err != nil {
			return err
		}
	}
	for _, hold := range p.holds {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// detached runs perform to its end, and returns when that or ctx ends.
func detached[T any](ctx context.Context, s *Store, op Op, key string, perform func(ctx context.Context) (T, error)) (T, error) {
	type outcome struct {
		result T
		err    error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s %q: %w", opNames[op], key, err)
	}
	outcomes := make(chan outcome)
	gone := make(chan struct{})
	s.detached.Go(func() {
		result, err := perform(context.WithoutCancel(ctx))
		select {
		case outcomes <- outcome{result, err}:
		case <-gone:
			if err == nil {
				discard(result)
			}
		}
	})
	select {
	case done := <-outcomes:
		return done.result, done.err
	case <-ctx.Done():
		close(gone)
		return none, fmt.Errorf("%s %q: %w", opNames[op], key, ctx.Err())
	}
}

// discard gives up a result that its caller will not see.
func discard(result any) {
	if opened, ok := result.(object); ok {
		// Nothing was read, so there is nothing that a failure to close could have spoilt.
		_ = opened.body.Close()
	}
}

func (s *Store) put(ctx context.Context, op Op, key string, body []byte, write func(ctx context.Context, body []byte) (objstore.Version, error)) (objstore.Version, error) {
	p := s.decide(op, key)
	if p.detach {
		// The caller may change its bytes once the call has returned.
		body = bytes.Clone(body)
	}
	return do(ctx, s, op, key, p, func(ctx context.Context) (objstore.Version, error) { return write(ctx, body) })
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, PutIfAbsent, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return s.inner.PutIfAbsent(ctx, key, body)
	})
}

// PutIfMatch implements objstore.Store.
func (s *Store) PutIfMatch(ctx context.Context, key string, body []byte, old objstore.Version) (objstore.Version, error) {
	return s.put(ctx, PutIfMatch, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return s.inner.PutIfMatch(ctx, key, body, old)
	})
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) (objstore.Version, error) {
	return s.put(ctx, PutAlways, key, body, func(ctx context.Context, body []byte) (objstore.Version, error) {
		return s.inner.Put(ctx, key, body)
	})
}

// object is what Get returns besides an error.
type object struct {
	body io.ReadCloser
	info objstore.Info
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, objstore.Info, error) {
	p := s.decide(Get, key)
	opened, err := do(ctx, s, Get, key, p, func(ctx context.Context) (object, error) {
		body, info, err := s.inner.Get(ctx, key, offset, length)
		return object{body, info}, err
	})
	if err != nil {
		return nil, objstore.Info{}, err
	}
	if p.truncateErr != nil {
		opened.body = &truncated{ReadCloser: opened.body, restBytes: p.truncateBytes, err: p.truncateErr}
	}
	return opened.body, opened.info, nil
}

// Head implements objstore.Store.
func (s *Store) Head(ctx context.Context, key string) (objstore.Info, error) {
	return do(ctx, s, Head, key, s.decide(Head, key), func(ctx context.Context) (objstore.Info, error) { return s.inner.Head(ctx, key) })
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := do(ctx, s, Delete, key, s.decide(Delete, key), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.inner.Delete(ctx, key)
	})
	return err
}

// List implements objstore.Store. The plan is for the whole listing; with FailAfter it fails at its end.
func (s *Store) List(ctx context.Context, prefix, startAfter string) func(yield func(objstore.Info, error) bool) {
	return func(yield func(objstore.Info, error) bool) {
		p := s.decide(List, prefix)
		after := p.failAfter
		p.failAfter = nil
		_, err := do(ctx, s, List, prefix, p, func(context.Context) (struct{}, error) { return struct{}{}, nil })
		if err != nil {
			yield(objstore.Info{}, err)
			return
		}
		for info, err := range s.inner.List(ctx, prefix, startAfter) {
			if !yield(info, err) || err != nil {
				return
			}
		}
		if after != nil {
			yield(objstore.Info{}, fmt.Errorf("List %q: %w", prefix, after))
		}
	}
}

// Now implements objstore.Store.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	return do(ctx, s, Now, "", s.decide(Now, ""), s.inner.Now)
}

// String implements objstore.Store.
func (s *Store) String() string { return s.inner.String() }

// Close implements objstore.Store. It returns when the detached operations have ended: release what holds them first.
func (s *Store) Close() error {
	s.detached.Wait()
	return s.inner.Close()
}

// truncated breaks a body off.
type truncated struct {
	io.ReadCloser
	restBytes int64
	err       error
}

func (t *truncated) Read(p []byte) (int, error) {
	if t.restBytes <= 0 {
		return 0, t.err
	}
	n, err := t.ReadCloser.Read(p[:min(int64(len(p)), t.restBytes)])
	t.restBytes -= int64(n)
	return n, err
}
