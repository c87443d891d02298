package election

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/infra/rpc"
)

// ErrMisfit: this process's idea of the group is not that of those who run.
var ErrMisfit = errors.New("--peers and --node-id do not fit the coordinators that run")

// Check asks everybody once, this process's own address among them, whose listener must be served. It returns an error where another process has
// this one's place, or nobody who answers belongs to this one's group and somebody belongs to another.
func (m *Member) Check(ctx context.Context) error {
	objections := make([]error, len(m.cfg.Peers))
	agrees := make([]bool, len(m.cfg.Peers))
	var tasks sync.WaitGroup
	for i, p := range m.cfg.Peers {
		tasks.Go(func() {
			status, err := m.ask(ctx, p.Address)
			if p.ID == m.cfg.NodeID {
				if err == nil && status.Instance != m.instance {
					objections[i] = fmt.Errorf("%w: another process answers as node %d at %s", ErrMisfit, p.ID, p.Address)
				}
				return
			}
			objections[i] = m.objection(p, status, err)
			agrees[i] = err == nil && objections[i] == nil
		})
	}
	tasks.Wait()
	var found error
	agreed := false
	for i, p := range m.cfg.Peers {
		if p.ID == m.cfg.NodeID && objections[i] != nil {
			return objections[i]
		}
		if found == nil {
			found = objections[i]
		}
		agreed = agreed || agrees[i]
	}
	if agreed {
		return nil // the one that differs is wrong; it is complained of while it does
	}
	return found
}

// objection is what is wrong with the group, going by the outcome of a question to p; nil for nothing, or a peer that is not there.
func (m *Member) objection(p Peer, status *metapb.PeerStatusResponse, err error) error {
	switch {
	case errors.Is(err, rpc.ErrUnauthorized):
		return fmt.Errorf("%w: node %d at %s is of another cluster, with another --bucket, or of another build: %w", ErrMisfit, p.ID, p.Address, err)
	case errors.Is(err, rpc.ErrUnknownMethod):
		return fmt.Errorf("%w: what answers at %s is no coordinator of a group", ErrMisfit, p.Address)
	case err != nil:
		return nil
	case int(status.NodeId) != p.ID:
		return fmt.Errorf("%w: --peers names %s node %d, and node %d answers there", ErrMisfit, p.Address, p.ID, status.NodeId)
	case status.Peers != m.cfg.Peers.String():
		return fmt.Errorf("%w: node %d at %s has --peers %s, this one has %s", ErrMisfit, p.ID, p.Address, status.Peers, m.cfg.Peers)
	}
	return nil
}

// complain logs what is wrong with a peer when that changes.
func (m *Member) complain(p Peer, objection error) {
	text := ""
	if objection != nil {
		text = objection.Error()
	}
	m.mu.Lock()
	s := m.mu.seen[p.ID]
	changed := s.complaint != text
	s.complaint = text
	m.mu.Unlock()
	if changed && objection != nil {
		m.cfg.Logger.Error("a peer does not fit", "error", objection)
	}
}
