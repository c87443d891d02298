package recovery

import (
	"fmt"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/ingest/chunk"
)

// adoptTopics makes the topics of adopted objects known, and gives those that are known the settings that objects say are newer. Without a state the newest
// of several of one name is taken.
func (p *Plan) adoptTopics(objects []*storedObject) {
	topics := map[meta.TopicID]*meta.StoredTopic{}
	settled := map[meta.TopicID]meta.JobID{} // of which job a topic's settings are
	var order []meta.TopicID                 // by the job that has seen them last, newest first
	for _, o := range slices.Backward(objects) {
		for _, about := range o.topics {
			t := topics[about.ID]
			if t == nil {
				t = &meta.StoredTopic{ID: about.ID, Job: o.id.Job}
				topics[about.ID] = t
				order = append(order, about.ID)
			}
			if t.Overrides == nil {
				t.Overrides = about.Overrides
				settled[about.ID] = o.id.Job
			}
			t.Partitions = max(t.Partitions, about.Partitions)
		}
		for i := range o.parts {
			part := &o.parts[i].part
			t := topics[part.TopicID]
			if t == nil {
				t = &meta.StoredTopic{ID: part.TopicID, Job: o.id.Job}
				topics[part.TopicID] = t
				order = append(order, part.TopicID)
			}
			t.Name = part.Topic
			t.Partitions = max(t.Partitions, part.Partition+1)
		}
	}
	for _, id := range order {
		t := topics[id]
		fresh, deleted, err := p.recovery.AdoptTopic(*t)
		if deleted != (meta.TopicID{}) {
			p.Report.DeletedTopics = append(p.Report.DeletedTopics, fmt.Sprintf("%s of id %s", t.Name, deleted))
			p.wasDeleted[deleted] = true
		}
		if err != nil {
			p.notAdopted("topic "+t.Name, err.Error())
			p.wasDeleted[id] = true
		} else if fresh {
			p.Report.NewTopics = append(p.Report.NewTopics, t.Name)
			if t.Overrides == nil {
				p.Report.Missing = append(p.Report.Missing, fmt.Sprintf("settings of topic %s: it gets the defaults, and retention.ms=-1", t.Name))
			}
		} else if p.recovery.AdoptSettings(id, t.Overrides, settled[id]) {
			p.Report.NewSettings = append(p.Report.NewSettings, p.recovery.State().Topic(id).Name)
		}
	}
}

// nameTopics makes room for the runs of chunks. A topic that neither the metadata nor a segment knows gets a name, since chunks tell no more than its id: but
// for one that the former log shows to have been deleted. Whether one was deleted before all that is left of that log nobody can tell, and it is held to
// be there: its records may have been acknowledged. A topic gets as many partitions as chunks have runs of.
func (p *Plan) nameTopics(chunks []foundChunk) {
	for i := range chunks {
		table, err := chunk.ParseTable(chunks[i].command.RunTable)
		if err != nil {
			continue // AdoptChunk tells
		}
		for j := range table.Runs() {
			run := table.Run(j)
			t := p.recovery.State().Topic(run.Topic)
			if t == nil && p.wasDeleted[run.Topic] || t != nil && run.Partition < int32(t.Partitions()) {
				continue
			}
			name := fmt.Sprintf("recovered-%x", run.Topic)
			fresh, _, err := p.recovery.AdoptTopic(meta.StoredTopic{ID: run.Topic, Name: name, Partitions: run.Partition + 1})
			if err != nil {
				p.notAdopted("topic "+name, err.Error())
			} else if fresh {
				p.Report.NewTopics = append(p.Report.NewTopics, name)
				p.Report.Missing = append(p.Report.Missing, fmt.Sprintf("name and settings of the topic with id %x: its records are in %s, with the default settings, and retention.ms=-1", run.Topic, name))
			}
		}
	}
}
