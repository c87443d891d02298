//go:build linux && !race

// Under the race detector, which sees nothing of a guest, compiling one takes minutes.

package main

import (
	"bytes"
	"testing"
)

// TestSeedReplays runs seeds twice, in two instances, and compares their traces byte for byte.
func TestSeedReplays(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the guest")
	}
	ctx := t.Context()
	g, err := openGuest(ctx, "", build)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	traces := map[string]bool{}
	for _, seed := range []uint64{1, 2} {
		var first, second bytes.Buffer
		a, b := g.run(ctx, seed, &first), g.run(ctx, seed, &second)
		if !a.passed() {
			t.Errorf("seed %d: %s %q", seed, a.verdict(), a.violations)
		}
		if a.lines < 100 {
			t.Errorf("seed %d has a trace of %d lines", seed, a.lines)
		}
		if a.hash != b.hash || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d: two runs differ: %s and %s", seed, a.hash, b.hash)
		}
		if traces[a.hash] {
			t.Errorf("seed %d has the trace of another seed", seed)
		}
		traces[a.hash] = true
	}
}
