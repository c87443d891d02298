package meta

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Bounds of commands. FrameBytes is the default limit for Split: what an entry may carry in one command.
const (
	FrameBytes      = 512 << 10
	MaxCommandBytes = 64 << 20
	maxFrames       = 4096
)

// frames is a command that has come in part.
type frames struct {
	id    []byte
	next  uint32 // the index of the frame that must come next
	count uint32 // 0: nothing is pending
	bytes []byte
}

// Split cuts a command whose encoding is above limit into continuation frames, to be put in the log one behind the other with
// nothing between them, in one entry or in consecutive ones. A smaller command is answered as it is. A command that is cut
// needs an id.
func Split(c *metapb.Command, limit int) ([]*metapb.Command, error) {
	if limit <= 0 {
		limit = FrameBytes
	}
	size := proto.Size(c)
	if size <= limit {
		return []*metapb.Command{c}, nil
	}
	count := (size + limit - 1) / limit
	switch {
	case len(c.Id) == 0:
		return nil, fmt.Errorf("split command of %d bytes: it has no id", size)
	case size > MaxCommandBytes || count > maxFrames:
		return nil, fmt.Errorf("split command of %d bytes in frames of %d: above the bound", size, limit)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("split command: %w", err)
	}
	out := make([]*metapb.Command, 0, count)
	for i := range count {
		part := b[i*limit : min((i+1)*limit, len(b))]
		out = append(out, &metapb.Command{Id: c.Id, PartCount: uint32(count), PartIndex: uint32(i), Part: part})
	}
	return out, nil
}

// assemble takes one frame, and answers the command once it is whole.
func (a *applier) assemble(c *metapb.Command) *metapb.Command {
	p := &a.pending
	if c.PartIndex == 0 {
		a.dropPending()
		p.id, p.count = c.Id, c.PartCount
	}
	if len(c.Id) == 0 || string(p.id) != string(c.Id) || p.count != c.PartCount || p.next != c.PartIndex ||
		c.PartCount > maxFrames || len(p.bytes)+len(c.Part) > MaxCommandBytes {
		if string(p.id) != string(c.Id) {
			a.verdict(c.Id, refuse(Incomplete, "frame %d of %d came alone", c.PartIndex, c.PartCount))
		}
		a.dropPending()
		return nil
	}
	p.bytes = append(p.bytes, c.Part...)
	if p.next++; p.next < p.count {
		return nil
	}
	whole := &metapb.Command{}
	err := proto.Unmarshal(p.bytes, whole)
	*p = frames{}
	if err != nil || whole.PartCount > 0 || string(whole.Id) != string(c.Id) {
		a.verdict(c.Id, refuse(Malformed, "the frames do not make a command"))
		return nil
	}
	return whole
}

// dropPending gives up a command of which not all frames came one behind the other.
func (a *applier) dropPending() {
	if a.pending.count == 0 {
		return
	}
	id := a.pending.id
	a.pending = frames{}
	a.verdict(id, refuse(Incomplete, "its frames were interrupted"))
}
