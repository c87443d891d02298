package group

import (
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// managed is a group whose assignments are made here, whatever protocol its members use.
type managed interface {
	// Take makes a command of what has changed. Stored tells its outcome.
	Take(now time.Time) *metapb.Command
	Stored(ok bool)
	WhenStored(answer func(stored bool))
	IsDirty() bool
	Abandon()

	NextDeadline() time.Time
	Advance(now time.Time)

	// State is where the group stands, in Kafka's words.
	State() string
	// Subscribes tells whether members want a topic.
	Subscribes(topic string) bool
	mayCommit(r *metapb.GroupCommitRequest) metapb.GroupCode
	size() int
	// kind is what Kafka calls the group's type, and its protocol type.
	kind() (groupType, protocolType string)
}

// managed is the group where it is a managed one, else nil.
func (g *guarded) managed() managed {
	switch {
	case g.consumer != nil:
		return g.consumer
	case g.share != nil:
		return g.share
	case g.streams != nil:
		return g.streams
	}
	return nil
}

// takesClassic says whether members of the classic protocol may speak to the group.
func (g *guarded) takesClassic() bool { return g.group != nil || g.consumer != nil }

func (g *guarded) size() int {
	if m := g.managed(); m != nil {
		return m.size()
	}
	return len(g.group.members) + len(g.group.pending)
}

func (g *ConsumerGroup) size() int { return len(g.members) }

func (g *ConsumerGroup) kind() (groupType, protocolType string) { return "consumer", consumerProtocol }

// listed is the group as List tells of it.
func (g *guarded) listed() *metapb.GroupListed {
	m := g.managed()
	if m == nil {
		return &metapb.GroupListed{Group: g.name, ProtocolType: g.group.protocolType, State: g.group.state.String(), Type: "classic"}
	}
	groupType, protocolType := m.kind()
	return &metapb.GroupListed{Group: g.name, ProtocolType: protocolType, State: m.State(), Type: groupType}
}
