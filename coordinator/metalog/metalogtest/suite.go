// Package metalogtest is the acceptance suite of metalog.Log. Every backend runs it.
package metalogtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/metalog"
)

// Open returns a new handle on the one log of the running test; the test closes it.
type Open func(t *testing.T) metalog.Log

// Run runs the suite. fresh prepares an empty log for one test and returns how to open handles on it.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"an empty log has no entries", testEmpty},
		{"what was appended is read", testAppendRead},
		{"a taken sequence is a conflict", testConflict},
		{"a sequence above the end is a gap", testGap},
		{"of racing writers exactly one wins each sequence", testRace},
		{"entries survive reopening", testReopen},
		{"truncation removes a prefix and numbering goes on", testTruncate},
		{"a log truncated whole goes on", testTruncateAll},
		{"a sleeper stays fenced after truncation", testSleeper},
		{"an append after its context ended is refused", testCancelled},
		{"an append cut off in the middle is settled", testCutOff},
		{"an oversized entry is refused", testTooLarge},
		{"entries up to the bound are kept whole", testLarge},
		{"a long log is read whole from any place", testLong},
		{"a reader follows a writer", testFollow},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			s := &suite{ctx: ctx, open: fresh(t)}
			c.run(t, s)
		})
	}
}

type suite struct {
	ctx  context.Context
	open Open
}

func (s *suite) handle(t *testing.T) metalog.Log {
	t.Helper()
	log := s.open(t)
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return log
}

func entry(seq uint64) []byte { return fmt.Appendf(nil, "entry %d", seq) }

func (s *suite) fill(t *testing.T, log metalog.Log, from, to uint64) {
	t.Helper()
	for seq := from; seq < to; seq++ {
		if err := log.Append(s.ctx, seq, entry(seq), metalog.Ordinary); err != nil {
			t.Fatalf("append at %d: %v", seq, err)
		}
	}
}

func (s *suite) wantBounds(t *testing.T, log metalog.Log, first, next uint64) {
	t.Helper()
	gotFirst, gotNext, err := log.Bounds(s.ctx)
	if err != nil || gotFirst != first || gotNext != next {
		t.Fatalf("bounds = [%d, %d), %v; want [%d, %d)", gotFirst, gotNext, err, first, next)
	}
}

func (s *suite) wantEntries(t *testing.T, log metalog.Log, from, to uint64) {
	t.Helper()
	seq := from
	for record, err := range log.Read(s.ctx, from) {
		if err != nil {
			t.Fatalf("read %d: %v", seq, err)
		}
		if record.Seq != seq || !bytes.Equal(record.Entry, entry(seq)) {
			t.Fatalf("read %d: got %d %q", seq, record.Seq, record.Entry)
		}
		seq++
	}
	if seq != to {
		t.Fatalf("reading from %d ended at %d, want %d", from, seq, to)
	}
}

func testEmpty(t *testing.T, s *suite) {
	log := s.handle(t)
	if err := log.Verify(s.ctx); err != nil {
		t.Fatalf("verify: %v", err)
	}
	s.wantBounds(t, log, 1, 1)
	s.wantEntries(t, log, 1, 1)
	s.wantEntries(t, log, 10, 10)
}

func testAppendRead(t *testing.T, s *suite) {
	log, other := s.handle(t), s.handle(t)
	s.fill(t, log, 1, 11)
	for _, l := range []metalog.Log{log, other} {
		s.wantBounds(t, l, 1, 11)
		s.wantEntries(t, l, 1, 11)
		s.wantEntries(t, l, 7, 11)
		s.wantEntries(t, l, 11, 11)
	}
	for range log.Read(s.ctx, 1) {
		break // stopping early leaves nothing behind
	}
}

func testConflict(t *testing.T, s *suite) {
	log, other := s.handle(t), s.handle(t)
	s.fill(t, log, 1, 4)
	for _, l := range []metalog.Log{log, other} {
		for seq := uint64(1); seq < 4; seq++ {
			if err := l.Append(s.ctx, seq, []byte("intruder"), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
				t.Fatalf("append at taken %d: %v, want ErrConflict", seq, err)
			}
		}
	}
	// Settling an ambiguous append: the same bytes at the same sequence, then a look.
	if err := log.Append(s.ctx, 3, entry(3), metalog.Ordinary); err != nil && !errors.Is(err, metalog.ErrConflict) {
		t.Fatalf("repeat of an append: %v, want nil or ErrConflict", err)
	}
	if got, found, err := metalog.ReadOne(s.ctx, other, 3); err != nil || !found || !bytes.Equal(got, entry(3)) {
		t.Fatalf("entry 3 = %q, %v, %v", got, found, err)
	}
	s.wantEntries(t, log, 1, 4)
}

