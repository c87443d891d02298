package leader

import (
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// raising is a feature level above the log's that everybody knows, and since when.
type raising struct {
	level uint32
	since time.Time
}

// judgeLevel returns the command that raises the log's feature level, when this leader, all its peers and all live nodes have known a higher
// one for FeatureHold.
func (l *Leader) judgeLevel(r *raising, now time.Time) []*metapb.Command {
	level := uint32(meta.FeatureLevel)
	if l.cfg.PeersSupport != nil {
		level = min(level, l.cfg.PeersSupport())
	}
	var present uint32
	l.cfg.Replica.View(func(s *meta.State) { level, present = min(level, s.NodesSupport()), s.FeatureLevel() })
	if level <= present {
		*r = raising{}
		return nil
	}
	if r.level != level {
		*r = raising{level: level, since: now}
	}
	if now.Sub(r.since) < l.cfg.FeatureHold {
		return nil
	}
	l.cfg.Logger.Info("everybody knows a higher feature level: raising the log's", "from", present, "to", level)
	return []*metapb.Command{{Kind: &metapb.Command_RaiseFeatureLevel{RaiseFeatureLevel: &metapb.RaiseFeatureLevel{Level: level}}}}
}
