package kafka

import (
	"testing"

	"github.com/varvelog/varve/coordinator/meta"
)

// A node that came back with an empty disk has its old address and a new id: librdkafka, shown both, waited for the old one.
func TestOfNodesAtOneAddressTheNewestIsShown(t *testing.T) {
	c := newCluster(t)
	c.addNode("one", 9092, "")
	c.addNode("other", 9092, "")
	newest := c.addNode("one", 9092, "")
	live := newCatalog(c, &Config{NodeGone: func(meta.NodeID, uint64) bool { return false }}).nodes("")
	if len(live) != 2 || live[0].host != "other" || live[1].id != int32(newest) {
		t.Errorf("nodes %+v", live)
	}
}
