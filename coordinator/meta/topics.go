package meta

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/varvelog/varve/coordinator/metapb"
)

// MaxTopicNameLength is Kafka's bound on topic names.
const MaxTopicNameLength = 249

// Topic is one topic.
type Topic struct {
	ID        TopicID
	Name      string
	Overrides map[string]string // configuration set on the topic itself
	Config    TopicConfig       // what is in effect

	partitions []*Partition
}

// Partitions is the number of partitions.
func (t *Topic) Partitions() int { return len(t.partitions) }

// Partition is the i-th partition, nil where there is none.
func (t *Topic) Partition(i int32) *Partition {
	if i < 0 || int(i) >= len(t.partitions) {
		return nil
	}
	return t.partitions[i]
}

// Topic is the topic with this id, nil where there is none.
func (s *State) Topic(id TopicID) *Topic { return s.topics[id] }

// TopicByName is the topic with this name, nil where there is none.
func (s *State) TopicByName(name string) *Topic { return s.topicsByName[name] }

// Topics are all topics in order of name.
func (s *State) Topics() []*Topic { return s.topicOrder }

// Partition is the partition, nil where there is none.
func (s *State) Partition(tp TopicPartition) *Partition {
	if t := s.topics[tp.Topic]; t != nil {
		return t.Partition(tp.Partition)
	}
	return nil
}

// PartitionCount is the number of partitions of all topics.
func (s *State) PartitionCount() int { return len(s.partitions) - len(s.freePartitions) }

// ValidTopicName says what is wrong with a name by Kafka's rules; empty where nothing is.
func ValidTopicName(name string) string {
	switch {
	case name == "":
		return "the empty string is not allowed"
	case name == "." || name == "..":
		return "'.' or '..' is not allowed"
	case len(name) > MaxTopicNameLength:
		return fmt.Sprintf("the length of '%s' is longer than the max allowed length %d", name, MaxTopicNameLength)
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Sprintf("'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
		}
	}
	return ""
}

// collides finds a topic whose name is the same once "." and "_" are taken for one character, as Kafka's metric names do.
func (s *State) collides(name string) *Topic {
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	plain := strings.ReplaceAll(name, ".", "_")
	for _, t := range s.topicOrder {
		if len(t.Name) == len(name) && strings.ReplaceAll(t.Name, ".", "_") == plain {
			return t
		}
	}
	return nil
}

// CheckCreateTopic tells what CreateTopic would answer, and changes nothing (validate_only).
func (s *State) CheckCreateTopic(c *metapb.CreateTopic) Verdict {
	_, _, v := s.judgeCreateTopic(c)
	return v
}

func (s *State) judgeCreateTopic(c *metapb.CreateTopic) (map[string]string, TopicConfig, Verdict) {
	no := func(v Verdict) (map[string]string, TopicConfig, Verdict) { return nil, TopicConfig{}, v }
	if wrong := ValidTopicName(c.Name); wrong != "" {
		return no(refuse(InvalidTopicName, "Topic name is invalid: %s", wrong))
	}
	if s.topicsByName[c.Name] != nil {
		return no(refuse(TopicExists, "Topic '%s' already exists.", c.Name))
	}
	if other := s.collides(c.Name); other != nil {
		return no(refuse(InvalidTopicName, "Topic '%s' collides with existing topic: %s", c.Name, other.Name))
	}
	if len(c.TopicId) != 16 || TopicID(c.TopicId) == (TopicID{}) || s.topics[TopicID(c.TopicId)] != nil {
		return no(refuse(Malformed, "topic id %x is not a fresh one", c.TopicId))
	}
	if v := s.judgePartitions(c.Name, c.Partitions, 0, c.MaxPartitions); v.Code != OK {
		return no(v)
	}
	overrides, wrong := changeEntries(ScopeTopic, nil, c.Configs, true)
	if wrong != "" {
		return no(refuse(InvalidConfig, "%s", wrong))
	}
	config, err := s.topicConfig(overrides)
	if err != nil {
		return no(refuse(InvalidConfig, "%s", err))
	}
	return overrides, config, Verdict{}
}

