package kafka

import (
	"strconv"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// connectionLimits bound connections by settings that can be changed while the node runs (meta's names) and by the quotas of addresses. The
// server's lock guards it.
type connectionLimits struct {
	metadata Metadata
	quotas   *quotas
	resource string // the node, as settings name it

	byHost map[string]int
	due    time.Time
	max    int
	perIP  int
	rate   float64
	except map[string]int
}

func newConnectionLimits(metadata Metadata, q *quotas, node meta.NodeID) *connectionLimits {
	return &connectionLimits{metadata: metadata, quotas: q, resource: strconv.Itoa(int(node)), byHost: map[string]int{}}
}

// refresh reads the settings anew, where they are old.
func (l *connectionLimits) refresh(now time.Time) {
	if now.Before(l.due) {
		return
	}
	l.due = now.Add(quotaRefresh)
	l.metadata.View(func(s *meta.State) {
		l.max, l.perIP, l.rate = s.NodeNumber(l.resource, meta.MaxConnections), s.NodeNumber(l.resource, meta.MaxConnectionsPerIP), float64(s.NodeNumber(l.resource, meta.MaxConnectionCreationRate))
		overrides, err := meta.ParseConnectionOverrides(s.NodeConfig(l.resource, meta.MaxConnectionsPerIPOverrides))
		if err == nil { // what is not one has been refused before it was set
			l.except = overrides
		}
	})
}

// admit counts a connection in, and says how long it has to wait before it is read; or says why it is refused.
func (l *connectionLimits) admit(host string, open int, now time.Time) (why string, wait time.Duration) {
	l.refresh(now)
	perIP := l.perIP
	if bound, ok := l.except[host]; ok {
		perIP = bound
	}
	switch {
	case open >= l.max:
		return "too many connections", 0
	case l.byHost[host] >= perIP:
		return "too many connections from the address", 0
	}
	l.byHost[host]++
	if l.rate < unlimitedRate {
		wait = l.quotas.bucket(bucketKey{kind: connectionQuota}, l.rate, now).take(1, now)
	}
	if rate, ok := l.quotas.current(now).clients.LookupIP(host); ok {
		wait = max(wait, l.quotas.bucket(bucketKey{kind: connectionQuota, address: host}, rate, now).take(1, now))
	}
	return "", wait
}

// unlimitedRate is Kafka's way to say that there is no bound.
const unlimitedRate = 1<<31 - 1

func (l *connectionLimits) leave(host string) {
	if l.byHost[host]--; l.byHost[host] <= 0 {
		delete(l.byHost, host)
	}
}
