package group

import (
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
)

// assignorSimple is the one assignor of share groups (KIP-932).
const assignorSimple = "simple"

// assignSimple spreads partitions over the members of a share group, so that every partition has a member and every member a partition: each
// member gets the partition that its id's hash falls on; what is left stays with whom it was with, and at last goes round.
func assignSimple(candidates []candidate) map[string]assignment {
	s := simpleAssignment{final: map[string]map[meta.TopicPartition]struct{}{}, owners: map[meta.TopicPartition]int{}}
	for _, c := range candidates {
		s.final[c.id] = map[meta.TopicPartition]struct{}{}
	}
	if len(candidates) > 0 {
		if isHomogeneous(candidates) {
			s.homogeneous(candidates)
		} else {
			s.heterogeneous(candidates)
		}
	}
	out := make(map[string]assignment, len(candidates))
	for id, partitions := range s.final {
		a := assignment{}
		for tp := range partitions {
			a[tp.Topic] = append(a[tp.Topic], tp.Partition)
		}
		for _, list := range a {
			slices.Sort(list)
		}
		out[id] = a
	}
	return out
}

func isHomogeneous(candidates []candidate) bool {
	for _, c := range candidates[1:] {
		if !slices.Equal(c.topics, candidates[0].topics) {
			return false
		}
	}
	return true
}

// simpleAssignment is an assignment in the making.
type simpleAssignment struct {
	final  map[string]map[meta.TopicPartition]struct{}
	owners map[meta.TopicPartition]int // how many members have it
}

func (s *simpleAssignment) give(member string, tp meta.TopicPartition) {
	if _, has := s.final[member][tp]; !has {
		s.final[member][tp] = struct{}{}
		s.owners[tp]++
	}
}

// hash gives each member the partition that its id falls on, and tells which those are.
func (s *simpleAssignment) hash(candidates []candidate) map[meta.TopicPartition]bool {
	hashed := map[meta.TopicPartition]bool{}
	for _, c := range candidates {
		if partitions := partitionsOf(c.topics); len(partitions) > 0 {
			// Java's hash of a string, and its remainder: members come to the partitions they would come to with Kafka.
			index := int(javaHash(c.id) % int32(len(partitions)))
			tp := partitions[max(index, -index)]
			s.give(c.id, tp)
			hashed[tp] = true
		}
	}
	return hashed
}

// homogeneous is for members that all want the same topics: each has about the same number of partitions.
func (s *simpleAssignment) homogeneous(candidates []candidate) {
	partitions := partitionsOf(candidates[0].topics)
	desired := (len(partitions) + len(candidates) - 1) / len(candidates)
	hashed := s.hash(candidates)
	for _, tp := range partitions {
		for _, c := range candidates {
			if !hashed[tp] && c.target.has(tp.Topic, tp.Partition) && len(s.final[c.id]) < desired {
				s.give(c.id, tp)
			}
		}
	}
	next, left := 0, slices.Clone(candidates)
	for _, tp := range partitions {
		for s.owners[tp] == 0 {
			next %= len(left)
			// One above the desired number is taken before a member takes no more, so that there is always one who does.
			if id := left[next].id; len(s.final[id]) <= desired {
				s.give(id, tp)
				next++
			} else {
				left = slices.Delete(left, next, next+1)
			}
		}
	}
}

// heterogeneous is for members that want different topics.
func (s *simpleAssignment) heterogeneous(candidates []candidate) {
	hashed := s.hash(candidates)
	wanting := map[meta.TopicID][]candidate{}
	var topics []topicInfo
	for _, c := range candidates {
		for _, t := range c.topics {
			if len(wanting[t.id]) == 0 {
				topics = append(topics, t)
			}
			wanting[t.id] = append(wanting[t.id], c)
		}
	}
	slices.SortFunc(topics, func(x, y topicInfo) int { return compareTopicID(x.id, y.id) })
	for _, t := range topics {
		next := 0
		for _, tp := range partitionsOf([]topicInfo{t}) {
			if hashed[tp] {
				continue
			}
			kept := false
			for _, c := range wanting[t.id] {
				if c.target.has(tp.Topic, tp.Partition) {
					s.give(c.id, tp)
					kept = true
				}
			}
			if !kept {
				s.give(wanting[t.id][next%len(wanting[t.id])].id, tp)
				next++
			}
		}
	}
}

// partitionsOf lists the partitions of topics, in order.
func partitionsOf(topics []topicInfo) (all []meta.TopicPartition) {
	for _, t := range topics {
		for p := range t.partitions {
			all = append(all, meta.TopicPartition{Topic: t.id, Partition: p})
		}
	}
	return all
}

// javaHash is String.hashCode of Java, for the characters that member ids are made of.
func javaHash(s string) (h int32) {
	for i := range len(s) {
		h = 31*h + int32(s[i])
	}
	return h
}
