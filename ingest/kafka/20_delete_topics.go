package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// DeleteTopics (key 20), versions 1 to 6.
//
//	v4  flexible; v5 error messages (KIP-599); v6 topics by id or name
//
// The topic is gone when the answer comes; its objects are deleted afterwards.

func handleDeleteTopics(ctx context.Context, call *call, r *kmsg.DeleteTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, boundedTimeout(r.TimeoutMillis))
	defer cancel()
	topics := r.Topics
	if r.Version < 6 {
		for i := range r.TopicNames {
			topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &r.TopicNames[i]})
		}
	}
	d := topicDeletion{call: call, taken: make(map[meta.TopicID]int)}
	d.sort(topics)
	d.doomed = slices.DeleteFunc(d.doomed, func(t doomedTopic) bool { return t.repeated })
	inParallel(len(d.doomed), func(i int) { d.doomed[i].delete(ctx, call) })
	response := kmsg.NewPtrDeleteTopicsResponse()
	response.Topics = d.refused
	for i := range d.doomed {
		response.Topics = append(response.Topics, d.doomed[i].answer)
	}
	return response, nil
}

// topicDeletion sorts what a request names into topics to be deleted and refusals. What it names more than once, be it by name and by id, is
// not clear, so it is not deleted, and told of once.
type topicDeletion struct {
	call    *call
	doomed  []doomedTopic
	taken   map[meta.TopicID]int // place in doomed
	refused []kmsg.DeleteTopicsResponseTopic
}

type doomedTopic struct {
	id         meta.TopicID
	partitions int32
	repeated   bool
	answer     kmsg.DeleteTopicsResponseTopic
}

func (d *topicDeletion) refuse(name *string, id [16]byte, e *kerr.Error, message string) {
	answer := kmsg.DeleteTopicsResponseTopic{Topic: name, TopicID: id}
	answer.ErrorCode, answer.ErrorMessage = refusal(e, message)
	d.refused = append(d.refused, answer)
}

func (d *topicDeletion) sort(topics []kmsg.DeleteTopicsRequestTopic) {
	var single []kmsg.DeleteTopicsRequestTopic
	for i := range topics {
		asked := &topics[i]
		switch byID := asked.TopicID != [16]byte{}; {
		case asked.Topic == nil && !byID:
			d.refuse(nil, asked.TopicID, kerr.InvalidRequest, "Neither topic name nor id were specified.")
		case asked.Topic != nil && byID:
			d.refuse(asked.Topic, asked.TopicID, kerr.InvalidRequest, "You may not specify both topic name and topic id.")
		default:
			single = append(single, *asked)
		}
	}
	type place struct {
		name string
		id   [16]byte
	}
	key := func(t *kmsg.DeleteTopicsRequestTopic) place { return place{orEmpty(t.Topic), t.TopicID} }
	times := make(map[place]int, len(single))
	for i := range single {
		at := &single[i]
		if times[key(at)]++; times[key(at)] == 2 {
			d.refuse(at.Topic, at.TopicID, kerr.InvalidRequest, map[bool]string{true: "Duplicate topic id.", false: "Duplicate topic name."}[at.Topic == nil])
		}
	}
	for i := range single {
		if times[key(&single[i])] == 1 {
			d.take(&single[i])
		}
	}
}

// take finds one topic that is asked for once.
func (d *topicDeletion) take(asked *kmsg.DeleteTopicsRequestTopic) {
	byID := asked.Topic == nil
	id, name, partitions, known := d.call.resolve(orEmpty(asked.Topic), asked.TopicID, byID)
	if !known {
		e := kerr.UnknownTopicOrPartition
		if byID {
			e = kerr.UnknownTopicID
		}
		d.refuse(asked.Topic, asked.TopicID, e, "")
		return
	}
	if e := d.call.mayTopic(Delete, name); e != nil {
		d.refuse(asked.Topic, asked.TopicID, e, "")
		return
	}
	if at, again := d.taken[id]; again {
		d.doomed[at].repeated = true
		d.refuse(&name, id, kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied.")
		return
	}
	d.taken[id] = len(d.doomed)
	d.doomed = append(d.doomed, doomedTopic{id: id, partitions: partitions, answer: kmsg.DeleteTopicsResponseTopic{Topic: &name, TopicID: id}})
}

func (t *doomedTopic) delete(ctx context.Context, call *call) {
	if e := call.chargeMutations(int(t.partitions), 5); e != nil {
		t.answer.ErrorCode, t.answer.ErrorMessage = refusal(e, "")
		return
	}
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_DeleteTopic{DeleteTopic: &metapb.DeleteTopic{TopicId: t.id[:]}}})
	if err != nil {
		t.answer.ErrorCode, t.answer.ErrorMessage = refusal(proposalError(err, kerr.NotController), err.Error())
	} else if e := codeError(verdict.Code); e != nil {
		t.answer.ErrorCode, t.answer.ErrorMessage = refusal(e, verdict.Message)
	}
}
