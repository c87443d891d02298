package meta

import (
	"fmt"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// compactionLine plays the lines about compaction; false for another.
func (p *player) compactionLine(word string, args []string) (string, bool) {
	switch word {
	case "compact", "merge": // a round, where one is due; merge PARTS BYTES MANY_PARTS [AGE]
		c := &metapb.LeaseCompaction{Worker: "w", LeaseMillis: 60_000}
		if word == "merge" {
			c.Merging = &metapb.Merging{Parts: uint32(number(args[0])), Bytes: uint64(number(args[1])), ManyParts: uint32(number(args[2]))}
			if len(args) > 3 {
				c.Merging.AgeMillis = number(args[3])
			}
		}
		v := p.do(c)
		if v.Code != OK {
			return describe(v), true
		}
		r, _ := p.s.Round(v.JobID)
		what := ""
		if r.Merges {
			what = fmt.Sprintf("merge to %d bytes ", r.ObjectBytes)
		}
		out := fmt.Sprintf("job %d: "+what+"%s-%d from %d, cleaned to %d, at %d", v.JobID, r.Topic.Name, r.Partition.Partition, r.LogStart, r.CleanedTo, r.NowMillis)
		for i := range r.Parts {
			out += fmt.Sprintf("\n[%d, %d) in %s", r.Parts[i].BaseOffset, r.Parts[i].NextOffset, r.Parts[i].Key())
			if r.Sources[i] {
				out += " names its sources"
			}
		}
		for _, a := range r.Aborted {
			out += fmt.Sprintf("\naborted [%d, %d] producer %d", a.FirstOffset, a.LastOffset, a.ProducerID)
		}
		return out, true
	case "range": // range JOB FROM..TO [part=ORDINAL+LENGTH] [done=OFFSET[@HORIZON]]
		c := &metapb.CompactRange{JobId: uint64(number(args[0])), LeaseMillis: 60_000}
		from, to, _ := strings.Cut(args[1], "..")
		c.FromOffset, c.ToOffset = number(from), number(to)
		for _, a := range args[2:] {
			if text, ok := strings.CutPrefix(a, "part="); ok {
				ordinal, length, _ := strings.Cut(text, "+")
				c.Part = &metapb.CompactedPart{Ordinal: uint32(number(ordinal)), Length: uint64(number(length)), SizeBytes: 1000, MaxTimestamp: -1, MinTimestamp: -1}
			}
			if text, ok := strings.CutPrefix(a, "done="); ok {
				offset, horizon, again := strings.Cut(text, "@")
				c.Done, c.CleanedTo = true, number(offset)
				if again {
					c.HorizonMillis = number(horizon)
				}
			}
		}
		return describe(p.do(c)), true
	}
	return "", false
}
