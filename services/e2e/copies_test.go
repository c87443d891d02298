package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// TestThreeCoordinatorsDoNotMakeDoWithOneCopyOfTheLog has them use a NATS server that is alone.
func TestThreeCoordinatorsDoNotMakeDoWithOneCopyOfTheLog(t *testing.T) {
	t.Parallel()
	address := cluster.FreeAddress(t)
	startJetStream(t, address)
	flags := []string{"--bucket", "file://" + filepath.Join(t.TempDir(), "bucket"), "--metalog=jetstream", "--nats-url", "nats://" + address}
	group := cluster.NewGroup(t, 3, flags...)
	refuses(t, group[0], "kept as many times", "3 times", "JetStream cluster", "--nats-url")

	// A log that was begun by one coordinator is there, and has to be said to be kept once.
	alone := cluster.New(t, "coordinator", flags...)
	alone.Start()
	alone.Stop()
	for _, n := range group {
		n.Launch()
	}
	for _, n := range group {
		cluster.Eventually(t, patience, "the word that the log is kept once", func() error {
			_, err := n.Get("/readyz")
			if err == nil || !strings.Contains(err.Error(), "metalog: metadata log is kept 1 times") {
				return fmt.Errorf("ready: %w", err)
			}
			return nil
		})
		if !strings.Contains(n.Log(), "level=ERROR") {
			t.Errorf("%s logs no error", n)
		}
		if metrics, err := n.Get("/metrics"); err != nil || !strings.Contains(metrics, "\nvarve_metalog_copies 1\n") {
			t.Errorf("%s: no metric tells the copies: %v", n, err)
		}
	}
}
