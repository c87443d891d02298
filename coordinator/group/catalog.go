package group

import (
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// catalog is the topics there are, as of one moment. It is never changed: topics that change make a new one.
type catalog struct {
	seq    uint64 // of the state's topics
	byName map[string]topicInfo
	byID   map[meta.TopicID]topicInfo
	names  []string // in order
}

type topicInfo struct {
	id         meta.TopicID
	name       string
	partitions int32
}

// newCatalog reads the state.
func newCatalog(s *meta.State) *catalog {
	topics := s.Topics()
	c := &catalog{
		seq: s.TopicsSeq(), byName: make(map[string]topicInfo, len(topics)), byID: make(map[meta.TopicID]topicInfo, len(topics)),
		names: make([]string, 0, len(topics)),
	}
	for _, t := range topics {
		info := topicInfo{t.ID, t.Name, int32(t.Partitions())}
		c.byName[t.Name], c.byID[t.ID] = info, info
		c.names = append(c.names, t.Name)
	}
	return c
}

// subscribed describes topics by name, in order of the names, which are sorted.
func (c *catalog) subscribed(names []string) []*metapb.SubscribedTopic {
	out := make([]*metapb.SubscribedTopic, 0, len(names))
	for _, name := range names {
		t := &metapb.SubscribedTopic{Name: name}
		if info, ok := c.byName[name]; ok {
			t.TopicId, t.Partitions = info.id[:], info.partitions
		}
		out = append(out, t)
	}
	return out
}

func sameSubscribed(a, b []*metapb.SubscribedTopic) bool {
	return slices.EqualFunc(a, b, func(x, y *metapb.SubscribedTopic) bool {
		return x.Name == y.Name && x.Partitions == y.Partitions && slices.Equal(x.TopicId, y.TopicId)
	})
}
