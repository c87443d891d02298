package meta

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// NodeID identifies an ingest node for ever: a data directory keeps its node id. The first is 1.
type NodeID int32

// TopicID is Kafka's topic id, chosen by the proposer of CreateTopic.
type TopicID [16]byte

// ContainerID identifies what holds runs before shipping. Ids are never reused; 0 is none.
type ContainerID uint64

// JobID identifies a tiering job. Ids are never reused; 0 is none.
type JobID uint64

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     TopicID
	Partition int32
}

func (t TopicID) String() string { return hex.EncodeToString(t[:]) }

func (p TopicPartition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Partition) }

// ChunkID names a chunk, and so an object chunk's object. A chunk whose PUT was hedged was stored under one of several keys, which Hedge
// tells apart; at most one of them is ever committed.
type ChunkID struct {
	Node  NodeID
	Epoch uint64
	Lane  uint32
	Seq   uint64
	Hedge uint32 // 0 is the first key
}

// MaxHedges bounds the keys of a chunk besides the first.
const MaxHedges = 3

// SegmentID names an object written by tiering.
type SegmentID struct {
	Job     JobID
	Ordinal uint32
}

// ChunkKey is the first object key of a chunk: chunk/<hh>/<node>-<epoch>-<lane>-<seq>.
func ChunkKey(node NodeID, epoch uint64, lane uint32, seq uint64) string {
	return ChunkID{Node: node, Epoch: epoch, Lane: lane, Seq: seq}.Key()
}

// SegmentKey is the object key of a stored segment: segment/<hh>/<job>-<ordinal>.
func SegmentKey(job JobID, ordinal uint32) string {
	return hashedKey("segment/", fmt.Sprintf("%d-%d", job, ordinal))
}

// chunkPrefix is what the keys of object chunks begin with.
const chunkPrefix = "chunk/"

// Key is the object's key in the bucket: that of ChunkKey, which a hedge's ends with -h and its number.
func (c ChunkID) Key() string {
	name := fmt.Sprintf("%d-%d-%d-%d", c.Node, c.Epoch, c.Lane, c.Seq)
	if c.Hedge > 0 {
		name += fmt.Sprintf("-h%d", c.Hedge)
	}
	return hashedKey(chunkPrefix, name)
}

// Key is the object's key in the bucket.
func (s SegmentID) Key() string { return SegmentKey(s.Job, s.Ordinal) }

// hashedKey spreads keys over 256 prefixes, so that stores which partition by prefix see even load.
func hashedKey(prefix, name string) string {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	h ^= h >> 16
	return fmt.Sprintf("%s%02x/%s", prefix, byte(h^h>>8), name)
}

// ParseChunkKey and ParseSegmentKey are the inverse of Key; they answer false for anything that Key would not have written.
func ParseChunkKey(key string) (ChunkID, bool) {
	first, hedge, hedged := strings.Cut(key, "-h")
	n, ok := parseKey(first, chunkPrefix, 4)
	if !ok {
		return ChunkID{}, false
	}
	c := ChunkID{Node: NodeID(n[0]), Epoch: n[1], Lane: uint32(n[2]), Seq: n[3]}
	if hedged {
		number, err := strconv.ParseUint(hedge, 10, 32)
		if err != nil || number == 0 {
			return ChunkID{}, false
		}
		c.Hedge = uint32(number)
	}
	return c, c.Key() == key
}

// ParseSegmentKey is described at ParseChunkKey.
func ParseSegmentKey(key string) (SegmentID, bool) {
	n, ok := parseKey(key, "segment/", 2)
	if !ok {
		return SegmentID{}, false
	}
	s := SegmentID{Job: JobID(n[0]), Ordinal: uint32(n[1])}
	return s, s.Key() == key
}

func parseKey(key, prefix string, fields int) ([4]uint64, bool) {
	var n [4]uint64
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok || len(rest) < 3 || rest[2] != '/' {
		return n, false
	}
	parts := strings.Split(rest[3:], "-")
	if len(parts) != fields {
		return n, false
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 64)
		if err != nil {
			return n, false
		}
		n[i] = v
	}
	return n, true
}
