package group

import (
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// Limits bound what members of classic groups may ask. What is zero is the cluster's configuration.
type Limits struct {
	MinSessionTimeout time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout time.Duration // group.max.session.timeout.ms
	MaxMembers        int           // group.max.size
	InitialDelay      time.Duration // group.initial.rebalance.delay.ms
	MaxMetadataBytes  int           // offset.metadata.max.bytes
}

// limitsNow are the limits with the cluster's configuration as it is now.
func (c *Coordinator) limitsNow() Limits {
	l := c.limits
	c.log.View(func(s *meta.State) {
		own, group := s.Cluster(), s.GroupConfig("")
		orMillis(&l.MinSessionTimeout, own.GroupMinSessionTimeoutMillis)
		orMillis(&l.MaxSessionTimeout, own.GroupMaxSessionTimeoutMillis)
		orMillis(&l.InitialDelay, own.GroupInitialRebalanceDelayMillis)
		if l.MaxMembers == 0 {
			l.MaxMembers = int(group.ClassicMaxSize)
		}
		if l.MaxMetadataBytes == 0 {
			l.MaxMetadataBytes = int(own.OffsetMetadataMaxBytes)
		}
	})
	return l
}

func orMillis(d *time.Duration, millis int32) {
	if *d == 0 {
		*d = time.Duration(millis) * time.Millisecond
	}
}
