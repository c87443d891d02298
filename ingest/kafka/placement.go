package kafka

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/varvelog/varve/coordinator/meta"
)

// Any node serves any partition. Metadata names one of the live nodes of the client's zone for each, by rendezvous hashing, so that
// batches and caches of a partition stay together and a node that comes or goes moves no more than its share.

// candidates are the nodes a client in zone is sent to: those of its zone, or all where the zone is unknown or has none.
func candidates(nodes []node, zone string) []node {
	if zone == "" {
		return nodes
	}
	var near []node
	for _, n := range nodes {
		if n.zone == zone {
			near = append(near, n)
		}
	}
	if len(near) == 0 {
		return nodes
	}
	return near
}

// controllerOf names the node that clients send administration to, -1 if there is none. Every node takes it.
func controllerOf(nodes []node) int32 {
	if len(nodes) == 0 {
		return -1
	}
	return nodes[0].id
}

// leaderOf names the node for a partition, -1 if there is none.
func leaderOf(nodes []node, topic meta.TopicID, partition int32) int32 {
	if len(nodes) == 1 {
		return nodes[0].id
	}
	key := binary.LittleEndian.Uint64(topic[:]) ^ mix(binary.LittleEndian.Uint64(topic[8:])+uint64(uint32(partition)))
	return highest(nodes, key)
}

// coordinatorOf names the node for a group, -1 if there is none.
func coordinatorOf(nodes []node, group string) int32 {
	key := uint64(14695981039346656037) // FNV-1a
	for i := range len(group) {
		key = (key ^ uint64(group[i])) * 1099511628211
	}
	return highest(nodes, key)
}

// highest is rendezvous hashing: the node whose hash with the key is highest.
func highest(nodes []node, key uint64) int32 {
	best, bestWeight := int32(-1), uint64(0)
	for _, n := range nodes {
		if w := mix(key ^ mix(uint64(uint32(n.id)))); best < 0 || w > bestWeight {
			best, bestWeight = n.id, w
		}
	}
	return best
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// nodes are those that the client can be sent to.
func (c *call) nodes() []node { return c.server().catalog.nodes(c.conn.listener) }

// brokers are the nodes, and all that Metadata names to the client, which it should leave where they are not among the nodes.
//
// librdkafka ends its thread for a broker that Metadata names no more, together with the partitions that the same answer gives to other leaders, and looks
// for their leaders again when it next looks after all topics, up to a second later. Away from a broker that merely leads nothing they move at once. Most
// other clients should not hear of a node that drains: franz-go would keep the connections that the node ends, and find out with the first request to
// the process that follows.
func (c *call) brokers() (nodes, named []node) {
	if c.conn.isLibrdkafka() {
		return c.server().catalog.brokers(c.conn.listener)
	}
	nodes = c.nodes()
	return nodes, nodes
}

// isLibrdkafka tells librdkafka and the clients around it, which have a name of their own and say in their version what is inside.
func (c *conn) isLibrdkafka() bool {
	return c.softwareName == "librdkafka" || strings.Contains(c.softwareVersion, "rdkafka")
}

// zone is the client's: that of the listener it came through, or what its client id says, or what it has fetched with.
func (c *call) zone() string {
	return cmp.Or(c.conn.listener, c.server().config.ZoneOf(c.clientID()), c.conn.rack)
}

// byZone are the nodes by zone, in order of the zones' names.
func byZone(nodes []node) (zones [][]node) {
	sorted := slices.SortedStableFunc(slices.Values(nodes), func(x, y node) int { return cmp.Compare(x.zone, y.zone) })
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].zone == sorted[0].zone {
			n++
		}
		zones, sorted = append(zones, sorted[:n:n]), sorted[n:]
	}
	return zones
}

// zoneKeys are the words before "=" with which a client id says a zone.
var zoneKeys = []string{"zone=", "ws_az="}

// zoneOfClientID finds the client's zone in its client id: what follows "zone=" (also as the end of a longer word with a hyphen, such as
// "varve-zone=") or "ws_az=", up to a comma, semicolon or space. The word begins the client id or stands behind something that is neither
// letter nor digit.
func zoneOfClientID(clientID string) string {
	for _, key := range zoneKeys {
		for from := 0; ; {
			at := strings.Index(clientID[from:], key)
			if at < 0 {
				break
			}
			at += from
			from = at + len(key)
			if at > 0 && isWordByte(clientID[at-1]) {
				continue
			}
			zone := clientID[from:]
			if end := strings.IndexAny(zone, ",; "); end >= 0 {
				zone = zone[:end]
			}
			return zone
		}
	}
	return ""
}

func isWordByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_'
}