func testGap(t *testing.T, s *suite) {
	log, other := s.handle(t), s.handle(t)
	if err := log.Append(s.ctx, 5, entry(5), metalog.Ordinary); !errors.Is(err, metalog.ErrGap) {
		t.Fatalf("append at 5 of an empty log: %v, want ErrGap", err)
	}
	s.fill(t, log, 1, 3)
	if err := other.Append(s.ctx, 4, entry(4), metalog.Ordinary); !errors.Is(err, metalog.ErrGap) {
		t.Fatalf("append at 4 of a log that ends at 3: %v, want ErrGap", err)
	}
	s.wantBounds(t, log, 1, 3)
}

func testRace(t *testing.T, s *suite) {
	const writers, entries = 4, 40
	var wins [entries + 1]struct {
		sync.Mutex
		by []int
	}
	var group sync.WaitGroup
	for w := range writers {
		log := s.handle(t)
		group.Go(func() {
			for seq := uint64(1); seq <= entries; {
				err := log.Append(s.ctx, seq, fmt.Appendf(nil, "%d by %d", seq, w), metalog.Ordinary)
				switch {
				case err == nil:
					wins[seq].Lock()
					wins[seq].by = append(wins[seq].by, w)
					wins[seq].Unlock()
					seq++
				case errors.Is(err, metalog.ErrConflict):
					seq++
				default:
					t.Errorf("append at %d: %v", seq, err)
					return
				}
			}
		})
	}
	group.Wait()
	log := s.handle(t)
	seq := uint64(1)
	for record, err := range log.Read(s.ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		by := wins[record.Seq].by
		if len(by) != 1 || string(record.Entry) != fmt.Sprintf("%d by %d", seq, by[0]) {
			t.Fatalf("%d was won by %v and holds %q", seq, by, record.Entry)
		}
		seq++
	}
	if seq != entries+1 {
		t.Fatalf("the log ends at %d, want %d", seq, entries+1)
	}
}

func testReopen(t *testing.T, s *suite) {
	log := s.open(t)
	s.fill(t, log, 1, 6)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.handle(t)
	s.wantBounds(t, again, 1, 6)
	s.wantEntries(t, again, 1, 6)
	s.fill(t, again, 6, 8)
	s.wantEntries(t, again, 1, 8)
}

func testTruncate(t *testing.T, s *suite) {
	log := s.handle(t)
	s.fill(t, log, 1, 11)
	if err := log.Truncate(s.ctx, 6); err != nil {
		t.Fatal(err)
	}
	for _, l := range []metalog.Log{log, s.handle(t)} {
		s.wantBounds(t, l, 6, 11)
		s.wantEntries(t, l, 6, 11)
		wantTruncated(t, s, l, 5)
		wantTruncated(t, s, l, 1)
	}
	if err := log.Truncate(s.ctx, 3); err != nil {
		t.Fatalf("truncating what is gone: %v", err)
	}
	s.fill(t, log, 11, 13)
	s.wantBounds(t, log, 6, 13)
}

func wantTruncated(t *testing.T, s *suite, log metalog.Log, seq uint64) {
	t.Helper()
	for record, err := range log.Read(s.ctx, seq) {
		if !errors.Is(err, metalog.ErrTruncated) {
			t.Fatalf("read truncated %d: %d %q, %v; want ErrTruncated", seq, record.Seq, record.Entry, err)
		}
		return
	}
	t.Fatalf("read truncated %d yields nothing, want ErrTruncated", seq)
}

