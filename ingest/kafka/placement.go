package kafka

import (
	"encoding/binary"
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

// zoneOfClientID finds "zone=name" in a client id, where a client says which zone it is in; the name ends at a comma, semicolon or space.
func zoneOfClientID(clientID string) string {
	_, rest, ok := strings.Cut(clientID, "zone=")
	if !ok {
		return ""
	}
	if end := strings.IndexAny(rest, ",; "); end >= 0 {
		rest = rest[:end]
	}
	return rest
}
