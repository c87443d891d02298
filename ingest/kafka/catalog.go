package kafka

import (
	"maps"
	"slices"
	"sync"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// catalog answers the produce path's question, what a topic is, without allocating: it keeps what is derived from a topic's state.
type catalog struct {
	metadata Metadata
	self     meta.NodeID
	gone     func(id meta.NodeID, epoch uint64) bool
	lookups  sync.Pool // of *topicLookup

	mu struct {
		sync.RWMutex
		topics map[meta.TopicID]*topic
	}
}

// topic is what the produce path knows of a topic. It is never changed; a topic that changes is a new one.
type topic struct {
	id         meta.TopicID
	name       string
	partitions int32
	config     meta.TopicConfig

	limits   recordbatch.Limits
	compress compressPolicy
	codec    recordbatch.Codec
}

// compressPolicy says what becomes of a batch's compression (compression.type).
type compressPolicy uint8

const (
	keepCompression      compressPolicy = iota // leave batches as they came
	compressUncompressed                       // compress what came uncompressed, and keep what a producer compressed
	forceCompression                           // make every batch the topic's codec, or uncompressed
)

// node is an ingest node that clients are sent to.
type node struct {
	id   int32
	host string // for the client's listener
	port int32
	zone string

	general     string // host and port for clients that come through no zone's listener
	generalPort int32
}

func newCatalog(metadata Metadata, config *Config) *catalog {
	c := &catalog{metadata: metadata, self: config.NodeID, gone: config.NodeGone}
	c.lookups.New = func() any {
		l := &topicLookup{catalog: c}
		l.view = l.look
		return l
	}
	c.mu.topics = make(map[meta.TopicID]*topic)
	return c
}

// topicLookup is one look at the state, with its closure made once.
type topicLookup struct {
	catalog *catalog
	view    func(*meta.State)
	name    string
	id      meta.TopicID
	found   *topic
}

// topic returns nil for a topic that is not there. The name is not kept.
func (c *catalog) topic(name string) *topic { return c.lookUp(name, meta.TopicID{}) }

func (c *catalog) topicByID(id meta.TopicID) *topic { return c.lookUp("", id) }

func (c *catalog) lookUp(name string, id meta.TopicID) *topic {
	l := c.lookups.Get().(*topicLookup) //nolint:forcetypeassert // the pool holds nothing else
	l.name, l.id, l.found = name, id, nil
	c.metadata.View(l.view)
	found := l.found
	l.name, l.found = "", nil
	c.lookups.Put(l)
	return found
}

func (l *topicLookup) look(s *meta.State) {
	t := s.Topic(l.id)
	if l.name != "" {
		t = s.TopicByName(l.name)
	}
	if t != nil {
		l.found = l.catalog.derive(s, t)
	}
}

// derive returns what is known of t, deriving it again if it has changed.
func (c *catalog) derive(s *meta.State, t *meta.Topic) *topic {
	c.mu.RLock()
	known := c.mu.topics[t.ID]
	c.mu.RUnlock()
	if known != nil && known.partitions == int32(t.Partitions()) && known.config == t.Config {
		return known
	}
	derived := newTopicView(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.topics) > 2*len(s.Topics())+16 {
		maps.DeleteFunc(c.mu.topics, func(id meta.TopicID, _ *topic) bool { return s.Topic(id) == nil })
	}
	c.mu.topics[t.ID] = derived
	return derived
}

func newTopicView(t *meta.Topic) *topic {
	v := &topic{id: t.ID, name: t.Name, partitions: int32(t.Partitions()), config: t.Config}
	v.limits = recordbatch.Limits{MaxBatchBytes: int(t.Config.MaxMessageBytes), Deep: t.Config.DeepValidation, RequireKeys: t.Config.Compact}
	switch t.Config.CompressionType {
	case "producer":
		if t.Config.CompressUncompressed {
			v.compress, v.codec = compressUncompressed, recordbatch.Zstd
		}
	case "uncompressed":
		v.compress, v.codec = forceCompression, recordbatch.None
	default:
		if codec, err := recordbatch.ParseCodec(t.Config.CompressionType); err == nil {
			v.compress, v.codec = forceCompression, codec
		}
	}
	return v
}

// nodes are the nodes that clients can be sent to, in order of id, at the addresses that they have for a zone's listener, "" for the general one.
// Where there is none this node names itself: it is there, since it answers. Of several at one address only the newest is named: a node that
// came back with an empty disk is another node, and until the old one is given up clients would take the two for one, and wait.
func (c *catalog) nodes(listener string) (serving []node) {
	c.metadata.View(func(s *meta.State) { serving = c.serving(s, listener) })
	return serving
}

// brokers are the nodes, and behind them those that drain and still answer.
func (c *catalog) brokers(listener string) (serving, all []node) {
	c.metadata.View(func(s *meta.State) {
		serving = c.serving(s, listener)
		all = slices.Clip(serving)
		for _, n := range s.Nodes() {
			if n.Answers() && !n.Serves() && !c.gone(n.ID, n.Epoch) && !slices.ContainsFunc(all, func(other node) bool { return other.isAt(n) }) {
				all = append(all, newNodeView(n, listener))
			}
		}
	})
	return serving, all
}

func (c *catalog) serving(s *meta.State, listener string) (serving []node) {
	for _, n := range s.Nodes() {
		if n.Serves() && !c.gone(n.ID, n.Epoch) {
			serving = slices.DeleteFunc(serving, func(older node) bool { return older.isAt(n) })
			serving = append(serving, newNodeView(n, listener))
		}
	}
	if own := s.Node(c.self); len(serving) == 0 && own != nil {
		serving = append(serving, newNodeView(own, listener))
	}
	return serving
}

// isAt says whether clients reach the node where they reach another.
func (n node) isAt(other *meta.Node) bool {
	return n.general == other.KafkaHost && n.generalPort == other.KafkaPort
}

func newNodeView(n *meta.Node, listener string) node {
	v := node{id: int32(n.ID), zone: n.Zone, general: n.KafkaHost, generalPort: n.KafkaPort}
	v.host, v.port = n.AddressIn(listener)
	return v
}

// isCluster says whether there is, or was, more than one node. A node that is down for a while still counts: what a topic is created as
// does not hang on that moment.
func (c *catalog) isCluster() bool {
	type address struct {
		host string
		port int32
	}
	known := map[address]bool{}
	c.metadata.View(func(s *meta.State) {
		for _, n := range s.Nodes() {
			known[address{n.KafkaHost, n.KafkaPort}] = true
		}
	})
	return len(known) > 1
}