func testTruncateAll(t *testing.T, s *suite) {
	log := s.handle(t)
	s.fill(t, log, 1, 6)
	if err := log.Truncate(s.ctx, 6); err != nil {
		t.Fatal(err)
	}
	again := s.handle(t)
	if _, next, err := again.Bounds(s.ctx); err != nil || next != 6 {
		t.Fatalf("the log ends at %d, %v; want 6", next, err)
	}
	if err := again.Append(s.ctx, 3, []byte("intruder"), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
		t.Fatalf("append at truncated 3: %v, want ErrConflict", err)
	}
	s.fill(t, again, 6, 8)
	s.wantEntries(t, again, 6, 8)
}

// testSleeper: a writer falls asleep with 4 as its next sequence; another takes over there, writes on, and truncates.
func testSleeper(t *testing.T, s *suite) {
	sleeper, successor := s.handle(t), s.handle(t)
	s.fill(t, sleeper, 1, 4)
	if err := successor.Append(s.ctx, 4, entry(4), metalog.Fence); err != nil {
		t.Fatal(err)
	}
	s.fill(t, successor, 5, 20)
	if err := successor.Truncate(s.ctx, 15); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Append(s.ctx, 4, []byte("from the past"), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
		t.Fatalf("the sleeper's append: %v, want ErrConflict", err)
	}
	s.wantBounds(t, s.handle(t), 15, 20)
	s.wantEntries(t, successor, 15, 20)
}

func testCancelled(t *testing.T, s *suite) {
	log := s.handle(t)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := log.Append(ctx, 1, entry(1), metalog.Ordinary); err == nil {
		t.Fatal("an append under an ended context was acknowledged")
	}
	if _, _, err := log.Bounds(ctx); err == nil {
		t.Fatal("bounds under an ended context were answered")
	}
	for _, err := range log.Read(ctx, 1) {
		if err == nil {
			t.Fatal("a read under an ended context yielded an entry")
		}
	}
}

// testCutOff cuts appends off at all kinds of moments. Each is settled by repeating it, and reading on a conflict.
func testCutOff(t *testing.T, s *suite) {
	log := s.handle(t)
	for seq := uint64(1); seq <= 30; seq++ {
		ctx, cancel := context.WithTimeout(s.ctx, time.Duration(seq)*5*time.Microsecond)
		err := log.Append(ctx, seq, entry(seq), metalog.Ordinary)
		cancel()
		for err != nil {
			if err = log.Append(s.ctx, seq, entry(seq), metalog.Ordinary); !errors.Is(err, metalog.ErrConflict) {
				continue
			}
			there, found, err := metalog.ReadOne(s.ctx, log, seq)
			if err != nil || !found || !bytes.Equal(there, entry(seq)) {
				t.Fatalf("after a conflict at %d: %q, %v, %v", seq, there, found, err)
			}
			break
		}
	}
	s.wantEntries(t, s.handle(t), 1, 31)
}

func testTooLarge(t *testing.T, s *suite) {
	log := s.handle(t)
	if err := log.Append(s.ctx, 1, make([]byte, metalog.MaxEntryBytes+1), metalog.Ordinary); !errors.Is(err, metalog.ErrTooLarge) {
		t.Fatalf("append of an oversized entry: %v, want ErrTooLarge", err)
	}
	s.wantBounds(t, log, 1, 1)
}

func testLarge(t *testing.T, s *suite) {
	log := s.handle(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), metalog.MaxEntryBytes/16)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := log.Append(s.ctx, seq, want, metalog.Ordinary); err != nil {
			t.Fatal(err)
		}
	}
	read := 0
	for record, err := range log.Read(s.ctx, 1) {
		if err != nil || !bytes.Equal(record.Entry, want) {
			t.Fatalf("entry %d differs or failed: %v", record.Seq, err)
		}
		read++
	}
	if read != 3 {
		t.Fatalf("read %d entries, want 3", read)
	}
}

func testLong(t *testing.T, s *suite) {
	log := s.handle(t)
	s.fill(t, log, 1, 701)
	again := s.handle(t)
	for _, from := range []uint64{1, 2, 256, 257, 512, 699, 700} {
		s.wantEntries(t, again, from, 701)
	}
}

func testFollow(t *testing.T, s *suite) {
	writer, reader := s.handle(t), s.handle(t)
	for seq := uint64(1); seq < 10; seq++ {
		s.wantBounds(t, reader, 1, seq)
		s.fill(t, writer, seq, seq+1)
		s.wantEntries(t, reader, seq, seq+1)
	}
}