// judgePartitions judges a topic's growth from have to want partitions.
func (s *State) judgePartitions(topic string, want, have, bound int32) Verdict {
	switch {
	case want <= 0:
		return refuse(InvalidPartitions, "Number of partitions must be larger than 0.")
	case want > MaxTopicPartitions:
		return refuse(InvalidPartitions, "Number of partitions must not be above %d.", MaxTopicPartitions)
	case want <= have:
		return refuse(InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", topic, have, want)
	case bound > 0 && int64(s.PartitionCount())+int64(want)-int64(have) > int64(bound):
		return refuse(PolicyViolation, "The cluster has %d partitions and is bounded to %d.", s.PartitionCount(), bound)
	}
	return Verdict{}
}

// MaxTopicPartitions bounds the partitions of one topic.
const MaxTopicPartitions = 100_000

func (a *applier) createTopic(c *metapb.CreateTopic) Verdict {
	overrides, config, v := a.judgeCreateTopic(c)
	if v.Code != OK {
		return v
	}
	t := &Topic{ID: TopicID(c.TopicId), Name: c.Name, Overrides: overrides, Config: config}
	a.addTopic(t)
	a.addPartitions(t, c.Partitions)
	a.changed(ChangedTopics)
	return Verdict{}
}

func (s *State) addTopic(t *Topic) {
	s.topics[t.ID], s.topicsByName[t.Name] = t, t
	at, _ := slices.BinarySearchFunc(s.topicOrder, t.Name, compareTopicName)
	s.topicOrder = slices.Insert(s.topicOrder, at, t)
}

func compareTopicName(t *Topic, name string) int { return cmp.Compare(t.Name, name) }

func (s *State) addPartitions(t *Topic, count int32) {
	fresh := make([]Partition, int(count)-len(t.partitions))
	for i := range fresh {
		p := &fresh[i]
		p.topic, p.index = t, int32(len(t.partitions))
		if n := len(s.freePartitions); n > 0 {
			p.slot, s.freePartitions = s.freePartitions[n-1], s.freePartitions[:n-1]
			s.partitions[p.slot] = p
		} else {
			p.slot = uint32(len(s.partitions))
			s.partitions = append(s.partitions, p)
		}
		t.partitions = append(t.partitions, p)
	}
}

func (a *applier) createPartitions(c *metapb.CreatePartitions) Verdict {
	t := a.topicOf(c.TopicId)
	if t == nil {
		return Verdict{Code: UnknownTopic}
	}
	if v := a.judgePartitions(t.Name, c.Count, int32(t.Partitions()), c.MaxPartitions); v.Code != OK {
		return v
	}
	a.addPartitions(t, c.Count)
	a.changed(ChangedTopics)
	return Verdict{}
}

// CheckCreatePartitions tells what CreatePartitions would answer, and changes nothing.
func (s *State) CheckCreatePartitions(c *metapb.CreatePartitions) Verdict {
	t := s.topicOf(c.TopicId)
	if t == nil {
		return Verdict{Code: UnknownTopic}
	}
	return s.judgePartitions(t.Name, c.Count, int32(t.Partitions()), c.MaxPartitions)
}

func (s *State) topicOf(id []byte) *Topic {
	if len(id) != 16 {
		return nil
	}
	return s.topics[TopicID(id)]
}

func (a *applier) deleteTopic(c *metapb.DeleteTopic) Verdict {
	t := a.topicOf(c.TopicId)
	if t == nil {
		return Verdict{Code: UnknownTopic}
	}
	a.leaveTransactions(t)
	for _, p := range t.partitions {
		a.emptyPartition(p)
		a.partitions[p.slot] = nil
		a.freePartitions = append(a.freePartitions, p.slot)
	}
	delete(a.topics, t.ID)
	delete(a.topicsByName, t.Name)
	if at, ok := slices.BinarySearchFunc(a.topicOrder, t.Name, compareTopicName); ok {
		a.topicOrder = slices.Delete(a.topicOrder, at, at+1)
	}
	a.dropTopicOffsets(t.ID)
	a.changed(ChangedTopics)
	return Verdict{}
}

// emptyPartition lets go of all its extents.
func (a *applier) emptyPartition(p *Partition) {
	runs, local, parts := p.runs, p.local, p.parts
	p.runs, p.local, p.parts, p.markers = nil, nil, nil, nil
	p.runBytes, p.localBytes, p.partBytes = 0, 0, 0
	a.dropLocal(local)
	a.dropLive(runs)
	for i := range parts {
		a.unref(parts[i].object)
	}
}

func (a *applier) advanceLogStart(c *metapb.AdvanceLogStart) Verdict {
	t := a.topicOf(c.TopicId)
	if t == nil || t.Partition(c.Partition) == nil {
		return Verdict{Code: UnknownTopic, LogStartOffset: -1}
	}
	p := t.Partition(c.Partition)
	if c.Offset < 0 || c.Offset > p.next {
		return Verdict{Code: OffsetOutOfRange, LogStartOffset: p.logStart}
	}
	a.raiseLogStart(p, c.Offset)
	return Verdict{LogStartOffset: p.logStart}
}

// raiseLogStart raises the log start and drops the extents wholly below it. A lower offset changes nothing.
func (a *applier) raiseLogStart(p *Partition, offset int64) {
	if offset <= p.logStart {
		return
	}
	before := p.LastStableOffset()
	p.logStart = offset
	a.settle(p, before)
	p.dropMarkers()
	p.dropGaps(0, offset)
	if n := firstRun(p.local, offset); n > 0 {
		gone := slices.Clone(p.local[:n])
		p.localBytes -= sumLengths(gone)
		p.local = cutRuns(p.local, 0, n)
		a.dropLocal(gone)
	}
	if n := firstRun(p.runs, offset); n > 0 {
		gone := slices.Clone(p.runs[:n])
		p.runBytes -= sumLengths(gone)
		p.runs = cutRuns(p.runs, 0, n)
		a.dropLive(gone)
	}
	if n := firstPart(p.parts, offset); n > 0 {
		for i := range p.parts[:n] {
			p.partBytes -= p.parts[i].length
			a.unref(p.parts[i].object)
		}
		p.parts = slices.Delete(p.parts, 0, n)
	}
	a.dueByRetention(p) // what stands at the head now may be older than what stood before it
	a.changed(ChangedTopics)
}
