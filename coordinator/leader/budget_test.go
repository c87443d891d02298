package leader

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

func TestChunksWaitWhileTooManyRunsAreUnshipped(t *testing.T) {
	n := start(t, mem.New().Open(), nil, func(c *Config) { c.MaxUnshippedRuns = 10 })
	chunk := []*metapb.Command{{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{}}}}
	n.setFull(10)
	if _, err := n.Submit(timeout(t), chunk); !errors.Is(err, replica.ErrBusy) {
		t.Errorf("chunk at the bound: %v", err)
	}
	if _, err := n.Submit(timeout(t), []*metapb.Command{allocate()}); err != nil {
		t.Errorf("another command at the bound: %v", err)
	}
	n.setFull(9)
	if _, err := n.Submit(timeout(t), chunk); err != nil {
		t.Errorf("chunk below the bound: %v", err)
	}
}
