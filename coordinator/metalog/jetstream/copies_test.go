package jetstream

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
)

func TestAServerThatIsAloneIsNotToKeepThreeCopies(t *testing.T) {
	conn, stop := startBus(t, t.TempDir())
	defer stop()
	three := Config{ClusterID: cluster, LogID: [16]byte{1}, Replicas: 3}
	if _, err := Open(t.Context(), conn, three); !errors.Is(err, metalog.ErrFewCopies) {
		t.Fatalf("open: %v, want ErrFewCopies", err)
	}
	existing := three
	existing.Existing = true
	if _, err := Open(t.Context(), conn, existing); !errors.Is(err, ErrNoStream) {
		t.Errorf("after the refusal: %v, want ErrNoStream", err)
	}
	// A stream that somebody depends on is not refused, but says how it is kept.
	if log := open(t, conn); log.Copies() != 1 {
		t.Errorf("%d copies, want 1", log.Copies())
	}
	log, err := Open(t.Context(), conn, three)
	if err != nil {
		t.Fatal(err)
	}
	if log.Copies() != 1 || log.Replicated() {
		t.Errorf("%d copies, want 1", log.Copies())
	}
}

func TestAClusterKeepsAsManyCopiesAsAreWanted(t *testing.T) {
	_, conns := startCluster(t, 3)
	if log := openReplicated(t, conns[0]); log.Copies() != 3 {
		t.Errorf("%d copies, want 3", log.Copies())
	}
}
