package replica

import (
	"errors"
	"testing"
)

// TestAPartThatNobodyWouldReadIsNotWritten: it would be held to be proven, since this process has written it, and the log be cut behind it.
func TestAPartThatNobodyWouldReadIsNotWritten(t *testing.T) {
	k := newKeeper(t)
	k.save("a")
	k.save("b")
	k.prune()
	bound := maxPartBytes
	defer func() { maxPartBytes = bound }()
	maxPartBytes = 64
	k.append(createTopic("c"))
	if err := k.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.SaveSnapshot(t.Context()); !errors.Is(err, errPartTooLarge) {
		t.Fatalf("a snapshot with a part that is too large: %v", err)
	}
	maxPartBytes = bound
	k.open()
	if k.SnapshotSeq() != 3 || k.Seq() != 4 {
		t.Fatalf("restored from %d, at %d", k.SnapshotSeq(), k.Seq())
	}
}
